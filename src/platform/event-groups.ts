/** A page of events is read; a pause of a whole fleet, or a release that fails a thousand times, one line each, is not. */
const mostOfOneReason = 100;

export interface EventRow<Reason extends string, Evidence extends object> {
  readonly kind: string;
  /** Null: of as many as the evidence says. */
  readonly processor_id: string | null;
  readonly reason: Reason;
  readonly evidence: Evidence;
}

/** As they are; those of one kind and reason that are more than a person reads become one, with the evidence of the first and how many `processors` it is of. */
export function summedUp<Reason extends string, Evidence extends object>(events: readonly EventRow<Reason, Evidence>[]): readonly EventRow<Reason, Evidence & { readonly processors?: number }>[] {
  return shortened(events, ({ kind, reason }) => `${kind} ${reason}`, { most: mostOfOneReason, instead: (all, first) => [{ ...first, processor_id: null, evidence: { ...first.evidence, processors: all.length } }] });
}

/** In groups, in the order in which each began; `instead` of a group that has more than `most`. */
export function shortened<T>(items: readonly T[], groupOf: (item: T) => string, { most, instead }: { readonly most: number; readonly instead: (all: readonly T[], first: T) => readonly T[] }): readonly T[] {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = groupOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    return group.length <= most || first === undefined ? group : instead(group, first);
  });
}

interface Ailment {
  /** How many reasons there are now. */
  now: number;
  since: number;
  endedAt: number;
  /** When it last was over after it had lasted for long. */
  longEndedAt: number | null;
}

/** What ails a node, or ourselves, in truth: nobody in the simulated world can ask. */
export class Truth {
  readonly #ailments = new Map<string, Ailment>();
  /** What lasts longer has been noticed. */
  readonly #longMs: number;

  constructor(longMs: number) {
    this.#longMs = longMs;
  }

  begin(subject: string, at: number): void {
    const ailment = this.#of(subject);
    if (ailment.now === 0) ailment.since = at;
    ailment.now += 1;
  }

  end(subject: string, at: number): void {
    const ailment = this.#of(subject);
    ailment.now -= 1;
    ailment.endedAt = Math.max(ailment.endedAt, at);
    if (ailment.now === 0 && at - ailment.since > this.#longMs) ailment.longEndedAt = at;
  }

  /** For how long nothing ailed this node, as of `moment`; 0 if something does. */
  fineFor(node: string, moment: number): number {
    const { now, endedAt } = this.#of(node);
    return now > 0 ? 0 : Math.max(0, moment - endedAt);
  }

  /** For how long this node is off, or cut off from everybody, as of `moment`; 0 if it is not. */
  deadFor(node: string, moment: number): number {
    return this.ailedFor(`dead:${node}`, moment);
  }

  /** For how long something ails this subject without a break; 0 if nothing does. */
  ailedFor(subject: string, moment: number): number {
    const { now, since } = this.#of(subject);
    return now > 0 ? moment - since : 0;
  }

  /** For how long it is back from a death that must have been noticed; null if it never died for so long. */
  backFor(node: string, moment: number): number | null {
    const { longEndedAt } = this.#of(`dead:${node}`);
    return longEndedAt === null ? null : moment - longEndedAt;
  }

  /** Whether it is off since the beginning. */
  neverThere(node: string): boolean {
    const { now, since } = this.#of(`dead:${node}`);
    return now > 0 && since === 0;
  }

  /** For how long nothing ailed our own service: instances, database, what lies between. */
  serviceFor(moment: number): number {
    return this.fineFor('service', moment);
  }

  #of(subject: string): Ailment {
    const found = this.#ailments.get(subject) ?? { now: 0, since: 0, endedAt: 0, longEndedAt: null };
    this.#ailments.set(subject, found);
    return found;
  }
}

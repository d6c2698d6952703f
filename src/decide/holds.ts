import type { PoolClient } from 'pg';
import type { ProcessorId, RevisionId } from '../model/ids.ts';
import type { Hold, Plan } from '../model/plan.ts';
import { targetName } from '../model/placement.ts';
import type { Evidence } from '../model/reasons.ts';
import type { Instant } from '../model/time.ts';
import { summedUp } from '../platform/event-groups.ts';
import { inBatches } from '../platform/pg.ts';
import { endExpiredLocks } from './locks.ts';
import type { Recorded } from './recorded.ts';

/** What `dory.holds` must be told, beside locks that ran out and nobody ended. */
export interface HoldChanges {
  readonly none: boolean;
  /** New, or for another reason than before. That evidence grows older is no change. */
  readonly begun: readonly Hold[];
  /** With the reason that is over. */
  readonly ended: readonly { readonly processorId: ProcessorId; readonly reason: string }[];
  readonly locksRanOut: boolean;
}

export function holdChanges({ holds: recorded, locksRanOut }: Recorded, { holds, refusals }: Pick<Plan, 'holds' | 'refusals'>): HoldChanges {
  // Where everything is refused, nothing was asked of single processors: what held them may hold them still.
  if (refusals.length > 0) return { none: !locksRanOut, begun: [], ended: [], locksRanOut };
  const begun = holds.filter(({ processorId, reason, needsPerson }) => {
    const before = recorded.get(processorId);
    return before?.reason !== reason || before.needsPerson !== needsPerson;
  });
  const held = new Set(holds.map(({ processorId }) => processorId));
  const ended = [...recorded].filter(([processorId]) => !held.has(processorId)).map(([processorId, { reason }]) => ({ processorId, reason }));
  return { none: begun.length === 0 && ended.length === 0 && !locksRanOut, begun, ended, locksRanOut };
}

export async function writeHolds(client: PoolClient, at: Instant, { begun, ended, locksRanOut }: HoldChanges, revision: RevisionId | null): Promise<void> {
  for (const batch of inBatches(begun, 5_000)) {
    await client.query(
      `insert into dory.holds (processor_id, since, reason, evidence, needs_person)
       select processor_id, to_timestamp($2::float8 / 1000), reason, evidence, needs_person
         from jsonb_to_recordset($1::jsonb) as r (processor_id uuid, reason text, evidence jsonb, needs_person boolean)
       on conflict (processor_id) do update
          set since = excluded.since, reason = excluded.reason, evidence = excluded.evidence, needs_person = excluded.needs_person`,
      [JSON.stringify(batch.map((hold) => ({ processor_id: hold.processorId, reason: hold.reason, evidence: evidenceOf(hold), needs_person: hold.needsPerson }))), at],
    );
  }
  for (const batch of inBatches(ended, 5_000)) {
    await client.query('delete from dory.holds where processor_id = any($1::uuid[])', [batch.map(({ processorId }) => processorId)]);
  }
  const events = summedUp([
    ...begun.map((hold) => ({ kind: 'held', processor_id: hold.processorId, reason: hold.reason, evidence: evidenceOf(hold) })),
    ...ended.map(({ processorId, reason }) => ({ kind: 'hold-ended', processor_id: processorId, reason, evidence: {} })),
  ]);
  if (events.length > 0) {
    await client.query(
      `insert into dory.events (at, kind, processor_id, reason, evidence, revision)
       select to_timestamp($2::float8 / 1000), kind, processor_id, reason, evidence, $3
         from jsonb_to_recordset($1::jsonb) as r (kind text, processor_id uuid, reason text, evidence jsonb)`,
      [JSON.stringify(events), at, revision],
    );
  }
  if (locksRanOut) await endExpiredLocks(client);
}

/** With what would have happened, where it is known: a hold of automation is a record of its intention. */
function evidenceOf({ evidence, withheld }: Hold): Evidence {
  if (withheld === null) return evidence;
  return { ...evidence, withheld: withheld.kind, because: withheld.reason, to: withheld.after === null ? null : targetName(withheld.after.target) };
}

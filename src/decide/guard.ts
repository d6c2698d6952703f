import type { PoolClient } from 'pg';
import type { RevisionId } from '../model/ids.ts';
import type { GuardVerdict } from '../model/plan.ts';
import type { RecordedGuard } from '../model/snapshot.ts';
import type { Instant } from '../model/time.ts';

/** Whether `dory.guard` must be told. A guard that was calm since its first word needs no row. */
export function guardChanged(recorded: RecordedGuard | null, now: GuardVerdict): boolean {
  if (recorded === null) return now.state !== 'calm';
  return recorded.state !== now.state || recorded.since !== now.since || recorded.leftPanicAt !== now.leftPanicAt;
}

export async function writeGuard(client: PoolClient, at: Instant, guard: GuardVerdict, revision: RevisionId | null): Promise<void> {
  await client.query(
    `with kept as (
       insert into dory.guard (state, since, left_panic_at, reason, evidence)
       values ($1, to_timestamp($2::float8 / 1000), to_timestamp($3::float8 / 1000), $4, $5)
       on conflict (only_row) do update set state = excluded.state, since = excluded.since, left_panic_at = excluded.left_panic_at,
         reason = excluded.reason, evidence = excluded.evidence)
     insert into dory.events (at, kind, reason, evidence, revision) values (to_timestamp($6::float8 / 1000), 'guard-' || $1, $4, $5, $7)`,
    [guard.state, guard.since, guard.leftPanicAt, guard.reason, guard.evidence, at, revision],
  );
}

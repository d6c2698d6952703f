import type { PoolClient } from 'pg';
import type { RevisionId } from '../model/ids.ts';
import type { Plan, Refusal } from '../model/plan.ts';
import type { Instant } from '../model/time.ts';
import type { Recorded } from './recorded.ts';

export interface RefusalChanges {
  readonly none: boolean;
  readonly begun: readonly Refusal[];
  /** Subjects. */
  readonly ended: readonly string[];
}

/** That evidence changes is no news. */
export function refusalChanges({ refusals: recorded }: Recorded, { refusals }: Pick<Plan, 'refusals'>): RefusalChanges {
  const begun = refusals.filter(({ subject }) => !recorded.includes(subject));
  const ended = recorded.filter((subject) => refusals.every((refusal) => refusal.subject !== subject));
  return { none: begun.length === 0 && ended.length === 0, begun, ended };
}

export async function writeRefusals(client: PoolClient, at: Instant, { begun, ended }: RefusalChanges, revision: RevisionId | null): Promise<void> {
  for (const { subject, reason, evidence } of begun) {
    await client.query(
      `with kept as (
         insert into dory.refusals (subject, since, reason, evidence) values ($1, to_timestamp($2::float8 / 1000), $3, $4) on conflict (subject) do nothing)
       insert into dory.events (at, kind, reason, evidence) values (to_timestamp($2::float8 / 1000), 'refused', $3, $4::jsonb || jsonb_build_object('subject', $1::text))`,
      [subject, at, reason, evidence],
    );
  }
  for (const subject of ended) {
    await client.query(
      `with gone as (delete from dory.refusals where subject = $1 returning reason)
       insert into dory.events (at, kind, reason, evidence, revision)
       select to_timestamp($2::float8 / 1000), 'refusal-ended', reason, jsonb_build_object('subject', $1::text), $3 from gone`,
      [subject, at, revision],
    );
  }
}

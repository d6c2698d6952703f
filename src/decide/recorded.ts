import type { Pool } from 'pg';
import type { Problem } from '../model/fleet.ts';
import type { ProcessorId } from '../model/ids.ts';

/** What earlier decisions wrote down and did not take back: compared with a plan, it says what is news. */
export interface Recorded {
  /** Reason of each hold, and whether it needs a person. */
  readonly holds: ReadonlyMap<ProcessorId, { readonly reason: string; readonly needsPerson: boolean }>;
  readonly quarantined: ReadonlyMap<ProcessorId, readonly Problem[]>;
  /** Subjects, sorted. */
  readonly refusals: readonly string[];
  /** A maintenance lock ran out, and nobody was told yet. */
  readonly locksRanOut: boolean;
}

type Row =
  | ['hold', ProcessorId, reason: string, needsPerson: boolean, null]
  | ['quarantine', ProcessorId, null, null, readonly Problem[]]
  | ['refusal', subject: string, null, null, null]
  | ['locks', null, null, ranOut: boolean, null];

/** In one question, since a cycle with nothing to do asks it too. */
export async function readRecorded(pool: Pool): Promise<Recorded> {
  const { rows } = await pool.query<Row>({
    text: `select 'hold', processor_id::text, reason, needs_person, null::jsonb from dory.holds
           union all select 'quarantine', processor_id::text, null, null, problems from dory.quarantine
           union all select 'refusal', subject, null, null, null from dory.refusals
           union all select 'locks', null, null, exists (select from dory.locks where ended_at is null and expires_at <= now()), null`,
    rowMode: 'array',
  });
  const holds = new Map<ProcessorId, { readonly reason: string; readonly needsPerson: boolean }>();
  const quarantined = new Map<ProcessorId, readonly Problem[]>();
  const refusals: string[] = [];
  let locksRanOut = false;
  for (const row of rows) {
    switch (row[0]) {
      case 'hold': holds.set(row[1], { reason: row[2], needsPerson: row[3] }); break;
      case 'quarantine': quarantined.set(row[1], row[4]); break;
      case 'refusal': refusals.push(row[1]); break;
      case 'locks': locksRanOut = row[3]; break;
    }
  }
  return { holds, quarantined, refusals: refusals.sort(), locksRanOut };
}

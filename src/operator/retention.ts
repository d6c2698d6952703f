import type { Pool } from 'pg';
import type { Millis } from '../model/time.ts';

/** Some 10 ms of work and a MB of log each: nobody waits for it, and nobody waits because of it. */
const batchSize = 5_000;
/** A backlog of a year is gone after some hours; until then other work goes between. */
const mostBatches = 100;

/** Deletes events older than `keep`, in small transactions, oldest first. @returns how many are gone */
export async function deleteOldEvents(pool: Pool, keep: Millis, signal: AbortSignal): Promise<number> {
  let gone = 0;
  for (let batch = 0; batch < mostBatches && !signal.aborted; batch += 1) {
    const { rowCount } = await pool.query(
      `delete from dory.events where id in (
         select id from dory.events where at < now() - $1 * interval '1 ms' order by at limit $2 for update skip locked)`,
      [keep, batchSize],
    );
    gone += rowCount ?? 0;
    if ((rowCount ?? 0) < batchSize) break;
  }
  return gone;
}

import { seconds } from '../model/time.ts';
import { deleteOldEvents } from '../operator/retention.ts';
import type { Leadership } from '../platform/campaign.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Runtime } from './runtime.ts';

/** As often as most collectors ask. Of 50,000 rows the count takes some 20 ms. */
const countEvery = seconds(15);
const cleanEvery = seconds(3600);

/** What only a leader does, and nothing waits for: old events go, rows are counted by their status. Ends with `signal`. */
export async function keepHouse(runtime: Runtime, leadership: Leadership, metrics: Metrics, signal: AbortSignal): Promise<void> {
  const { clock, log } = runtime;
  let cleaned = Number.NEGATIVE_INFINITY;
  const once = async (): Promise<void> => {
    await countStatuses(runtime, metrics);
    await countPending(runtime, metrics);
    if (clock.monotonic() - cleaned < cleanEvery) return;
    cleaned = clock.monotonic();
    const gone = await deleteOldEvents(runtime.pool, runtime.settings.retention.events, signal);
    if (gone > 0) log.info({ events: gone }, 'events beyond their retention are deleted');
  };
  // A sleep that is cut short is the end.
  while (await clock.sleep(countEvery, signal).then(() => true, () => false)) {
    if (leadership.current() === null) continue;
    await once().catch((error: unknown) => { log.warn({ err: databaseFailure(error) }, 'housekeeping failed; it is tried again'); });
  }
}

async function countStatuses({ pool }: Runtime, { pods }: Metrics): Promise<void> {
  const { rows } = await pool.query<{ status: string; count: string }>('select status, count(*) from processors group by status');
  // What is not seen any more goes to nothing.
  pods.reset();
  for (const { status, count } of rows) pods.set({ status }, Number(count));
}

/** A cycle that fails to push tells nothing of what waits; the rows do. */
async function countPending({ pool }: Runtime, { pendingRevisions }: Metrics): Promise<void> {
  const { rows } = await pool.query<{ count: string }>('select count(*) from dory.revisions where committed_at is null');
  pendingRevisions.set(Number(rows[0]?.count ?? 0));
}

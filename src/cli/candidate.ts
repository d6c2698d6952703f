import { seconds } from '../model/time.ts';
import { createLeadership, type Leadership } from '../platform/campaign.ts';
import type { Clock } from '../platform/clock.ts';
import { leaseTiming } from '../platform/leadership.ts';
import type { Log } from '../platform/log.ts';
import { forgetFleet, type Metrics } from '../platform/metrics.ts';
import { createPool } from '../platform/pg.ts';
import { watchDatabase, type DatabaseWatch } from './database-watch.ts';
import { holderName } from './lease.ts';
import type { OpenRuntime } from './runtime.ts';

/** This instance as one of several that may lead. */
export interface Candidate {
  readonly leadership: Leadership;
  readonly database: DatabaseWatch;
  /** Gives the lease up, once. */
  stop(): Promise<void>;
}

/** @param wake called when a cycle may have become possible, or impossible */
export function createCandidate(runtime: OpenRuntime, metrics: Metrics, wake: () => void): Candidate {
  const { clock, random, log, databaseUrl } = runtime;
  const database = watchDatabase({ metrics, log, cut: () => { runtime.pool.cut(); }, onRecovery: wake });
  const { renewEvery } = leaseTiming;
  // Of its own: whatever fills or blocks the other one does not cost the lease.
  const pool = createPool(databaseUrl, { max: 2, statementTimeoutMs: renewEvery, connectTimeoutMs: renewEvery, applicationName: 'dory lease' });
  const leadership = createLeadership({
    pool, clock, random, log,
    holder: holderName(runtime),
    onChange: (lease) => {
      metrics.leader.set(lease === null ? 0 : 1);
      if (lease === null) forgetFleet(metrics);
      wake();
    },
    onLook: (look) => {
      metrics.leaseAge.set((look.leaseAge ?? 0) / 1000);
      database.looked(look);
    },
  });
  const stop = async (): Promise<void> => {
    await leadership.stop();
    await pool.end();
  };
  let stopping: Promise<void> | null = null;
  return { leadership, database, stop: () => (stopping ??= stop()) };
}

/** What is under way at the end is over within this, unless somebody does not answer it. */
const patience = seconds(5);

interface End {
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted when the program is to end. */
  readonly ending: AbortSignal;
  /** Aborted when nothing is under way any more. */
  readonly over: AbortSignal;
}

/** Who could lead does not wait for what hangs here: nothing that it still does is written without asking for the lead first. */
export async function resignInTime(candidate: Candidate, { clock, log, ending, over }: End): Promise<void> {
  if (!ending.aborted) await new Promise((resolve) => { ending.addEventListener('abort', resolve, { once: true }); });
  const hangs = await clock.sleep(patience, over).then(() => true, () => false);
  if (!hangs) return;
  log.warn('something under way does not end: the lead is given up before it does');
  await candidate.stop();
}

import { createLeadership, type Leadership } from '../platform/campaign.ts';
import { leaseTiming } from '../platform/leadership.ts';
import { forgetFleet, type Metrics } from '../platform/metrics.ts';
import { createPool } from '../platform/pg.ts';
import { watchDatabase, type DatabaseWatch } from './database-watch.ts';
import { holderName } from './lease.ts';
import type { OpenRuntime } from './runtime.ts';

/** This instance as one of several that may lead. */
export interface Candidate {
  readonly leadership: Leadership;
  readonly database: DatabaseWatch;
  /** Gives the lease up. */
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
  return { leadership, database, stop };
}

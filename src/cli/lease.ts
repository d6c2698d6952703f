import { hostname } from 'node:os';
import type { Pool } from 'pg';
import { acquire, assertLeader, leaseTiming, release, renew, type Lease } from '../platform/leadership.ts';
import { withClient } from '../platform/pg.ts';
import type { Runtime } from './runtime.ts';

/** Unlike that of any other process, also of an earlier one on this machine. */
export function holderName({ random }: Runtime): string {
  return `${hostname()}-${random.hex(4)}`;
}

/** Leads while `use` runs, for a command that runs one cycle. Null if somebody else leads. */
export async function whileLeading<T>(runtime: Runtime, use: (lease: Lease) => Promise<T>): Promise<T | null> {
  const lease = await acquire(runtime.pool, holderName(runtime));
  if (lease === null) return null;
  const done = new AbortController();
  const renewing = keepRenewing(runtime, lease, done.signal);
  try {
    return await use(lease);
  } finally {
    done.abort();
    await renewing;
    await release(runtime.pool, lease);
  }
}

/** A renewal that fails is noticed where it matters: every decision and every push reads the lease again. */
async function keepRenewing({ pool, clock, log }: Runtime, lease: Lease, signal: AbortSignal): Promise<void> {
  // A sleep that is cut short is the end.
  while (await clock.sleep(leaseTiming.renewEvery, signal).then(() => true, () => false)) {
    await renew(pool, lease).catch((error: unknown) => { log.warn({ err: error }, 'the lease could not be renewed'); });
  }
}

/** Reads the lease again. @throws Failure `not-leader` */
export async function assertLeading(pool: Pool, lease: Lease): Promise<void> {
  await withClient(pool, (client) => assertLeader(client, lease.epoch));
}

import type { Pool, PoolClient, QueryConfig } from 'pg';
import { Failure } from '../model/failure.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { databaseFailure } from './pg-failure.ts';
import type { Random } from './random.ts';

/**
 * Leadership is a lease on one row, by the database's clock: free → held by one holder under an epoch → renewed, released or run
 * out → free. The epoch rises with every change of holder. A decision's transaction keeps the row from changing hands until it
 * ends (`assertLeader`), so two that think they lead never both decide.
 */
export interface Lease {
  readonly holder: string;
  readonly epoch: number;
}

export interface LeaseTiming {
  /** How long the row is held without a renewal. */
  readonly lease: Millis;
  readonly renewEvery: Millis;
  /** Without a renewal for this long the holder no longer acts, well before another may take over. */
  readonly stepDownAfter: Millis;
}

/** A crash of the leader costs at most 12 s; two renewals may be lost, and 4 s are left for clocks and for work under way. */
export const leaseTiming: LeaseTiming = { lease: seconds(10), renewEvery: seconds(2), stepDownAfter: seconds(6) };

/**
 * Takes the lease if it is free. Never waits: while a decision of the last holder is under way, the row counts as held.
 * @returns null if another holds it
 * @throws Failure `database-*`
 */
export async function acquire(pool: Pool, holder: string, timing: LeaseTiming = leaseTiming): Promise<Lease | null> {
  const epoch = await leaseQuery(
    pool,
    timing,
    `with free as (
       select only_row from dory.leader where holder is null or expires_at <= clock_timestamp() for update skip locked
     )
     update dory.leader l
     set epoch = l.epoch + 1, holder = $1, acquired_at = clock_timestamp(), expires_at = clock_timestamp() + $2 * interval '1 ms'
     from free where l.only_row = free.only_row
     returning l.epoch`,
    [holder, timing.lease],
  );
  return epoch === null ? null : { holder, epoch };
}

/** @returns whether the lease is still ours, and extended */
export async function renew(pool: Pool, lease: Lease, timing: LeaseTiming = leaseTiming): Promise<boolean> {
  const epoch = await leaseQuery(
    pool,
    timing,
    `update dory.leader set expires_at = clock_timestamp() + $3 * interval '1 ms'
     where holder = $1 and epoch = $2 and expires_at > clock_timestamp()
     returning epoch`,
    [lease.holder, lease.epoch, timing.lease],
  );
  return epoch !== null;
}

/** Gives the lease up, so that another can take it at once; does nothing if it is not ours any more. */
export async function release(pool: Pool, lease: Lease, timing: LeaseTiming = leaseTiming): Promise<void> {
  const sql = 'update dory.leader set holder = null, expires_at = null where holder = $1 and epoch = $2 returning epoch';
  await leaseQuery(pool, timing, sql, [lease.holder, lease.epoch]);
}

async function leaseQuery(pool: Pool, timing: LeaseTiming, text: string, values: unknown[]): Promise<number | null> {
  try {
    // The driver's own limit, for a server that can't be reached any more and does not say so.
    const query: QueryConfig & { readonly query_timeout: number } = { text, values, query_timeout: timing.renewEvery };
    const { rows } = await pool.query<{ epoch: string }>(query);
    const row = rows[0];
    return row === undefined ? null : Number(row.epoch);
  } catch (error) {
    throw databaseFailure(error);
  }
}

/**
 * In a decision's transaction: the lease is held under this epoch, and does not change hands before the transaction ends.
 * Renewals go on meanwhile: they change no key, and this lock lets them pass.
 * @throws Failure `not-leader`
 */
export async function assertLeader(client: PoolClient, epoch: number): Promise<void> {
  const { rowCount } = await client.query(
    'select from dory.leader where epoch = $1 and holder is not null and expires_at > clock_timestamp() for key share',
    [epoch],
  );
  if (rowCount !== 1) throw new Failure('not-leader', `This instance does not hold the lease of epoch ${String(epoch)} any more.`);
}

export interface Leadership {
  /** Campaigns and, once elected, renews, until `stop`. */
  start(): void;
  /** Gives the lease up. */
  stop(): Promise<void>;
  /** The lease, if it was renewed recently enough to act on. */
  current(): Lease | null;
}

export interface LeadershipOptions {
  readonly pool: Pool;
  /** Unlike that of any other process, also of an earlier one with this name. */
  readonly holder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly timing?: LeaseTiming;
  /** Called when the lease is won or lost. */
  readonly onChange?: (lease: Lease | null) => void;
}

export function createLeadership(options: LeadershipOptions): Leadership {
  const { pool, clock, timing = leaseTiming } = options;
  const stopping = new AbortController();
  const state: { campaign: Promise<void> | null; held: Held | null } = { campaign: null, held: null };

  const current = (): Lease | null => {
    const { held } = state;
    return held !== null && clock.monotonic() - held.renewedAt < timing.stepDownAfter ? held.lease : null;
  };

  const run = async (): Promise<void> => {
    let told: number | undefined;
    while (!stopping.signal.aborted) {
      state.held = await nextHold(options, timing, state.held);
      const now = current();
      if (now?.epoch !== told) announce(options, now);
      told = now?.epoch;
      // Contenders for one lease spread out; a holder keeps its pace.
      const pause = state.held === null ? timing.renewEvery * (0.5 + options.random.fraction() / 2) : timing.renewEvery;
      await clock.sleep(millis(pause), stopping.signal).catch(() => undefined);
    }
  };

  return {
    current,
    start: () => {
      state.campaign ??= run();
    },
    stop: async () => {
      stopping.abort();
      await state.campaign;
      const { held } = state;
      state.held = null;
      if (held !== null) await release(pool, held.lease, timing);
    },
  };
}

interface Held {
  readonly lease: Lease;
  /** When the last renewal that succeeded was sent, by the monotonic clock. */
  readonly renewedAt: Millis;
}

/** One attempt to take or to renew the lease. One that fails changes nothing: the lease may still be ours, until time says no. */
async function nextHold(options: LeadershipOptions, timing: LeaseTiming, held: Held | null): Promise<Held | null> {
  const sentAt = options.clock.monotonic();
  try {
    if (held !== null) return (await renew(options.pool, held.lease, timing)) ? { ...held, renewedAt: sentAt } : null;
    const lease = await acquire(options.pool, options.holder, timing);
    return lease === null ? null : { lease, renewedAt: sentAt };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    options.log.warn({ err: error, holder: options.holder }, 'the lease could not be read or renewed');
    return held;
  }
}

function announce(options: LeadershipOptions, lease: Lease | null): void {
  options.log.info({ holder: options.holder, epoch: lease?.epoch }, lease === null ? 'leadership lost' : 'leadership won');
  options.onChange?.(lease);
}

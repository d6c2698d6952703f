import type { Pool, PoolClient, QueryConfig } from 'pg';
import { Failure } from '../model/failure.ts';
import { instant, millis, seconds, type Instant, type Millis } from '../model/time.ts';
import { databaseFailure } from './pg-failure.ts';
import { msBefore } from './pg.ts';

/**
 * Leadership is a lease on one row, by the database's clock: free → held by one holder under an epoch → renewed, released, taken
 * away or run out → free. The epoch rises with every change of holder. A decision's transaction keeps the row from changing hands
 * until it ends (`assertLeader`), so two that think they lead never both decide.
 *
 * Whoever frees the row tells the others at once (`leaderChannel`); that it ran out they find out by themselves.
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

export interface LeaseOptions {
  readonly timing?: LeaseTiming;
  /** Whether taking and giving up the lease is an event; not for a command that leads for one cycle. Losing it always is. */
  readonly told?: boolean;
}

/** The payload that wakes those who wait for the lease, on the channel that wakes everybody. */
export const leaderChannel = { name: 'dory', payload: 'leader' } as const;

/**
 * Takes the lease if it is free. Never waits: while a decision of the last holder is under way, the row counts as held. One
 * that was made to step down lets others go first for the time of a lease.
 * @returns null if another holds it
 * @throws Failure `database-*`
 */
export async function acquire(pool: Pool, holder: string, { timing = leaseTiming, told = false }: LeaseOptions = {}): Promise<Lease | null> {
  const rows = await leaseQuery<{ epoch: string }>(
    pool,
    timing,
    `with free as (
       select only_row, holder, epoch, acquired_at, expires_at from dory.leader
        where (holder is null or expires_at <= clock_timestamp())
          and (yielded_by is distinct from $1 or yielded_until <= clock_timestamp())
          for update skip locked
     ), elected as (
       update dory.leader l
          set epoch = l.epoch + 1, holder = $1, acquired_at = clock_timestamp(), expires_at = clock_timestamp() + $2 * interval '1 ms',
              yielded_by = null, yielded_until = null
         from free where l.only_row = free.only_row
       returning l.epoch
     ), told as (
       insert into dory.events (kind, evidence)
       select 'leader-lost', jsonb_build_object('holder', holder, 'epoch', epoch, 'ran_out_at', expires_at) from free where holder is not null
       union all
       select 'leader-elected', jsonb_build_object('holder', $1::text, 'epoch', epoch) from elected where $3
     )
     select epoch from elected`,
    [holder, timing.lease, told],
  );
  const [row] = rows;
  return row === undefined ? null : { holder, epoch: Number(row.epoch) };
}

/** @returns whether the lease is still ours, and extended */
export async function renew(pool: Pool, lease: Lease, { timing = leaseTiming }: LeaseOptions = {}): Promise<boolean> {
  const rows = await leaseQuery(
    pool,
    timing,
    `update dory.leader set expires_at = clock_timestamp() + $3 * interval '1 ms'
     where holder = $1 and epoch = $2 and expires_at > clock_timestamp()
     returning epoch`,
    [lease.holder, lease.epoch, timing.lease],
  );
  return rows.length > 0;
}

/** Gives the lease up, so that another can take it at once; does nothing if it is not ours any more. */
export async function release(pool: Pool, lease: Lease, { timing = leaseTiming, told = false }: LeaseOptions = {}): Promise<void> {
  await leaseQuery(
    pool,
    timing,
    `with freed as (
       update dory.leader set holder = null, expires_at = null where holder = $1 and epoch = $2 returning epoch
     ), told as (
       insert into dory.events (kind, evidence)
       select 'leader-resigned', jsonb_build_object('holder', $1::text, 'epoch', epoch) from freed where $3
     )
     select pg_notify($4, $5) from freed`,
    [lease.holder, lease.epoch, told, leaderChannel.name, leaderChannel.payload],
  );
}

interface StepDownOptions extends Pick<LeaseOptions, 'timing'> {
  /** For the record. */
  readonly reason?: string;
}

/**
 * Takes the lease away from whoever holds it, from any machine. Its holder can decide nothing from then on, and lets others go
 * first for the time of a lease; if nobody takes it by then, it may again.
 * @param by who wants it, for the record
 * @returns who led; null if nobody did
 * @throws Failure `database-*`
 */
export async function stepDown(pool: Pool, by: string, { timing = leaseTiming, reason }: StepDownOptions = {}): Promise<Lease | null> {
  const rows = await leaseQuery<{ holder: string; epoch: string }>(
    pool,
    timing,
    `with held as (
       -- A decision under way is not waited for: it is the last one under this epoch.
       select only_row, holder, epoch from dory.leader where holder is not null and expires_at > clock_timestamp() for no key update
     ), freed as (
       update dory.leader l
          set holder = null, expires_at = null, yielded_by = held.holder, yielded_until = clock_timestamp() + $2 * interval '1 ms'
         from held where l.only_row = held.only_row
       returning held.holder, held.epoch
     ), told as (
       insert into dory.events (kind, evidence) select 'leader-resigned', jsonb_build_object('holder', holder, 'epoch', epoch, 'by', $1::text, 'reason', $5::text) from freed
     )
     select holder, epoch, pg_notify($3, $4) from freed`,
    [by, timing.lease, leaderChannel.name, leaderChannel.payload, reason ?? null],
  );
  const [row] = rows;
  return row === undefined ? null : { holder: row.holder, epoch: Number(row.epoch) };
}

export interface Leader extends Lease {
  readonly since: Instant;
  /** Until the lease runs out if it is not renewed, by the database's clock. */
  readonly leaseLeft: Millis;
}

/** Who leads now; null if nobody does. @throws Failure `database-*` */
export async function leaderOf(pool: Pool): Promise<Leader | null> {
  const [row] = await leaseQuery<{ holder: string; epoch: string; since: string; left: string }>(
    pool,
    leaseTiming,
    `select holder, epoch, ${msBefore('acquired_at')} as since,
            floor(extract(epoch from expires_at - clock_timestamp()) * 1000)::bigint as left
       from dory.leader where holder is not null and expires_at > clock_timestamp()`,
    [],
  );
  if (row === undefined) return null;
  return { holder: row.holder, epoch: Number(row.epoch), since: instant(Number(row.since)), leaseLeft: millis(Number(row.left)) };
}

async function leaseQuery<Row extends object>(pool: Pool, timing: LeaseTiming, text: string, values: unknown[]): Promise<readonly Row[]> {
  try {
    // The driver's own limit, for a server that can't be reached any more and does not say so.
    const query: QueryConfig & { readonly query_timeout: number } = { text, values, query_timeout: timing.renewEvery };
    return (await pool.query<Row>(query)).rows;
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

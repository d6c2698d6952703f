import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { acquire, assertLeader, createLeadership, leaseTiming, release, renew, type Leadership, type Lease } from '../../../src/platform/leadership.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createPool, inTransaction } from '../../../src/platform/pg.ts';
import { fixedRandom, manualClock, type ManualClock } from '../../support/clock.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
});
afterEach(async () => {
  await db.close();
});

/** Lets the lease run out by the database's clock. */
const expire = () => db.pool.query("update dory.leader set expires_at = clock_timestamp() - interval '1 ms'");

test('one of many contenders gets the lease, under epoch 1', async () => {
  const results = await Promise.all(['a', 'b', 'c', 'd'].map((holder) => acquire(db.pool, holder)));
  const winners = results.filter((lease) => lease !== null);
  expect(winners).toHaveLength(1);
  expect(winners[0]?.epoch).toBe(1);
  expect(await acquire(db.pool, winners[0]?.holder ?? '')).toBeNull();
});

test('a lease that ran out goes to the next, the epoch rises, and the last holder can do nothing with it', async () => {
  const first = await acquire(db.pool, 'a');
  if (first === null) return expect.unreachable();
  expect(await renew(db.pool, first)).toBe(true);
  expect(await acquire(db.pool, 'b')).toBeNull();
  await expire();
  expect(await renew(db.pool, first)).toBe(false);
  expect(await acquire(db.pool, 'b')).toEqual({ holder: 'b', epoch: 2 });
  expect(await renew(db.pool, first)).toBe(false);
  await release(db.pool, first);
  expect(await acquire(db.pool, 'a')).toBeNull();
});

test('a lease that is released is free at once', async () => {
  const first = await acquire(db.pool, 'a');
  if (first === null) return expect.unreachable();
  await release(db.pool, first);
  expect(await acquire(db.pool, 'b')).toEqual({ holder: 'b', epoch: 2 });
});

test('a lease lasts as long as it says', async () => {
  await acquire(db.pool, 'a');
  const { rows } = await db.pool.query<{ ms: number }>('select extract(epoch from expires_at - acquired_at)::float8 * 1000 as ms from dory.leader');
  expect(rows[0]?.ms).toBeCloseTo(leaseTiming.lease, 0);
});

test('a decision asserts the epoch, and an old one is refused', async () => {
  await acquire(db.pool, 'a');
  await inTransaction(db.pool, {}, (client) => assertLeader(client, 1));
  await expect(inTransaction(db.pool, {}, (client) => assertLeader(client, 2))).rejects.toMatchObject({ code: 'not-leader' });
  await expire();
  await expect(inTransaction(db.pool, {}, (client) => assertLeader(client, 1))).rejects.toMatchObject({ code: 'not-leader' });
  await acquire(db.pool, 'b');
  await expect(inTransaction(db.pool, {}, (client) => assertLeader(client, 1))).rejects.toMatchObject({ code: 'not-leader' });
});

test('during a decision the lease is renewed but does not change hands, even when it runs out', async () => {
  const first = await acquire(db.pool, 'a');
  if (first === null) return expect.unreachable();
  await inTransaction(db.pool, {}, async (client) => {
    await assertLeader(client, first.epoch);
    expect(await renew(db.pool, first)).toBe(true);
    await expire();
    expect(await acquire(db.pool, 'b')).toBeNull();
  });
  expect(await acquire(db.pool, 'b')).toEqual({ holder: 'b', epoch: 2 });
});

/** A contender that tells of each change. */
function contender(holder: string, clock: ManualClock): Leadership & { readonly changes: (Lease | null)[] } {
  const changes: (Lease | null)[] = [];
  const leadership = createLeadership({ pool: db.pool, holder, clock, random: fixedRandom(0), log: silentLog, onChange: (lease) => changes.push(lease) });
  return { ...leadership, changes };
}

/** Starts it and waits until its first attempt is over. */
async function started(leadership: Leadership, clock: ManualClock): Promise<void> {
  leadership.start();
  await clock.asleep();
}

test('the loop wins, renews and releases; another takes over at once', async () => {
  const clock = manualClock();
  const [a, b] = [contender('a', clock), contender('b', clock)];
  expect(a.current()).toBeNull();
  await started(a, clock);
  expect(a.current()).toEqual({ holder: 'a', epoch: 1 });
  for (let round = 0; round < 5; round++) {
    clock.advance(leaseTiming.renewEvery);
    await clock.asleep();
    expect(a.current()).toEqual({ holder: 'a', epoch: 1 });
  }
  await a.stop();
  expect(a.current()).toBeNull();
  await started(b, clock);
  expect(b.current()).toEqual({ holder: 'b', epoch: 2 });
  await b.stop();
  expect(a.changes).toEqual([{ holder: 'a', epoch: 1 }]);
});

test('without renewals the holder no longer acts, by its own clock alone', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  clock.advance(leaseTiming.stepDownAfter);
  expect(a.current()).toBeNull();
  await clock.asleep();
  // The database had not given the lease away: the late renewal was in order.
  expect(a.current()).toEqual({ holder: 'a', epoch: 1 });
  await a.stop();
});

test('a holder that finds its lease taken says so, and campaigns again', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  await expire();
  const b = await acquire(db.pool, 'b');
  clock.advance(leaseTiming.renewEvery);
  await clock.asleep();
  expect(a.current()).toBeNull();
  expect(a.changes).toEqual([{ holder: 'a', epoch: 1 }, null]);
  if (b !== null) await release(db.pool, b);
  clock.advance(leaseTiming.renewEvery);
  await clock.asleep();
  expect(a.current()).toEqual({ holder: 'a', epoch: 3 });
  await a.stop();
});

test('a database that does not answer takes leadership away, not the process', async () => {
  const clock = manualClock();
  const pool = createPool(db.url.replace(/:\d+\//, ':1/'), { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const warn = vi.fn();
  const a = createLeadership({ pool, holder: 'a', clock, random: fixedRandom(0), log: Object.assign(Object.create(silentLog) as typeof silentLog, { warn }) });
  await started(a, clock);
  expect(a.current()).toBeNull();
  expect(warn).toHaveBeenCalledOnce();
  await a.stop();
  await pool.end();
});

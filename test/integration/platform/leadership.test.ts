import { setImmediate } from 'node:timers/promises';
import pg from 'pg';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLeadership, type Leadership, type Look } from '../../../src/platform/campaign.ts';
import { acquire, assertLeader, leaderOf, leaseTiming, release, renew, stepDown, type Lease } from '../../../src/platform/leadership.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createPool, inTransaction } from '../../../src/platform/pg.ts';
import { fixedRandom, manualClock, type ManualClock } from '../../support/clock.ts';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
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
  // From one reading of the server's clock to the next, between which it may have been made to wait.
  expect(rows[0]?.ms).toBeGreaterThanOrEqual(leaseTiming.lease);
  expect(rows[0]?.ms).toBeLessThan(leaseTiming.lease + leaseTiming.renewEvery);
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
function contender(holder: string, clock: ManualClock): { readonly leadership: Leadership; readonly changes: (Lease | null)[]; readonly looks: Look[] } {
  const changes: (Lease | null)[] = [];
  const looks: Look[] = [];
  const leadership = createLeadership({
    pool: db.pool, holder, clock, random: fixedRandom(0), log: silentLog,
    onChange: (lease) => changes.push(lease),
    onLook: (look) => looks.push(look),
  });
  return { leadership, changes, looks };
}

/** Starts it and waits until its first attempt is over. */
async function started({ leadership }: ReturnType<typeof contender>, clock: ManualClock): Promise<void> {
  leadership.start();
  await clock.asleep();
}

/** Lets the time to the next attempt pass, and waits until it is over. */
async function nextAttempt(clock: ManualClock): Promise<void> {
  clock.advance(leaseTiming.renewEvery);
  await clock.asleep();
}

/** Kinds of leadership's events with who and when, oldest first. */
const events = async (): Promise<readonly unknown[]> =>
  (await db.pool.query<{ kind: string; evidence: Record<string, unknown> }>(`select kind, evidence from dory.events where kind like 'leader-%' order by id`)).rows.map(
    ({ kind, evidence: { holder, epoch, by } }) => [kind, holder, epoch, ...(by === undefined ? [] : [by])],
  );

test('the loop wins, renews and releases; another takes over at once', async () => {
  const clock = manualClock();
  const [a, b] = [contender('a', clock), contender('b', clock)];
  expect(a.leadership.current()).toBeNull();
  await started(a, clock);
  expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 1 });
  for (let round = 0; round < 5; round++) {
    await nextAttempt(clock);
    expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 1 });
  }
  await a.leadership.stop();
  expect(a.leadership.current()).toBeNull();
  await started(b, clock);
  expect(b.leadership.current()).toEqual({ holder: 'b', epoch: 2 });
  await b.leadership.stop();
  expect(a.changes).toEqual([{ holder: 'a', epoch: 1 }]);
  expect(await events()).toEqual([['leader-elected', 'a', 1], ['leader-resigned', 'a', 1], ['leader-elected', 'b', 2], ['leader-resigned', 'b', 2]]);
});

test('without renewals the holder no longer acts, by its own clock alone', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  clock.advance(leaseTiming.stepDownAfter);
  expect(a.leadership.current()).toBeNull();
  await clock.asleep();
  // The database had not given the lease away: the late renewal was in order.
  expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 1 });
  await a.leadership.stop();
});

test('a holder that finds its lease taken says so, and campaigns again', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  await expire();
  const b = await acquire(db.pool, 'b');
  await nextAttempt(clock);
  expect(a.leadership.current()).toBeNull();
  expect(a.changes).toEqual([{ holder: 'a', epoch: 1 }, null]);
  if (b !== null) await release(db.pool, b);
  await nextAttempt(clock);
  expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 3 });
  // Who took it for one cycle leaves no trace but that it was lost.
  expect(await events()).toEqual([['leader-elected', 'a', 1], ['leader-lost', 'a', 1], ['leader-elected', 'a', 3]]);
  await a.leadership.stop();
});

test('a holder whose lease ran out, and nobody took, leads again at once under the next epoch', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  await expire();
  await nextAttempt(clock);
  expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 2 });
  expect(a.changes).toEqual([{ holder: 'a', epoch: 1 }, null, { holder: 'a', epoch: 2 }]);
  expect(await events()).toEqual([['leader-elected', 'a', 1], ['leader-lost', 'a', 1], ['leader-elected', 'a', 2]]);
  await a.leadership.stop();
});

test('a holder that is made to step down knows when it looks, lets others go first, and may lead again if nobody does', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  expect(await stepDown(db.pool, 'ops')).toEqual({ holder: 'a', epoch: 1 });
  expect(await leaderOf(db.pool)).toBeNull();
  expect(await stepDown(db.pool, 'ops')).toBeNull();
  await expect(inTransaction(db.pool, {}, (client) => assertLeader(client, 1))).rejects.toMatchObject({ code: 'not-leader' });
  a.leadership.look();
  await clock.asleep();
  expect(a.leadership.current()).toBeNull();
  await nextAttempt(clock);
  expect(a.leadership.current()).toBeNull();
  expect(await events()).toEqual([['leader-elected', 'a', 1], ['leader-resigned', 'a', 1, 'ops']]);

  await db.pool.query('update dory.leader set yielded_until = clock_timestamp()');
  await nextAttempt(clock);
  expect(a.leadership.current()).toEqual({ holder: 'a', epoch: 2 });

  await stepDown(db.pool, 'ops');
  expect(await acquire(db.pool, 'b')).toEqual({ holder: 'b', epoch: 3 });
  await a.leadership.stop();
});

test('stepping down does not wait for a decision, which is the last of its epoch', async () => {
  const first = await acquire(db.pool, 'a');
  if (first === null) return expect.unreachable();
  await inTransaction(db.pool, {}, async (client) => {
    await assertLeader(client, first.epoch);
    expect(await stepDown(db.pool, 'ops')).toEqual(first);
    expect(await acquire(db.pool, 'b')).toBeNull();
  });
  expect(await acquire(db.pool, 'b')).toEqual({ holder: 'b', epoch: 2 });
});

test('who waits is told when the lease is given up, or taken away', async () => {
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  const told: unknown[] = [];
  client.on('notification', ({ payload }) => told.push(payload));
  await client.query('listen dory');
  const first = await acquire(db.pool, 'a');
  if (first !== null) await release(db.pool, first);
  await acquire(db.pool, 'b');
  await stepDown(db.pool, 'ops');
  await vi.waitFor(() => { expect(told).toEqual(['leader', 'leader']); }, { timeout: 10_000 });
  await client.end();
});

test('everybody can see who leads, since when, and for how long', async () => {
  expect(await leaderOf(db.pool)).toBeNull();
  await acquire(db.pool, 'a');
  const leader = await leaderOf(db.pool);
  const { rows } = await db.pool.query<{ since: Date }>('select acquired_at as since from dory.leader');
  expect(leader).toMatchObject({ holder: 'a', epoch: 1, since: rows[0]?.since.getTime() });
  expect(leader?.leaseLeft).toBeLessThanOrEqual(leaseTiming.lease);
  expect(leader?.leaseLeft).toBeGreaterThan(0);
  await expire();
  expect(await leaderOf(db.pool)).toBeNull();
});

test('a database that does not answer takes leadership away, not the process', async () => {
  const clock = manualClock();
  const pool = createPool(db.url.replace(/:\d+\//, ':1/'), { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const [warn, onLook] = [vi.fn(), vi.fn()];
  const leadership = createLeadership({ pool, holder: 'a', clock, random: fixedRandom(0), log: Object.assign(Object.create(silentLog) as typeof silentLog, { warn }), onLook });
  leadership.start();
  await clock.asleep();
  expect(leadership.current()).toBeNull();
  expect(warn).toHaveBeenCalledOnce();
  expect(onLook).toHaveBeenCalledWith({ failure: expect.objectContaining({ code: 'database-unreachable' }) as unknown, silent: false, leaseAge: null });
  await leadership.stop();
  await pool.end();
});

test('a lease that can not be given up is left to run out', async () => {
  const clock = manualClock();
  const pool = createPool(db.url, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const warn = vi.fn();
  const leadership = createLeadership({ pool, holder: 'a', clock, random: fixedRandom(0), log: Object.assign(Object.create(silentLog) as typeof silentLog, { warn }) });
  leadership.start();
  await clock.asleep();
  await db.pool.query('alter table dory.leader rename to hidden');
  await leadership.stop();
  expect(warn).toHaveBeenCalledOnce();
  await pool.end();
});

test('each look says how old the lease is', async () => {
  const clock = manualClock();
  const a = contender('a', clock);
  await started(a, clock);
  await db.pool.query('alter table dory.leader rename to hidden');
  await nextAttempt(clock);
  await nextAttempt(clock);
  await db.pool.query('alter table dory.hidden rename to leader');
  await nextAttempt(clock);
  expect(a.looks.map(({ failure, leaseAge }) => [failure?.code, leaseAge])).toEqual([[undefined, 0], ['schema-missing', 2000], ['schema-missing', 4000], [undefined, 0]]);
  await a.leadership.stop();
});

test('a look that nothing comes back from is told from one that this process was late for', async () => {
  const proxy = await halfOpenProxy(db.url);
  const pool = createPool(proxy.url, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const looks: Look[] = [];
  let ahead = 0;
  const clock = { ...systemClock, monotonic: () => millis(systemClock.monotonic() + ahead), sleep: () => new Promise<void>((resolve) => { next = resolve; }) };
  let next = (): void => undefined;
  // The first look must be answered in time on a busy machine.
  const timing = { lease: millis(10_000), renewEvery: millis(700), stepDownAfter: millis(6_000) };
  const looked = (count: number): Promise<void> => vi.waitFor(() => { expect(looks).toHaveLength(count); }, { timeout: 10_000 });
  const leadership = createLeadership({ pool, holder: 'a', clock, random: fixedRandom(0), log: silentLog, timing, onLook: (look) => looks.push(look) });
  leadership.start();
  await looked(1);
  proxy.freeze();
  next();
  await looked(2);
  expect(looks[1]).toMatchObject({ failure: { code: 'database-unreachable' }, silent: true });
  next();
  await looked(3);
  expect(looks[2]).toMatchObject({ failure: null, silent: false });
  proxy.freeze();
  next();
  // It has asked by then.
  await setImmediate();
  ahead = 10_000;
  await looked(4);
  expect(looks[3]).toMatchObject({ failure: { code: 'database-unreachable' }, silent: false });
  const stopped = leadership.stop();
  next();
  await stopped;
  await pool.end();
  await proxy.close();
});

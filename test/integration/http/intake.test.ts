import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HeartbeatAnswer } from '../../../src/http/heartbeat.ts';
import { createIntake, type HeartbeatIntake, type IntakeSettings } from '../../../src/http/intake.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../../src/platform/metrics.ts';
import { onServer, testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { beatOf, intakePool, intakeSettings, testFleet, type TestFleet } from './fleet.ts';

let db: TestDatabase;
let fleet: TestFleet;
beforeAll(async () => {
  db = await testDatabase();
  fleet = await testFleet(db.pool);
});
afterAll(() => db.close());

interface Rig extends AsyncDisposable {
  readonly intake: HeartbeatIntake;
  readonly metrics: Metrics;
  count(result: string): Promise<number>;
}

function rig(url: string, changed: Partial<IntakeSettings> = {}): Rig {
  const metrics = createMetrics();
  const pool = intakePool(url);
  const intake = createIntake({ pool, clock: systemClock, settings: { ...intakeSettings, ...changed }, metrics, log: silentLog });
  return {
    intake,
    metrics,
    count: async (result) => (await metrics.heartbeats.get()).values.find(({ labels }) => labels.result === result)?.value ?? 0,
    [Symbol.asyncDispose]: async () => {
      await intake.stop();
      await pool.end();
    },
  };
}

test('many beats are few statements, each answered after it is stored', async () => {
  await using r = rig(db.url, { largestBatch: 100 });
  const nodes = await Promise.all(Array.from({ length: 250 }, (_, at) => fleet.node(`many-${String(at)}`)));
  const answers = await Promise.all(nodes.map((node_id) => r.intake.record(beatOf({ node_id }))));
  expect(answers.every(({ standing }) => standing === 'node')).toBe(true);
  const { rows } = await db.pool.query('select from edge_nodes where id = any($1) and last_heartbeat_at is null', [nodes]);
  expect(rows).toHaveLength(0);
  expect(await r.count('node')).toBe(250);
  const batches = (await r.metrics.heartbeatBatchSize.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value;
  expect(batches).toBe(3);
});

test('a beat that comes in answer to another is stored too', async () => {
  await using r = rig(db.url);
  const node_id = await fleet.node('chain');
  for (let n = 0; n < 20; n++) expect((await r.intake.record(beatOf({ node_id }))).standing).toBe('node');
});

test('of several beats of one processor the last one counts, and each is answered', async () => {
  await using r = rig(db.url);
  const [node, other] = [await fleet.node('several'), await fleet.node('several-other')];
  const processor_id = await fleet.processor();
  await fleet.place(processor_id, node);
  const bodies = [{ status: 'first' }, { status: 'leftover', node_id: other }, { status: 'last' }];
  const answers = await Promise.all(bodies.map((body) => r.intake.record(beatOf({ processor_id, ...body }))));
  expect(answers.map(({ standing }) => standing)).toEqual(['current', 'stale', 'current']);
  expect(await fleet.beat(processor_id)).toMatchObject({ status: 'last' });
  expect(await fleet.row(processor_id)).toMatchObject({ health_status: { status: 'last' } });
});

test('only who beats from the current placement learns its epoch, and is promised a lease', async () => {
  await using r = rig(db.url, { lease: millis(20_500) });
  const [home, other] = [await fleet.node('promised'), await fleet.node('promised-other')];
  const [here, leaving, unplaced] = [await fleet.processor(), await fleet.processor(), await fleet.processor()];
  await fleet.place(here, home, { epoch: 6 });
  await fleet.place(leaving, home, { epoch: 6, phase: 'stopping' });
  const answer = (body: Readonly<Record<string, unknown>>): Promise<HeartbeatAnswer> => r.intake.record(beatOf(body));
  expect(await answer({ processor_id: here, node_id: home })).toEqual({ standing: 'current', placementEpoch: 6, leaseSec: 20.5 });
  const nothing = { placementEpoch: null, leaseSec: null };
  expect(await answer({ processor_id: here, node_id: other })).toEqual({ standing: 'stale', ...nothing });
  expect(await answer({ processor_id: here, placement_epoch: 7 })).toEqual({ standing: 'ahead', ...nothing });
  expect(await answer({ processor_id: leaving, placement_epoch: 6 })).toEqual({ standing: 'stopping', ...nothing });
  expect(await answer({ processor_id: unplaced })).toEqual({ standing: 'unplaced', ...nothing });
});

test('a second batch is under way while the first one is written, and the rest waits for both', async () => {
  await using r = rig(db.url);
  const nodes = await Promise.all(['a', 'b', 'c', 'd'].map((name) => fleet.node(`under-way-${name}`)));
  const client = await db.pool.connect();
  try {
    await client.query('begin');
    await client.query('lock table dory.intake');
    const answers: Promise<HeartbeatAnswer>[] = [];
    for (const node_id of nodes) {
      answers.push(r.intake.record(beatOf({ node_id })));
      // A turn of the event loop each.
      await setImmediate();
      await setImmediate();
    }
    await client.query('commit');
    expect((await Promise.all(answers)).map(({ standing }) => standing)).toEqual(nodes.map(() => 'node'));
  } finally {
    await client.query('rollback');
    client.release();
  }
  const batches = (await r.metrics.heartbeatBatchSize.get()).values;
  expect(batches.find(({ metricName }) => metricName?.endsWith('_count'))?.value).toBe(3);
  expect(batches.find(({ labels }) => labels['le'] === 1)?.value).toBe(2);
});

test('several instances take beats of the same processors, and each says the same of them', async () => {
  await using one = rig(db.url);
  await using two = rig(db.url);
  const placed = await Promise.all(Array.from({ length: 20 }, async (_, at) => {
    const [node_id, processor_id] = [await fleet.node(`shared-${String(at)}`), await fleet.processor()];
    await fleet.place(processor_id, node_id, { epoch: 5 });
    return { node_id, processor_id, placement_epoch: 5 };
  }));
  const rounds = Array.from({ length: 10 }, () => [...placed, ...placed.toReversed()].map((body) => [one.intake.record(beatOf(body)), two.intake.record(beatOf(body))])).flat(2);
  for (const answer of await Promise.all(rounds)) expect(answer).toEqual({ standing: 'current', placementEpoch: 5, leaseSec: 30 });
  for (const { processor_id } of placed) {
    const { last_beat_at, lease_until } = (await fleet.beat(processor_id))!;
    expect(lease_until!.getTime() - last_beat_at.getTime()).toBe(30_000);
  }
});

test('more than the queue holds is answered at once, not stored, and costs the record of intake its past', async () => {
  await using r = rig(db.url, { longestQueue: 2 });
  await db.pool.query(`insert into dory.intake values (true, now() - interval '1 hour', now()) on conflict (only_row) do update set covered_since = excluded.covered_since, covered_until = now()`);
  const answers = await Promise.all(Array.from({ length: 3 }, () => r.intake.record(beatOf({}))));
  expect(answers.map(({ standing }) => standing)).toEqual(['node', 'node', 'unstored']);
  const { rows } = await db.pool.query<{ fresh: boolean }>(`select covered_since > now() - interval '1 minute' as fresh from dory.intake`);
  expect(rows[0]?.fresh).toBe(true);
});

test('a statement that hangs is answered as not stored after the time limit, with what is behind it', async () => {
  await using r = rig(db.url, { writeTimeout: millis(100) });
  const node = await fleet.node('hangs');
  const client = await db.pool.connect();
  try {
    await client.query('begin');
    await client.query('update edge_nodes set status = status where id = $1', [node]);
    const waits = r.intake.record(beatOf({ node_id: node }));
    await setImmediate();
    await setImmediate();
    const behind = r.intake.record(beatOf({}));
    expect([(await waits).standing, (await behind).standing]).toEqual(['unstored', 'unstored']);
  } finally {
    await client.query('rollback');
    client.release();
  }
});

test('with the database down every beat is answered at once, nothing is stored, and it mends itself', async () => {
  const own = await testDatabase();
  const name = new URL(own.url).pathname.slice(1);
  try {
    await using r = rig(own.url, { extendEvery: millis(20) });
    const node_id = await (await testFleet(own.pool)).node('n');
    expect((await r.intake.record(beatOf({ node_id }))).standing).toBe('node');
    await onServer(`alter database ${name} allow_connections false`);
    await onServer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`);
    expect((await r.intake.record(beatOf({ node_id }))).standing).toBe('unstored');
    const many = await Promise.all(Array.from({ length: 1000 }, () => r.intake.record(beatOf({ node_id }))));
    expect(many.every(({ standing, placementEpoch }) => standing === 'unstored' && placementEpoch === null)).toBe(true);
    expect(await r.count('unstored')).toBe(1001);
    // Nobody asked the database again.
    expect((await r.metrics.databaseErrors.get()).values.map(({ value }) => value)).toEqual([1]);
    await onServer(`alter database ${name} allow_connections true`);
    const before = Date.now();
    r.intake.start();
    await expect.poll(async () => (await r.intake.record(beatOf({ node_id }))).standing).toBe('node');
    const { rows } = await own.pool.query<{ covered_since: Date }>('select covered_since from dory.intake');
    expect(rows[0]!.covered_since.getTime()).toBeGreaterThanOrEqual(before - 1);
  } finally {
    await own.close();
  }
});

test('a server that was a standby is asked again on a new connection', async () => {
  const own = await testDatabase();
  const name = new URL(own.url).pathname.slice(1);
  try {
    await onServer(`alter database ${name} set default_transaction_read_only = on`);
    await using r = rig(own.url, { extendEvery: millis(10) });
    expect((await r.intake.record(beatOf({}))).standing).toBe('unstored');
    await onServer(`alter database ${name} reset default_transaction_read_only`);
    r.intake.start();
    await expect.poll(async () => (await r.intake.record(beatOf({}))).standing).toBe('node');
  } finally {
    await own.close();
  }
});

test('a beat that could not be taken costs the record its past, also if the first attempt to say so fails', async () => {
  const own = await testDatabase();
  const since = async (): Promise<number> => (await own.pool.query<{ since: Date }>('select covered_since as since from dory.intake')).rows[0]!.since.getTime();
  await own.pool.query(`insert into dory.intake values (true, '2001-01-01Z', now())`);
  const client = await own.pool.connect();
  try {
    await using r = rig(own.url, { extendEvery: millis(10), writeTimeout: millis(100) });
    expect(r.intake.lose().standing).toBe('unstored');
    await client.query('begin');
    await client.query('select from dory.intake for update');
    r.intake.start();
    await expect.poll(async () => (await r.metrics.databaseErrors.get()).values.length).toBe(1);
    expect(await since()).toBe(Date.parse('2001-01-01Z'));
    await client.query('rollback');
    await expect.poll(since).toBeGreaterThan(Date.parse('2001-01-01Z'));
  } finally {
    client.release();
    await own.close();
  }
});

test('the record of intake is extended without traffic, and not after the stop', async () => {
  const own = await testDatabase();
  const until = async (): Promise<number> => (await own.pool.query<{ at: Date }>('select covered_until as at from dory.intake')).rows[0]?.at.getTime() ?? 0;
  try {
    await using r = rig(own.url, { extendEvery: millis(5) });
    r.intake.start();
    await expect.poll(until, { interval: 5 }).toBeGreaterThan(0);
    const first = await until();
    await expect.poll(until, { interval: 5 }).toBeGreaterThan(first);
    await r.intake.stop();
    const last = await until();
    expect((await r.intake.record(beatOf({ node_id: randomUUID() }))).standing).toBe('unstored');
    expect(await until()).toBe(last);
  } finally {
    await own.close();
  }
});

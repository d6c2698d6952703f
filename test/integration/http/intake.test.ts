import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createIntake, defaultIntakeSettings, type HeartbeatIntake, type IntakeSettings } from '../../../src/http/intake.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../../src/platform/metrics.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { onServer, testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { beatOf, testFleet, type TestFleet } from './fleet.ts';

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

function rig(pool: Pool, settings: Partial<IntakeSettings> = {}): Rig {
  const metrics = createMetrics();
  const intake = createIntake({ pool, clock: systemClock, settings: { ...defaultIntakeSettings, ...settings }, metrics, log: silentLog });
  return {
    intake,
    metrics,
    count: async (result) => (await metrics.heartbeats.get()).values.find(({ labels }) => labels.result === result)?.value ?? 0,
    [Symbol.asyncDispose]: () => intake.stop(),
  };
}

test('many beats are few statements, each answered after it is stored', async () => {
  await using r = rig(db.pool, { largestBatch: 100 });
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
  await using r = rig(db.pool);
  const node_id = await fleet.node('chain');
  for (let n = 0; n < 20; n++) expect((await r.intake.record(beatOf({ node_id }))).standing).toBe('node');
});

test('more than the queue holds is answered at once, not stored, and costs the record of intake its past', async () => {
  await using r = rig(db.pool, { longestQueue: 2 });
  await db.pool.query(`insert into dory.intake values (true, now() - interval '1 hour', now()) on conflict (only_row) do update set covered_since = excluded.covered_since, covered_until = now()`);
  const answers = await Promise.all(Array.from({ length: 3 }, () => r.intake.record(beatOf({}))));
  expect(answers.map(({ standing }) => standing)).toEqual(['node', 'node', 'unstored']);
  const { rows } = await db.pool.query<{ fresh: boolean }>(`select covered_since > now() - interval '1 minute' as fresh from dory.intake`);
  expect(rows[0]?.fresh).toBe(true);
});

test('a statement that hangs is answered as not stored after the time limit', async () => {
  await using r = rig(db.pool, { writeTimeout: millis(100) });
  const node = await fleet.node('hangs');
  const client = await db.pool.connect();
  try {
    await client.query('begin');
    await client.query('update edge_nodes set status = status where id = $1', [node]);
    expect((await r.intake.record(beatOf({ node_id: node }))).standing).toBe('unstored');
  } finally {
    await client.query('rollback');
    client.release();
  }
});

test('with the database down every beat is answered at once, nothing is stored, and it mends itself', async () => {
  const own = await testDatabase();
  const pool = createPool(own.url, { max: 2, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const name = new URL(own.url).pathname.slice(1);
  try {
    await using r = rig(pool, { extendEvery: millis(20) });
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
    const { rows } = await pool.query<{ covered_since: Date }>('select covered_since from dory.intake');
    expect(rows[0]!.covered_since.getTime()).toBeGreaterThanOrEqual(before - 1);
  } finally {
    await pool.end();
    await own.close();
  }
});

test('the record of intake is extended without traffic, and not after the stop', async () => {
  const own = await testDatabase();
  const until = async (): Promise<number> => (await own.pool.query<{ at: Date }>('select covered_until as at from dory.intake')).rows[0]?.at.getTime() ?? 0;
  try {
    const r = rig(own.pool, { extendEvery: millis(5) });
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

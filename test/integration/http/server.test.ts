import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import type { FastifyInstance } from 'fastify';
import type { Pool } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHealth } from '../../../src/http/health.ts';
import { createIntake, type HeartbeatIntake } from '../../../src/http/intake.ts';
import { createNodeRegistry } from '../../../src/http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../../../src/http/server.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { intakePool, intakeSettings, testFleet, type TestFleet } from './fleet.ts';

let db: TestDatabase;
let fleet: TestFleet;
let app: FastifyInstance;
let intake: HeartbeatIntake;
let beatsPool: Pool;
let base: string;

const clock = systemClock;
const log = silentLog;

beforeAll(async () => {
  db = await testDatabase();
  fleet = await testFleet(db.pool);
  const metrics = createMetrics();
  beatsPool = intakePool(db.url);
  intake = createIntake({ pool: beatsPool, clock, settings: intakeSettings, metrics, log });
  app = createHttpServer({ intake, nodes: createNodeRegistry(db.pool), health: createHealth(), metrics, clock, log, limits: defaultHttpLimits });
  base = await app.listen({ host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await app.close();
  await intake.stop();
  await beatsPool.end();
  await db.close();
});

interface Answer {
  readonly status: number;
  readonly allow: string | null;
  readonly body: Readonly<Record<string, unknown>>;
}

async function call(method: string, path: string, body?: unknown): Promise<Answer> {
  const init = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { 'content-type': 'application/json' } };
  const response = await fetch(base + path, { method, ...init });
  const text = await response.text();
  return { status: response.status, allow: response.headers.get('allow'), body: text.startsWith('{') ? (JSON.parse(text) as Answer['body']) : { text } };
}
const post = (path: string, body: unknown): Promise<Answer> => call('POST', path, body);

describe('POST /api/v1/edge/heartbeat', () => {
  const path = '/api/v1/edge/heartbeat';

  test('continue for the current placement, shutdown for an unknown processor', async () => {
    const node_id = await fleet.node('beats');
    const processor_id = await fleet.processor();
    await fleet.place(processor_id, node_id, { epoch: 4 });
    const before = Date.now() / 1000;
    const { status, body } = await post(path, { processor_id, node_id, role: 'primary', epoch: null, timestamp: before, status: 'healthy', last_state_sync: null, state_size_bytes: null, uptime_sec: 1.5 });
    expect(status).toBe(200);
    expect(body).toMatchObject({ acknowledged: true, directive: 'continue', placement_epoch: 4 });
    expect(body['orchestrator_time']).toBeGreaterThanOrEqual(Math.floor(before));
    expect(body['orchestrator_time']).toBeLessThanOrEqual(Date.now() / 1000);
    expect(await fleet.lastHeartbeat(node_id)).not.toBeNull();
    expect((await post(path, { processor_id: randomUUID() })).body).toMatchObject({ acknowledged: true, directive: 'shutdown', placement_epoch: null });
  });

  test.each([['{"processor_id":'], [''], ['NaN'], ['[]'], ['"text"'], ['{"epoch":"three"}'], ['{"status":"a\\u0000b"}']])('400 for %j', async (body) => {
    const answer = await post(path, body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ error: expect.stringMatching(/^invalid-(json|field)$/) as unknown });
  });

  test('400 says which field, what was sent, and what to send', async () => {
    expect((await post(path, { epoch: 'three' })).body).toMatchObject({
      error: 'invalid-field', problems: [{ field: 'epoch', value: '"three"', mend: expect.any(String) as unknown }],
    });
  });

  test('takes 64 KB and no byte more', async () => {
    const padded = (size: number): string => `{"node_id":"n","x":"${'y'.repeat(size - 22)}"}`;
    expect(padded(100)).toHaveLength(100);
    expect((await post(path, padded(64 * 1024))).status).toBe(200);
    expect((await post(path, padded(64 * 1024 + 1))).status).toBe(413);
  });

  test('takes JSON whatever the content type says', async () => {
    const body = new TextEncoder().encode('{"node_id":"n"}');
    for (const headers of [{}, { 'content-type': 'application/x-www-form-urlencoded' }, { 'content-type': 'text/plain' }]) {
      expect((await fetch(base + path, { method: 'POST', body, headers })).status).toBe(200);
    }
  });
});

describe('other methods and paths', () => {
  const posts = ['/api/v1/edge/heartbeat', '/api/v1/edge/nodes', '/api/v1/edge/nodes/decommission'];
  const gets = ['/metrics', '/healthz', '/readyz', '/livez'];
  test.each([
    ...posts.flatMap((path) => ['GET', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'].map((method) => [method, path, 'POST'])),
    ...gets.flatMap((path) => ['POST', 'PUT', 'DELETE'].map((method) => [method, path, 'GET, HEAD'])),
  ])('405 for %s %s', async (method, path, allow) => {
    expect(await call(method, `${path}?x=1`)).toMatchObject({ status: 405, allow, body: { error: 'method-not-allowed' } });
  });

  test('405 comes before the body is looked at, also for methods that few know', async () => {
    expect((await call('PUT', posts[0]!, '{')).status).toBe(405);
    expect((await call('PUT', posts[0]!, 'x'.repeat(100_000))).status).toBe(405);
    const status = await new Promise((resolve, reject) => {
      request(base + posts[0]!, { method: 'PROPFIND' }, (response) => resolve(response.resume().statusCode)).on('error', reject).end();
    });
    expect(status).toBe(405);
  });

  test('404 elsewhere', async () => {
    expect(await call('GET', '/nothing')).toMatchObject({ status: 404, body: { error: 'not-found' } });
    expect((await post('/api/v1/edge/heartbeat/', {})).status).toBe(404);
  });
});

describe('nodes', () => {
  const path = '/api/v1/edge/nodes';
  const events = async (id: unknown): Promise<string[]> =>
    (await db.pool.query<{ kind: string }>(`select event_type as kind from edge_node_events where edge_node_id = $1 union all select kind from dory.events where node_id = $1 order by kind`, [id])).rows.map(({ kind }) => kind);

  test('201 with the row, then 200 for the same again, then 409 for another switch', async () => {
    const organization_id = randomUUID();
    const first = await post(path, { name: 'edge-1', organization_id, failover_enabled: false });
    expect(first.status).toBe(201);
    expect(first.body).toEqual({ id: expect.any(String) as unknown, organization_id, name: 'edge-1', status: 'offline', failover_enabled: false, failover_target_node_id: null, last_heartbeat_at: null });
    expect(await post(path, { name: 'edge-1', organization_id })).toMatchObject({ status: 200, body: first.body });
    expect(await post(path, { name: 'edge-1', organization_id, failover_enabled: true })).toMatchObject({ status: 409, body: { problems: [{ field: 'failover_enabled' }] } });
    expect((await post(path, { name: 'edge-1' })).status).toBe(201);
    expect(await events(first.body['id'])).toEqual(['node-registered', 'node_registered']);
  });

  test('registering one node many times at once makes one', async () => {
    const nodes = createNodeRegistry(db.pool);
    // With all connections open, so that the registrations really meet.
    await Promise.all(Array.from({ length: 5 }, () => db.pool.query('select pg_sleep(0.02)')));
    for (const name of ['rush-1', 'rush-2', 'rush-3']) {
      const outcomes = await Promise.all(Array.from({ length: 5 }, () => nodes.register({ name, organizationId: null, failoverEnabled: null })));
      expect(outcomes.map(({ kind }) => kind).sort()).toEqual(['created', 'unchanged', 'unchanged', 'unchanged', 'unchanged']);
    }
  });

  test.each([
    [{}, 'name'], [{ name: '' }, 'name'], [{ name: 'Not_A_Node' }, 'name'], [{ name: 7 }, 'name'],
    [{ name: 'n', organization_id: 'x' }, 'organization_id'], [{ name: 'n', failover_enabled: 'yes' }, 'failover_enabled'], ['[]', 'body'],
  ])('400 for %j', async (body, field) => {
    expect(await post(path, body)).toMatchObject({ status: 400, body: { problems: [{ field }] } });
  });

  test('decommissions by id or by name, any number of times, and a registration brings it back', async () => {
    const { body: node } = await post(path, { name: 'edge-2' });
    const id = node['id'];
    expect(await post(`${path}/decommission`, { id })).toMatchObject({ status: 200, body: { id, status: 'decommissioned' } });
    expect(await post(`${path}/decommission`, { name: 'edge-2' })).toMatchObject({ status: 200, body: { id } });
    expect(await events(id)).toEqual(['node-decommissioned', 'node-registered', 'node_decommissioned', 'node_registered']);
    await post('/api/v1/edge/heartbeat', { node_id: id });
    expect(await fleet.lastHeartbeat(String(id))).toBeNull();
    expect(await post(path, { name: 'edge-2' })).toMatchObject({ status: 201, body: { id, status: 'offline' } });
    expect(await post(`${path}/decommission`, { name: 'edge-2' })).toMatchObject({ status: 200, body: { id, status: 'decommissioned' } });
  });

  test('404 for a node that is not there, 409 for a name that two organisations use, 400 for nothing', async () => {
    expect((await post(`${path}/decommission`, { id: randomUUID() })).status).toBe(404);
    expect((await post(`${path}/decommission`, { name: 'nobody' })).status).toBe(404);
    const organizations = [randomUUID(), randomUUID()];
    for (const organization_id of organizations) await post(path, { name: 'twin', organization_id });
    expect((await post(`${path}/decommission`, { name: 'twin' })).status).toBe(409);
    expect((await post(`${path}/decommission`, { name: 'twin', organization_id: organizations[1] })).body).toMatchObject({ organization_id: organizations[1] });
    expect(await post(`${path}/decommission`, {})).toMatchObject({ status: 400, body: { problems: [{ field: 'id' }] } });
    expect((await post(`${path}/decommission`, { id: 'x' })).status).toBe(400);
  });

  test('a table that asks for more says so as the client\'s error', async () => {
    const own = await testDatabase();
    try {
      await own.pool.query('alter table edge_nodes alter organization_id set not null, add unique (name)');
      const nodes = createNodeRegistry(own.pool);
      const organizationId = randomUUID();
      expect(await nodes.register({ name: 'n', organizationId: null, failoverEnabled: null })).toMatchObject({ kind: 'invalid', problem: { field: 'organization_id' } });
      expect(await nodes.register({ name: 'n', organizationId, failoverEnabled: null })).toMatchObject({ kind: 'created' });
      expect(await nodes.register({ name: 'n', organizationId: randomUUID(), failoverEnabled: null })).toMatchObject({ kind: 'conflict' });
    } finally {
      await own.close();
    }
  });
});

describe('health', () => {
  test('metrics, healthz, livez and readyz answer, HEAD too', async () => {
    expect((await call('GET', '/metrics')).body['text']).toContain('# TYPE dory_heartbeats_total counter');
    for (const path of ['/healthz', '/livez', '/readyz']) expect((await call('GET', path)).status).toBe(200);
    expect((await call('HEAD', '/readyz')).status).toBe(200);
  });

  test('ready without the database: agents are told to continue, and others that it is away', async () => {
    const pool = createPool('postgresql://nobody@127.0.0.1:1/nothing', { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
    const metrics = createMetrics();
    const lost = createIntake({ pool, clock, settings: intakeSettings, metrics, log });
    const down = createHttpServer({
      intake: lost, nodes: createNodeRegistry(pool), health: createHealth(), metrics, clock, log, limits: defaultHttpLimits,
    });
    try {
      const url = await down.listen({ host: '127.0.0.1', port: 0 });
      expect((await fetch(`${url}/readyz`)).status).toBe(200);
      expect((await fetch(`${url}/livez`)).status).toBe(200);
      const beat = await fetch(`${url}/api/v1/edge/heartbeat`, { method: 'POST', body: '{"node_id":"n"}' });
      expect([beat.status, await beat.json()]).toMatchObject([200, { acknowledged: true, directive: 'continue', placement_epoch: null }]);
      expect(beat.headers.get('connection')).toBe('close');
      const node = await fetch(`${url}/api/v1/edge/nodes`, { method: 'POST', body: '{"name":"n"}' });
      expect([node.status, await node.json()]).toMatchObject([503, { error: 'database-unreachable' }]);
    } finally {
      await down.close();
      await lost.stop();
      await pool.end();
    }
  });

  test('not ready while shutting down', async () => {
    const health = createHealth();
    const leaving = createHttpServer({ intake, nodes: createNodeRegistry(db.pool), health, metrics: createMetrics(), clock, log, limits: defaultHttpLimits });
    expect((await leaving.inject('/readyz')).statusCode).toBe(200);
    health.shutDown();
    expect((await leaving.inject('/readyz')).statusCode).toBe(503);
    expect((await leaving.inject('/livez')).statusCode).toBe(200);
    await leaving.close();
  });
});

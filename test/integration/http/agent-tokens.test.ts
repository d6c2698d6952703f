import { randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import type { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createHealth } from '../../../src/http/health.ts';
import { createIntake, type HeartbeatIntake } from '../../../src/http/intake.ts';
import { createNodeRegistry } from '../../../src/http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../../../src/http/server.ts';
import type { NodeId } from '../../../src/model/ids.ts';
import { systemClock as clock } from '../../../src/platform/clock.ts';
import { silentLog as log } from '../../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../../src/platform/metrics.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { createAuthenticator, createToken, defaultTokenLife, type TokenSubject } from '../../../src/platform/tokens.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { intakePool, intakeSettings, testFleet, type TestFleet } from './fleet.ts';

let db: TestDatabase;
let beatsPool: Pool;
let intake: HeartbeatIntake;
let metrics: Metrics;
let fleet: TestFleet;
const apps: FastifyInstance[] = [];
/** Servers that ask for tokens, and that do not. */
let strict: string;
let open: string;

beforeAll(async () => {
  db = await testDatabase();
  fleet = await testFleet(db.pool);
  beatsPool = intakePool(db.url);
  metrics = createMetrics();
  intake = createIntake({ pool: beatsPool, clock, settings: intakeSettings, metrics, log });
  [strict, open] = [await listen(true), await listen(false)];
});
afterAll(async () => {
  await Promise.all(apps.map((app) => app.close()));
  await intake.stop();
  await beatsPool.end();
  await db.close();
});

async function listen(required: boolean, pool: Pool = db.pool): Promise<string> {
  const authenticator = createAuthenticator({ pool, clock, life: defaultTokenLife });
  const health = createHealth();
  const app = createHttpServer({ intake, nodes: createNodeRegistry(pool), health, metrics, clock, log, limits: defaultHttpLimits, agents: { authenticator, required } });
  apps.push(app);
  return app.listen({ host: '127.0.0.1', port: 0 });
}

let home: string;
let name: string;
let other: string;
let token: string;
beforeEach(async () => {
  name = `home-${randomUUID()}`;
  [home, other] = [await fleet.node(name), await fleet.node(`other-${randomUUID()}`)];
  token = await issue({ role: 'node', nodeId: home as NodeId });
});

const issue = async (subject: TokenSubject): Promise<string> => (await createToken(db.pool, 'test', subject, { random: systemRandom, by: 'ann' })).token;

async function placed(nodeId: string | null): Promise<string> {
  const id = await fleet.processor();
  await fleet.place(id, nodeId, { epoch: 3 });
  return id;
}

interface Answer {
  readonly status: number;
  readonly challenge: string | null;
  readonly body: Readonly<Record<string, unknown>>;
}

async function beat(base: string, authorization: string | null, body: object): Promise<Answer> {
  const headers = authorization === null ? {} : { authorization };
  const response = await fetch(`${base}/api/v1/edge/heartbeat`, { method: 'POST', body: JSON.stringify({ status: 'healthy', ...body }), headers });
  return { status: response.status, challenge: response.headers.get('www-authenticate'), body: (await response.json()) as Answer['body'] };
}

test('without the setting no token is needed, and what is no token of ours is not looked at; but a wrong one is refused', async () => {
  expect((await beat(open, null, { node_id: home })).status).toBe(200);
  expect((await beat(open, 'Basic cHJveHk6', { node_id: home })).status).toBe(200);
  expect((await beat(open, 'Bearer of-a-proxy', { node_id: home })).status).toBe(200);
  const refused = async (): Promise<number> => (await metrics.heartbeats.get()).values.find(({ labels }) => labels.result === 'refused')?.value ?? 0;
  const before = await refused();
  expect(await beat(open, `Bearer ${token.slice(0, -4)}0000`, { node_id: home })).toMatchObject({
    status: 401, challenge: 'Bearer', body: { error: 'unauthorized', message: expect.stringContaining('dory node token create') as unknown },
  });
  expect((await beat(open, `Bearer ${token}`, { node_id: other })).status).toBe(403);
  expect((await refused()) - before).toBe(2);
});

test('with the setting no beat counts without the token of a node', async () => {
  for (const authorization of [null, 'Basic cHJveHk6', 'Bearer x', `Bearer dory_node_${'0'.repeat(64)}`]) {
    expect(await beat(strict, authorization, { node_id: home })).toMatchObject({ status: 401, challenge: 'Bearer' });
  }
  expect(await beat(strict, `Bearer ${await issue({ role: 'operator' })}`, { node_id: home })).toMatchObject({ status: 403, body: { error: 'forbidden' } });
  expect(await fleet.lastHeartbeat(home)).toBeNull();
});

test('a token speaks for its node, whatever way that is named, and for no other', async () => {
  for (const node_id of [other, 'another-name', randomUUID()]) expect((await beat(strict, `Bearer ${token}`, { node_id })).status).toBe(403);
  expect([await fleet.lastHeartbeat(home), await fleet.lastHeartbeat(other)]).toEqual([null, null]);
  for (const body of [{ node_id: home }, { node_id: name }, { node_id: 'unknown' }, {}]) {
    await db.pool.query('update edge_nodes set last_heartbeat_at = null where id = $1', [home]);
    expect(await beat(strict, `Bearer ${token}`, body)).toMatchObject({ status: 200, body: { directive: 'continue' } });
    expect(await fleet.lastHeartbeat(home)).not.toBeNull();
  }
});

test('of two nodes of one name it means its own', async () => {
  const twin = await fleet.node(name, { organizationId: randomUUID() });
  await beat(strict, `Bearer ${token}`, { node_id: name });
  expect([await fleet.lastHeartbeat(home), await fleet.lastHeartbeat(twin)]).toEqual([expect.any(Date), null]);
});

test('a processor speaks from its token\'s node, and an epoch that it echoes does not move it elsewhere', async () => {
  const [here, elsewhere, managed] = [await placed(home), await placed(other), await placed(null)];
  const directive = async (body: object): Promise<unknown> => (await beat(strict, `Bearer ${token}`, body)).body['directive'];
  expect(await directive({ processor_id: here })).toBe('continue');
  expect(await directive({ processor_id: here, node_id: name, placement_epoch: 3 })).toBe('continue');
  for (const processor_id of [elsewhere, managed]) {
    expect(await directive({ processor_id })).toBe('shutdown');
    expect(await directive({ processor_id, placement_epoch: 3 })).toBe('shutdown');
    expect(await fleet.beat(processor_id)).toBeUndefined();
  }
  expect(await fleet.lastHeartbeat(other)).toBeNull();
  expect((await fleet.beat(here))?.lease_until).not.toBeNull();
});

test('a token of the managed pool speaks for what runs there, whatever it names', async () => {
  const pool = `Bearer ${await issue({ role: 'node', nodeId: null })}`;
  const [edge, managed] = [await placed(home), await placed(null)];
  const directive = async (body: object): Promise<unknown> => (await beat(strict, pool, body)).body['directive'];
  expect(await directive({ processor_id: managed, node_id: 'ip-10-0-0-1', placement_epoch: 3 })).toBe('continue');
  expect((await fleet.beat(managed))?.lease_until).not.toBeNull();
  for (const body of [{}, { node_id: home }, { node_id: name }, { placement_epoch: 3 }]) expect(await directive({ processor_id: edge, ...body })).toBe('shutdown');
  expect(await directive({ node_id: home })).toBe('continue');
  expect([await fleet.lastHeartbeat(home), await fleet.beat(edge)]).toEqual([null, undefined]);
});

test('where nobody can be asked, an agent is told to go on, and its beat is not stored', async () => {
  const away = createPool('postgresql://nobody@127.0.0.1:1/nothing', { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  try {
    const base = await listen(true, away);
    expect(await beat(base, `Bearer ${token}`, { node_id: home })).toMatchObject({ status: 200, body: { acknowledged: true, directive: 'continue', placement_epoch: null, lease_sec: null } });
    expect(await fleet.lastHeartbeat(home)).toBeNull();
  } finally {
    await away.end();
  }
});

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { FastifyInstance } from 'fastify';
import type { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createHealth } from '../../../src/http/health.ts';
import { createIntake, type HeartbeatIntake } from '../../../src/http/intake.ts';
import { createNodeRegistry } from '../../../src/http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../../../src/http/server.ts';
import { systemClock as clock } from '../../../src/platform/clock.ts';
import { silentLog as log } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { intakePool, intakeSettings, testFleet, type TestFleet } from '../http/fleet.ts';
import { pythonSdk, type PythonSdk } from './python-sdk.ts';

let sdk: PythonSdk | string;
let db: TestDatabase;
let fleet: TestFleet;
let beatsPool: Pool;
let intake: HeartbeatIntake;
let app: FastifyInstance;
let url: string;

// The first run on a machine installs it.
beforeAll(async () => {
  sdk = await pythonSdk(process.env);
  if (typeof sdk === 'string') process.stderr.write(`The real SDK is not tested: ${sdk}\n`);
  db = await testDatabase();
  fleet = await testFleet(db.pool);
  beatsPool = intakePool(db.url);
  const metrics = createMetrics();
  intake = createIntake({ pool: beatsPool, clock, settings: intakeSettings, metrics, log });
  const health = createHealth();
  app = createHttpServer({ intake, nodes: createNodeRegistry(db.pool), health, metrics, clock, log, limits: defaultHttpLimits });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
}, 300_000);
afterAll(async () => {
  await app.close();
  await intake.stop();
  await beatsPool.end();
  await db.close();
});
beforeEach(({ skip }) => {
  if (typeof sdk === 'string') skip(sdk);
});

interface Agent extends Disposable {
  /** What it says next. */
  line(): Promise<unknown>;
  readonly ended: Promise<readonly [code: number | null]>;
}

function startAgent(processorId: string, nodeId: string): Agent {
  if (typeof sdk === 'string') throw new Error(sdk);
  const child = spawn(sdk.python, [join(import.meta.dirname, 'agent.py'), processorId, nodeId], {
    env: { ...process.env, PYTHONPATH: sdk.path, PYTHONDONTWRITEBYTECODE: '1', DORY_ORCHESTRATOR_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => { said += chunk.toString(); });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    line: async () => {
      const next = await lines.next();
      if (next.done === true) throw new Error(`the agent ended: ${said}`);
      return JSON.parse(next.value) as unknown;
    },
    ended: once(child, 'close') as Promise<[number | null]>,
    [Symbol.dispose]: () => { child.kill('SIGKILL'); },
  };
}

test('its heartbeats count for node and processor until the placement moves, and then it is told to stop', async () => {
  const name = `edge-${randomUUID()}`;
  const [node, refuge] = [await fleet.node(name), await fleet.node(`refuge-${randomUUID()}`)];
  const processor = await fleet.processor('starting');
  await fleet.place(processor, node, { epoch: 3 });
  using agent = startAgent(processor, name);
  expect(await agent.line()).toEqual({ connectivity: 'connected' });
  // Several of them, without a break.
  for (let beats = 0; beats < 3; beats++) {
    const before = (await fleet.beat(processor))?.last_beat_at.getTime() ?? 0;
    await expect.poll(async () => (await fleet.beat(processor))?.last_beat_at.getTime() ?? 0, { interval: 10 }).toBeGreaterThan(before);
  }
  expect(await fleet.beat(processor)).toMatchObject({
    epoch: '3', status: 'healthy', role: 'primary', sdk_epoch: '41', node_id: node, state_size_bytes: '1234', last_state_sync: expect.any(Date) as unknown,
    // It knows nothing of leases.
    lease_until: null,
  });
  expect(await fleet.row(processor)).toMatchObject({ status: 'running', health_status: { status: 'healthy', healthy: true }, consecutive_failures: 0 });
  expect(await fleet.lastHeartbeat(node)).not.toBeNull();

  await fleet.place(processor, refuge, { epoch: 4 });
  expect(await agent.line()).toMatchObject({ sent: expect.any(Number) as unknown, failed: 0 });
  expect(await agent.ended).toEqual([0, null]);
  expect(await fleet.beat(processor)).toMatchObject({ epoch: '3' });
  expect(await fleet.lastHeartbeat(refuge)).toBeNull();
});

test('one that is stopping is told so, and one whose processor is gone', async () => {
  const node = await fleet.node(`edge-${randomUUID()}`);
  const leaving = await fleet.processor();
  await fleet.place(leaving, node, { phase: 'stopping' });
  for (const processor of [leaving, randomUUID()]) {
    using agent = startAgent(processor, node);
    expect(await agent.line()).toEqual({ connectivity: 'connected' });
    expect(await agent.line()).toMatchObject({ failed: 0 });
    expect(await agent.ended).toEqual([0, null]);
  }
});

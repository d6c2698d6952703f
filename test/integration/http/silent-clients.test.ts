import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { expect, test, vi } from 'vitest';
import { createHealth } from '../../../src/http/health.ts';
import { createIntake } from '../../../src/http/intake.ts';
import { createNodeRegistry } from '../../../src/http/nodes.ts';
import { closeHttpServer, createHttpServer, defaultHttpLimits } from '../../../src/http/server.ts';
import { systemClock as clock } from '../../../src/platform/clock.ts';
import { silentLog as log } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { intakeSettings } from './fleet.ts';

/** What is asked for here is answered without a database. */
function server(limits: Partial<typeof defaultHttpLimits>): FastifyInstance {
  const pool = createPool('postgresql://nobody@127.0.0.1:1/nothing', { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  const metrics = createMetrics();
  return createHttpServer({
    intake: createIntake({ pool, clock, settings: intakeSettings, metrics, log }),
    nodes: createNodeRegistry(pool), health: createHealth(), metrics, clock, log, limits: { ...defaultHttpLimits, ...limits },
  });
}

/** A client that says this, and neither reads nor says anything more; nor does it close its end. */
async function silentClient(app: FastifyInstance, says: string): Promise<Socket> {
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }));
  const client = connect({ port: Number(url.port), host: url.hostname, allowHalfOpen: true });
  client.pause().on('error', () => undefined);
  await once(client, 'connect');
  await new Promise<void>((resolve) => { client.write(says, () => { resolve(); }); });
  return client;
}

const connections = (app: FastifyInstance): Promise<number> => new Promise((resolve, reject) => {
  app.server.getConnections((error, count) => {
    if (error === null) resolve(count);
    else reject(error);
  });
});

test('who has sent half a request holds up the end of the server for no longer than a request may take', async () => {
  const app = server({});
  const arrived = vi.fn();
  app.addHook('onRequest', async () => { arrived(); await Promise.resolve(); });
  const client = await silentClient(app, 'POST /api/v1/edge/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"proc');
  await vi.waitFor(() => { expect(arrived).toHaveBeenCalledOnce(); });
  await closeHttpServer(app, { requestTimeoutMs: 100 });
  client.destroy();
});

test('a client that reads no answer is given up', async () => {
  const app = server({ silenceMs: 200 });
  const client = await silentClient(app, 'GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(5_000));
  expect(await connections(app)).toBe(1);
  await vi.waitFor(async () => { expect(await connections(app)).toBe(0); }, { timeout: 10_000 });
  client.destroy();
  await app.close();
});


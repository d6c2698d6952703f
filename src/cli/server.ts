import { createHealth } from '../http/health.ts';
import { createIntake, defaultIntakeSettings, intakeConnection } from '../http/intake.ts';
import { createNodeRegistry } from '../http/nodes.ts';
import type { OperatorApi } from '../http/operator-api.ts';
import { closeHttpServer, createHttpServer, defaultHttpLimits } from '../http/server.ts';
import { Failure } from '../model/failure.ts';
import { millis } from '../model/time.ts';
import { mayLeave } from '../operator/nodes.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createPool } from '../platform/pg.ts';
import { createAuthenticator, defaultTokenLife, type Authenticator } from '../platform/tokens.ts';
import type { Runtime } from './runtime.ts';

export interface RunningServer {
  /** `http://host:port`, with the port that was taken. */
  readonly url: string;
  /** Answers what is under way, then takes nothing more. */
  close(): Promise<void>;
}

/** The HTTP server, listening, with its heartbeats going to the database. @throws Failure `address-in-use` */
export async function createServer(runtime: Runtime, metrics: Metrics, operator: (authenticator: Authenticator) => OperatorApi): Promise<RunningServer> {
  const { pool, clock, log, settings, databaseUrl } = runtime;
  const health = createHealth();
  const beatsPool = createPool(databaseUrl, { ...intakeConnection, applicationName: 'dory heartbeats' });
  const { lease, heartbeatStale } = settings.failover;
  // Small beside the threshold that it is compared with.
  const writeNodesEvery = millis(Math.min(1000, heartbeatStale / 60));
  const intake = createIntake({ pool: beatsPool, clock, log, metrics, settings: { ...defaultIntakeSettings, lease, writeNodesEvery } });
  const authenticator = createAuthenticator({ pool, clock, life: defaultTokenLife });
  const app = createHttpServer({ intake, nodes: createNodeRegistry(pool, mayLeave), health, metrics, clock, log, limits: defaultHttpLimits, agents: { authenticator, required: settings.heartbeats.requireToken }, operator: operator(authenticator) });
  const { host, port } = settings.http;
  let url: string;
  try {
    url = await app.listen({ host, port });
  } catch (cause) {
    await app.close();
    await beatsPool.end();
    throw new Failure('address-in-use', `The HTTP server can't listen on ${host}:${String(port)}: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      mend: 'Choose another address with --http-host and --http-port.',
      cause,
    });
  }
  // Where another program receives the heartbeats, our being up says nothing about them.
  if (settings.heartbeats.receiver === 'dory') intake.start();
  log.info({ url }, 'listening');
  if (!settings.heartbeats.requireToken) log.info('heartbeats take no token (heartbeats.requireToken)');
  if (!settings.http.requireTokenForNodes) log.info('registering and decommissioning nodes over the edge API takes no token (http.requireTokenForNodes)');
  return {
    url,
    close: async () => {
      health.shutDown();
      await closeHttpServer(app);
      await intake.stop();
      await beatsPool.end();
    },
  };
}

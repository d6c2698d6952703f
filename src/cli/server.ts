import { createHealth, defaultHealthSettings } from '../http/health.ts';
import { createIntake, defaultIntakeSettings } from '../http/intake.ts';
import { createNodeRegistry } from '../http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../http/server.ts';
import { Failure } from '../model/failure.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Runtime } from './runtime.ts';

export interface RunningServer {
  /** `http://host:port`, with the port that was taken. */
  readonly url: string;
  /** Answers what is under way, then takes nothing more. */
  close(): Promise<void>;
}

/** The HTTP server, listening, with its heartbeats going to the database. @throws Failure `address-in-use` */
export async function createServer({ pool, clock, log, settings }: Runtime, metrics: Metrics): Promise<RunningServer> {
  const health = createHealth({ pool, clock, settings: defaultHealthSettings });
  const intake = createIntake({ pool, clock, log, metrics, settings: defaultIntakeSettings });
  const app = createHttpServer({ intake, nodes: createNodeRegistry(pool), health, metrics, clock, log, limits: defaultHttpLimits });
  const { host, port } = settings.http;
  let url: string;
  try {
    url = await app.listen({ host, port });
  } catch (cause) {
    await app.close();
    throw new Failure('address-in-use', `The HTTP server can't listen on ${host}:${String(port)}: ${cause instanceof Error ? cause.message : String(cause)}.`, {
      mend: 'Choose another address with --http-host and --http-port.',
      cause,
    });
  }
  // Where another program receives the heartbeats, our being up says nothing about them.
  if (settings.heartbeats.receiver === 'dory') intake.start();
  log.info({ url }, 'listening');
  return {
    url,
    close: async () => {
      health.shutDown();
      await app.close();
      await intake.stop();
    },
  };
}

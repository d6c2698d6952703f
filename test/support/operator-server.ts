import { openEngine } from '../../src/cli/engine.ts';
import { operatorApi } from '../../src/cli/operator-api.ts';
import { openRuntime } from '../../src/cli/runtime.ts';
import { createServer } from '../../src/cli/server.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { createToken } from '../../src/platform/tokens.ts';

export interface OperatorServer {
  readonly url: string;
  /** A new token of an operator of this name. */
  readonly token: (name: string) => Promise<string>;
  readonly close: () => Promise<void>;
}

export type Env = Readonly<Record<string, string | undefined>>;

/** The HTTP server of the program on a database, as `run` starts it, without a loop: nothing happens but what is asked for. */
export async function operatorServer(env: Env): Promise<OperatorServer> {
  const runtime = await openRuntime({ env: { ...env, DORY_LOG_LEVEL: 'silent' }, flags: { 'http-host': '127.0.0.1', 'http-port': '0' } }, 'dory-test', 'require');
  const engine = await openEngine(runtime, { lease: () => null, cluster: null, assertLeading: () => Promise.resolve() });
  const server = await createServer(runtime, createMetrics(), (authenticator) => operatorApi(runtime, engine, authenticator));
  return {
    url: server.url,
    token: async (name) => (await createToken(runtime.pool, name, { role: 'operator' }, { random: systemRandom, by: 'test' })).token,
    close: async () => {
      await server.close();
      await engine.close();
      await runtime.close();
    },
  };
}

import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent, type RequestOptions } from 'node:https';
import { delimiter } from 'node:path';
import { createSecureContext } from 'node:tls';
import { urlToHttpOptions } from 'node:url';
import { KubeConfig, type Cluster } from '@kubernetes/client-node';
import { Failure } from '../../model/failure.ts';
import { seconds, type Millis } from '../../model/time.ts';
import { systemClock, type Clock } from '../clock.ts';

/** Where the address and the credentials of a cluster are found. */
export type KubeSource =
  /** As KUBECONFIG: a file, or several, of which the first one's context counts. */
  | { readonly kind: 'file'; readonly path: string }
  /** Of the pod that we run in. `folder` holds its ServiceAccount's token and the certificate of its cluster. */
  | { readonly kind: 'pod'; readonly host: string; readonly port: string; readonly folder: string };

/** Where, and as whom, a request goes now. */
export interface KubeConnection {
  readonly url: string;
  /** The same, taken apart once; its `path` goes before each other. */
  readonly origin: ReturnType<typeof urlToHttpOptions>;
  readonly agent: HttpAgent;
  readonly headers: Readonly<Record<string, string>>;
}

export interface KubeAccess {
  /** @throws Failure `settings-invalid` if the files can't be read or name no cluster */
  connect(): Promise<KubeConnection>;
  /** A request failed, which credentials that were replaced in the meantime may explain: they are read again. */
  renew(): void;
  /** Ends the connections. */
  close(): void;
}

interface Pool {
  /** What its connections were made with. */
  readonly key: string;
  readonly agent: HttpAgent;
}

/** To make TLS options reads certificates and asks for a token: that is not done anew for each of a thousand requests. */
const goodFor = seconds(1);
/** A plugin that asks a cloud for a token takes a second or two; one that says nothing for so long is ended. */
const usualPatience = seconds(20);

export function createAccess(source: KubeSource, clock: Pick<Clock, 'monotonic'> = systemClock, patience: Millis = usualPatience): KubeAccess {
  let config: Promise<KubeConfig> | null = null;
  let pool: Pool | null = null;
  let latest: { at: Millis | null; readonly connection: Promise<KubeConnection> } | null = null;
  const open = async (): Promise<KubeConnection> => {
    // What is read here stays what it is, although `renew` may be called meanwhile.
    const reading = (config ??= load(source, patience));
    const options: RequestOptions = {};
    try {
      const read = await reading;
      await inTime(read.applyToHTTPSOptions(options), patience);
      const cluster = read.getCurrentCluster();
      if (cluster === null) throw new Error('its current context names no cluster');
      // Those of the pool before end by themselves: a request lasts seconds, and no server keeps an idle connection for long.
      pool = keepPool(pool, cluster, options);
      const url = cluster.server.replace(/\/$/, '');
      return { url, origin: urlToHttpOptions(new URL(url)), agent: pool.agent, headers: headersOf(options) };
    } catch (cause) {
      if (config === reading) config = null;
      throw cause instanceof Failure ? cause : unusable(source, cause);
    }
  };
  const forget = (): void => { latest = null; };
  return {
    connect: () => {
      if (latest === null || (latest.at !== null && clock.monotonic() - latest.at > goodFor)) {
        // While credentials are awaited nobody asks for them a second time.
        const asked = { at: null as Millis | null, connection: open() };
        latest = asked;
        asked.connection.then(() => { asked.at = clock.monotonic(); }, forget);
      }
      return latest.connection;
    },
    renew: () => {
      config = null;
      forget();
    },
    close: () => pool?.agent.destroy(),
  };
}

/** The same connections for as long as what they were made with is the same. */
function keepPool(pool: Pool | null, cluster: Cluster, options: RequestOptions): Pool {
  const { ca, cert, key, servername, rejectUnauthorized } = options;
  const made = JSON.stringify([cluster.server, cluster.proxyUrl, servername, rejectUnauthorized, ...[ca, cert, key].map(String)]);
  if (pool?.key === made) return pool;
  return { key: made, agent: agentFor(cluster, { ca, cert, key, servername, rejectUnauthorized }, options) };
}

function agentFor({ server, proxyUrl }: { readonly server: string; readonly proxyUrl?: string }, { servername, rejectUnauthorized, ...certificates }: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>, options: RequestOptions): HttpAgent {
  // The library knows how to speak to a proxy; its other agents keep no connection alive.
  if (proxyUrl !== undefined && options.agent instanceof HttpAgent) return options.agent;
  if (server.startsWith('http:')) return new HttpAgent({ keepAlive: true });
  // What is not given is left out: whether a server is believed must not hang on what undefined is taken for.
  const given = Object.fromEntries(Object.entries({ servername, rejectUnauthorized }).filter(([, value]) => value !== undefined));
  // Certificates are read once for all connections, not anew for each.
  return new Agent({ keepAlive: true, secureContext: createSecureContext(certificates), ...given });
}

/** After one connection that was silent for too long: the others may have lost their other end with it, and each would have to be waited for. */
export function dropIdle(agent: HttpAgent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

function headersOf({ headers, auth }: RequestOptions): Readonly<Record<string, string>> {
  const given = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)] as const);
  const basic = typeof auth === 'string' ? { Authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  return { ...Object.fromEntries(given), ...basic };
}

async function inTime<T>(work: Promise<T>, patience: Millis): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Failure('kubernetes-unreachable', `The credentials for Kubernetes did not come within ${String(patience / 1000)} s.`, { mend: 'Run the credential plugin that the kubeconfig names by hand, and see what it waits for.' }));
    }, patience);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The library waits for a credential plugin for ever. */
function endPluginsInTime(config: KubeConfig, patience: Millis): void {
  const run = (command: string, args: readonly string[], options: SpawnOptions): ChildProcess => {
    // A group of its own: plugins are often scripts.
    const plugin = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const timer = setTimeout(() => { if (plugin.pid !== undefined) killGroup(plugin.pid); }, patience);
    plugin.once('close', () => { clearTimeout(timer); });
    return plugin;
  };
  const { authenticators } = config as unknown as { readonly authenticators: readonly object[] };
  for (const authenticator of authenticators) if ('execFn' in authenticator) Object.assign(authenticator, { execFn: run });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function load(source: KubeSource, patience: Millis): Promise<KubeConfig> {
  const config = new KubeConfig();
  endPluginsInTime(config, patience);
  if (source.kind === 'pod') {
    config.loadFromClusterAndUser(
      { name: 'pod', server: `https://${source.host.includes(':') ? `[${source.host}]` : source.host}:${source.port}`, caFile: `${source.folder}/ca.crt`, skipTLSVerify: false },
      // Read again every minute: the kubelet replaces it.
      { name: 'pod', authProvider: { name: 'tokenFile', config: { tokenFile: `${source.folder}/token` } } },
    );
    return config;
  }
  const [first = '', ...others] = source.path.split(delimiter).filter((path) => path !== '');
  config.loadFromFile(first);
  for (const path of others) {
    const more = new KubeConfig();
    // As kubectl: a file of the list may be missing.
    if ((await readFile(path).catch(() => null)) === null) continue;
    more.loadFromFile(path);
    config.mergeConfig(more, true);
  }
  return config;
}

function unusable(source: KubeSource, cause: unknown): Failure {
  const what = source.kind === 'file' ? `The kubeconfig ${source.path}` : `The ServiceAccount in ${source.folder}`;
  return new Failure('settings-invalid', `${what} can't be used: ${cause instanceof Error ? cause.message : String(cause)}.`, {
    mend: 'Check the setting kubeconfig and the variable KUBECONFIG, or leave both empty: then heartbeats alone decide.',
    cause,
  });
}

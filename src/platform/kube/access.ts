import { readFile } from 'node:fs/promises';
import { Agent as HttpAgent } from 'node:http';
import { Agent, type RequestOptions } from 'node:https';
import { delimiter } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { Failure } from '../../model/failure.ts';

/** Where the address and the credentials of a cluster are found. */
export type KubeSource =
  /** As KUBECONFIG: a file, or several, of which the first one's context counts. */
  | { readonly kind: 'file'; readonly path: string }
  /** Of the pod that we run in. `folder` holds its ServiceAccount's token and the certificate of its cluster. */
  | { readonly kind: 'pod'; readonly host: string; readonly port: string; readonly folder: string };

/** Where, and as whom, a request goes now. */
export interface KubeConnection {
  readonly url: string;
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

export function createAccess(source: KubeSource): KubeAccess {
  let config: KubeConfig | null = null;
  let pool: Pool | null = null;
  return {
    connect: async () => {
      const options: RequestOptions = {};
      try {
        config ??= await load(source);
        await config.applyToHTTPSOptions(options);
      } catch (cause) {
        config = null;
        throw unusable(source, cause);
      }
      const cluster = config.getCurrentCluster();
      if (cluster === null) throw unusable(source, new Error('its current context names no cluster'));
      const renewed = keepPool(pool, cluster, options);
      // Those of the pool before end by themselves: a request lasts seconds, and no server keeps an idle connection for long.
      pool = renewed;
      return { url: cluster.server, agent: renewed.agent, headers: headersOf(options) };
    },
    renew: () => { config = null; },
    close: () => pool?.agent.destroy(),
  };
}

/** The same connections for as long as what they were made with is the same. */
function keepPool(pool: Pool | null, cluster: NonNullable<ReturnType<KubeConfig['getCurrentCluster']>>, options: RequestOptions): Pool {
  const { ca, cert, key, servername, rejectUnauthorized } = options;
  const made = JSON.stringify([cluster.server, cluster.proxyUrl, servername, rejectUnauthorized, ...[ca, cert, key].map(String)]);
  if (pool?.key === made) return pool;
  return { key: made, agent: agentFor(cluster, { ca, cert, key, servername, rejectUnauthorized }, options) };
}

function agentFor({ server, proxyUrl }: { readonly server: string; readonly proxyUrl?: string }, tls: Pick<RequestOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>, options: RequestOptions): HttpAgent {
  // The library knows how to speak to a proxy; its other agents keep no connection alive.
  if (proxyUrl !== undefined && options.agent instanceof HttpAgent) return options.agent;
  if (server.startsWith('http:')) return new HttpAgent({ keepAlive: true });
  const given = Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined));
  return new Agent({ keepAlive: true, ...given });
}

function headersOf({ headers, auth }: RequestOptions): Readonly<Record<string, string>> {
  const given = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)] as const);
  const basic = typeof auth === 'string' ? { Authorization: `Basic ${Buffer.from(auth).toString('base64')}` } : {};
  return { ...Object.fromEntries(given), ...basic };
}

async function load(source: KubeSource): Promise<KubeConfig> {
  const config = new KubeConfig();
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

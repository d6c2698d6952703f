import { generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { Failure } from '../../model/failure.ts';
import { millis, seconds } from '../../model/time.ts';
import type { Clock } from '../../platform/clock.ts';
import { packageRoot } from '../../platform/package-root.ts';
import type { Random } from '../../platform/random.ts';
import type { ControlPlanePrograms } from './control-plane-programs.ts';
import { startService, type Service } from './service.ts';

export interface ControlPlane {
  /** `https://127.0.0.1:port` of the API server: the same after a restart. */
  readonly url: string;
  /** A file with the rights of an administrator. */
  readonly kubeconfig: string;
  /** Of its etcd: plain HTTP on 127.0.0.1. */
  readonly etcd: string;
  /** One request as an administrator; the body of a PATCH is a merge patch. @throws Error unless 2xx */
  readonly send: (method: string, path: string, body?: unknown) => Promise<Json>;
  /** Writes a kubeconfig for this server, or for another address of it. */
  readonly writeKubeconfig: (file: string, options: { readonly token: string; readonly server?: string }) => Promise<void>;
  /** The API server gone at once, without a goodbye, and there again. */
  readonly stopServer: () => Promise<void>;
  readonly startServer: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export type Json = Readonly<Record<string, unknown>>;

export interface ControlPlaneOptions {
  readonly programs: ControlPlanePrograms;
  /** Empty, and for this control plane alone: its data, keys and logs. Who made it removes it. */
  readonly folder: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Beside the API server; each is started only where it is asked for. */
  readonly with?: readonly ('controllers' | 'scheduler' | 'nodes')[];
}

/** After so much silence of a kubelet its node is Unknown: 50 s in a real cluster. One that is played on a busy machine may be late by seconds. */
const nodeGrace = '10s';
/** It takes 3 s; on a machine that does much else ten times that, and more. */
const startLimit = seconds(120);
const startPoll = millis(20);

/** A real control plane on ephemeral ports of 127.0.0.1, with all its data in a folder. Ready when this resolves. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const services: Service[] = [];
  const agent = new Agent({ keepAlive: true });
  const stop = async (): Promise<void> => {
    agent.destroy();
    await Promise.all(services.map((service) => service.stop()));
  };
  try {
    return await start(options, { services, agent, stop });
  } catch (error) {
    await stop();
    throw error;
  }
}

interface Parts {
  readonly services: Service[];
  readonly agent: Agent;
  readonly stop: () => Promise<void>;
}

async function start(options: ControlPlaneOptions, { services, agent, stop }: Parts): Promise<ControlPlane> {
  const { programs, folder, clock, random } = options;
  const [etcdPort, peerPort, port] = await freePorts(3);
  const etcdUrl = `http://127.0.0.1:${String(etcdPort)}`;
  const url = `https://127.0.0.1:${String(port)}`;
  const token = random.hex(16);
  await writeSecrets(folder, token);
  const run = (program: keyof ControlPlanePrograms, ...args: string[]): Service => {
    const service = startService(programs[program], args, join(folder, `${program}.log`));
    services.push(service);
    return service;
  };
  run('etcd', ...etcdFlags(folder, etcdUrl, `http://127.0.0.1:${String(peerPort)}`));
  let server: Service;
  const send = (method: string, path: string, body?: unknown): Promise<Json> => sendJson({ url, token, folder, agent }, method, path, body);

  const startServer = async (): Promise<void> => {
    server = run('kube-apiserver', ...serverFlags(folder, etcdUrl, port));
    await ready(clock, () => Promise.race([send('GET', '/readyz').then(() => true, () => false), server.failed]));
  };
  await startServer();
  const kubeconfig = join(folder, 'admin.kubeconfig');
  const writeKubeconfig: ControlPlane['writeKubeconfig'] = async (file, { token: bearer, server: address = url }) => {
    await writeFile(file, kubeconfigText(await readFile(join(folder, 'apiserver.crt')), address, bearer), { mode: 0o600 });
  };
  await writeKubeconfig(kubeconfig, { token });
  startOthers(options, run);
  return {
    url, kubeconfig, etcd: etcdUrl, send, writeKubeconfig, startServer, stop,
    stopServer: async () => {
      await server.stop();
      agent.destroy();
    },
  };
}

/** @throws Failure `demo-stuck` */
async function ready(clock: Clock, isReady: () => Promise<boolean>): Promise<void> {
  const start = clock.monotonic();
  while (!(await isReady())) {
    if (clock.monotonic() - start > startLimit) throw new Failure('demo-stuck', `The API server was not ready after ${String(startLimit / 1000)} s.`, { mend: 'Its log is in the folder of the control plane.' });
    await clock.sleep(startPoll);
  }
}

function startOthers({ with: parts = [], folder }: ControlPlaneOptions, run: (program: keyof ControlPlanePrograms, ...args: string[]) => Service): void {
  const common = [`--kubeconfig=${join(folder, 'admin.kubeconfig')}`];
  // No port of their own, no other instance to agree with, and as many requests as they like.
  const alone = ['--bind-address=127.0.0.1', '--secure-port=0', '--leader-elect=false', '--kube-api-qps=2000', '--kube-api-burst=4000'];
  if (parts.includes('controllers')) {
    run('kube-controller-manager', ...common, ...alone,
      `--service-account-private-key-file=${join(folder, 'accounts.key')}`, `--root-ca-file=${join(folder, 'apiserver.crt')}`,
      '--node-monitor-period=500ms', `--node-monitor-grace-period=${nodeGrace}`, `--node-startup-grace-period=${nodeGrace}`);
  }
  if (parts.includes('scheduler')) run('kube-scheduler', ...common, ...alone);
  if (parts.includes('nodes')) {
    // A lease is renewed after a quarter of its duration.
    run('kwok', ...common, `--config=${join(packageRoot(), 'config', 'kwok.yaml')}`, '--manage-nodes-with-label-selector=kubelet=alive', '--node-lease-duration-seconds=4');
  }
}

function etcdFlags(folder: string, client: string, peer: string): readonly string[] {
  return [
    `--data-dir=${join(folder, 'etcd')}`, `--listen-client-urls=${client}`, `--advertise-client-urls=${client}`, `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`, `--initial-cluster=default=${peer}`,
    // Nothing here outlives the program that started it.
    '--unsafe-no-fsync', '--log-level=warn',
  ];
}

function serverFlags(folder: string, etcd: string, port: number): readonly string[] {
  const key = join(folder, 'accounts.key');
  return [
    `--etcd-servers=${etcd}`, '--bind-address=127.0.0.1', `--secure-port=${String(port)}`, `--cert-dir=${folder}`,
    '--authorization-mode=RBAC', `--token-auth-file=${join(folder, 'tokens.csv')}`,
    '--service-account-issuer=https://kubernetes.default.svc', `--service-account-key-file=${key}`, `--service-account-signing-key-file=${key}`,
    '--service-cluster-ip-range=10.0.0.0/24',
    // Nobody connects to the Service `kubernetes`, and its endpoint must not be a loopback address.
    '--endpoint-reconciler-type=none',
  ];
}

async function writeSecrets(folder: string, token: string): Promise<void> {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
  await writeFile(join(folder, 'accounts.key'), privateKey, { mode: 0o600 });
  await writeFile(join(folder, 'tokens.csv'), `${token},admin,admin,system:masters\n`, { mode: 0o600 });
}

function kubeconfigText(ca: Buffer, server: string, token: string): string {
  const name = 'dory';
  return stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': name,
    clusters: [{ name, cluster: { server, 'certificate-authority-data': ca.toString('base64') } }],
    users: [{ name, user: { token } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
  });
}

async function sendJson({ url, token, folder, agent }: { readonly url: string; readonly token: string; readonly folder: string; readonly agent: Agent }, method: string, path: string, body?: unknown): Promise<Json> {
  const ca = await readFile(join(folder, 'apiserver.crt'));
  const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
  return new Promise((resolve, reject) => {
    const sent = request(`${url}${path}`, { method, ca, agent, headers: { authorization: `Bearer ${token}`, 'content-type': type } }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        const status = response.statusCode ?? 0;
        if (status >= 300) reject(new Error(`${method} ${path}: ${String(status)} ${text}`));
        else resolve(text.startsWith('{') ? (JSON.parse(text) as Json) : {});
      });
    });
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Ports that nobody listens on now: another process may take one before we do, which the caller sees as a start that fails. */
async function freePorts(count: number): Promise<[number, number, number]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  }));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports as [number, number, number];
}

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { dirname, join } from 'node:path';
import { startService, type Service } from '../../src/cli/demo/service.ts';
import type { ArgocdPrograms } from './argocd-build.ts';
import { certificate } from './certificate.ts';
import type { ControlPlane } from './control-plane.ts';
import { freePorts } from './ports.ts';
import { until } from './until.ts';

export interface RunningArgocd {
  /** Of its server's webhook. */
  readonly webhookUrl: string;
  /** The certificate of its server. */
  readonly caFile: string;
  /** A file that holds the webhook's secret. */
  readonly secretFile: string;
  /** Applications are not synced any more. */
  readonly stopController: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export interface ArgocdOptions {
  readonly programs: ArgocdPrograms;
  readonly cluster: ControlPlane;
}

const webhookSecret = 'a-shared-secret';
/** Within the folder of the control plane. */
const folderOf = ({ folder }: ControlPlane): string => join(folder, 'argocd');

/** The kinds of Argo CD, and its namespace with its settings: no polling within a test, so that what happens was told. */
export async function installArgocd({ programs, cluster }: ArgocdOptions): Promise<void> {
  // Their descriptions are longer than what client-side apply keeps of them.
  await cluster.kubectl('apply', '--server-side', '-k', programs.crds);
  const served = (kind: string): Promise<boolean> => cluster.send('GET', `/apis/argoproj.io/v1alpha1/${kind}`).then(() => true, () => false);
  await until(async () => (await served('applications')) && (await served('appprojects')), 'the API server knows them');
  // It may be there already, for the rights in it.
  await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'argocd' } }).catch(() => undefined);
  const labels = { 'app.kubernetes.io/part-of': 'argocd' };
  await cluster.send('POST', '/api/v1/namespaces/argocd/configmaps', { metadata: { name: 'argocd-cm', labels }, data: { 'timeout.reconciliation': '1h', 'timeout.reconciliation.jitter': '0s' } });
  await cluster.send('POST', '/api/v1/namespaces/argocd/configmaps', { metadata: { name: 'argocd-rbac-cm', labels } });
  await cluster.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'argocd-secret', labels }, stringData: { 'server.secretkey': 'k', 'webhook.github.secret': webhookSecret } });
  await mkdir(folderOf(cluster), { recursive: true });
  await writeFile(join(folderOf(cluster), 'webhook-secret'), `${webhookSecret}\n`);
  const { certFile, keyFile } = await certificate(folderOf(cluster), 'server');
  const tls = { 'tls.crt': await readFile(certFile, 'utf8'), 'tls.key': await readFile(keyFile, 'utf8') };
  await cluster.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'argocd-server-tls', labels }, type: 'kubernetes.io/tls', stringData: tls });
}

/**
 * Its controller, repo-server and server on ephemeral ports of 127.0.0.1, as `installArgocd` left things; the metrics of its controller are
 * on all addresses: it has no setting for that.
 */
export async function startArgocd({ programs, cluster }: ArgocdOptions): Promise<RunningArgocd> {
  const folder = folderOf(cluster);
  await Promise.all(['tls', 'ssh', 'tmp'].map((name) => mkdir(join(folder, name), { recursive: true })));
  const [redis, repo, repoMetrics, controllerMetrics, server, serverMetrics] = (await freePorts(6)) as [number, number, number, number, number, number];
  const services: Service[] = [];
  const run = (name: string, ...args: string[]): Service => {
    const env = [
      `ARGOCD_BINARY_NAME=argocd-${name}`, 'ARGOCD_FAKE_IN_CLUSTER=true', 'ARGOCD_GPG_ENABLED=false', `KUBECONFIG=${cluster.kubeconfig}`, `HOME=${folder}`, `TMPDIR=${join(folder, 'tmp')}`,
      `ARGOCD_TLS_DATA_PATH=${join(folder, 'tls')}`, `ARGOCD_SSH_DATA_PATH=${join(folder, 'ssh')}`, `ARGOCD_PLUGINSOCKFILEPATH=${folder}`, 'GIT_CONFIG_NOSYSTEM=1',
      `PATH=${dirname(programs.argocd)}:${process.env['PATH'] ?? ''}`,
    ];
    const service = startService('/usr/bin/env', [...env, programs.argocd, ...args, '--loglevel=info', `--redis=127.0.0.1:${String(redis)}`], join(folder, `${name}.log`));
    services.push(service);
    return service;
  };
  services.push(startService(programs.redis, [`127.0.0.1:${String(redis)}`], join(folder, 'redis.log')));
  run('repo-server', '--address=127.0.0.1', `--port=${String(repo)}`, '--metrics-address=127.0.0.1', `--metrics-port=${String(repoMetrics)}`, '--disable-tls', '--client-ca-path=');
  const ofRepo = [`--repo-server=127.0.0.1:${String(repo)}`, '--repo-server-plaintext', '--namespace=argocd'];
  const controller = run('application-controller', ...ofRepo, `--metrics-port=${String(controllerMetrics)}`, '--app-resync=3600', '--app-resync-jitter=0');
  run('server', ...ofRepo, '--disable-auth', '--address=127.0.0.1', `--port=${String(server)}`, '--metrics-address=127.0.0.1', `--metrics-port=${String(serverMetrics)}`);
  const url = `https://127.0.0.1:${String(server)}`;
  const caFile = join(folder, 'server.pem');
  const stop = async (): Promise<void> => { await Promise.all(services.map((service) => service.stop())); };
  try {
    const failed = Promise.race(services.map((service) => service.failed));
    const ca = await readFile(caFile);
    await until(() => Promise.race([answers(`${url}/healthz`, ca), failed]), "Argo CD's server is ready");
    return { webhookUrl: `${url}/api/webhook`, caFile, secretFile: join(folder, 'webhook-secret'), stopController: () => controller.stop(), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function answers(url: string, ca: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    get(url, { ca }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    }).once('error', () => { resolve(false); });
  });
}

import { mkdir } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { startService, type Service } from '../../src/cli/demo/service.ts';
import type { ArgocdPrograms } from './argocd-build.ts';
import type { ControlPlane } from './control-plane.ts';
import { until } from './until.ts';

export interface RunningArgocd {
  /** Of its server's webhook. */
  readonly webhookUrl: string;
  readonly stop: () => Promise<void>;
}

export interface ArgocdOptions {
  readonly programs: ArgocdPrograms;
  readonly cluster: ControlPlane;
  readonly webhookSecret: string;
}

/** The kinds of Argo CD, and its namespace with its settings: no polling within a test, so that what happens was told. */
export async function installArgocd({ programs, cluster, webhookSecret }: ArgocdOptions): Promise<void> {
  // Their descriptions are longer than what client-side apply keeps of them.
  await cluster.kubectl('apply', '--server-side', '-k', programs.crds);
  const served = (kind: string): Promise<boolean> => cluster.send('GET', `/apis/argoproj.io/v1alpha1/${kind}`).then(() => true, () => false);
  await until(async () => (await served('applications')) && (await served('appprojects')), 'the API server knows them');
  await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'argocd' } });
  const labels = { 'app.kubernetes.io/part-of': 'argocd' };
  await cluster.send('POST', '/api/v1/namespaces/argocd/configmaps', { metadata: { name: 'argocd-cm', labels }, data: { 'timeout.reconciliation': '1h', 'timeout.reconciliation.jitter': '0s' } });
  await cluster.send('POST', '/api/v1/namespaces/argocd/configmaps', { metadata: { name: 'argocd-rbac-cm', labels } });
  await cluster.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'argocd-secret', labels }, stringData: { 'server.secretkey': 'k', 'webhook.github.secret': webhookSecret } });
}

/** Its controller, repo-server and server on ephemeral ports of 127.0.0.1, as `installArgocd` left things. */
export async function startArgocd({ programs, cluster }: ArgocdOptions): Promise<RunningArgocd> {
  const folder = join(cluster.folder, 'argocd');
  await Promise.all(['tls', 'ssh', 'tmp'].map((name) => mkdir(join(folder, name), { recursive: true })));
  const [redis, repo, repoMetrics, controllerMetrics, server, serverMetrics] = (await freePorts(6)) as [number, number, number, number, number, number];
  const services: Service[] = [];
  const run = (name: string, ...args: string[]): void => {
    const env = [
      `ARGOCD_BINARY_NAME=argocd-${name}`, 'ARGOCD_FAKE_IN_CLUSTER=true', 'ARGOCD_GPG_ENABLED=false', `KUBECONFIG=${cluster.kubeconfig}`, `HOME=${folder}`, `TMPDIR=${join(folder, 'tmp')}`,
      `ARGOCD_TLS_DATA_PATH=${join(folder, 'tls')}`, `ARGOCD_SSH_DATA_PATH=${join(folder, 'ssh')}`, `ARGOCD_PLUGINSOCKFILEPATH=${folder}`, 'GIT_CONFIG_NOSYSTEM=1',
      `PATH=${dirname(programs.argocd)}:${process.env['PATH'] ?? ''}`,
    ];
    services.push(startService('/usr/bin/env', [...env, programs.argocd, ...args, '--loglevel=info', `--redis=127.0.0.1:${String(redis)}`], join(folder, `${name}.log`)));
  };
  services.push(startService(programs.redis, [`127.0.0.1:${String(redis)}`], join(folder, 'redis.log')));
  run('repo-server', '--address=127.0.0.1', `--port=${String(repo)}`, '--metrics-address=127.0.0.1', `--metrics-port=${String(repoMetrics)}`, '--disable-tls', '--client-ca-path=');
  const ofRepo = [`--repo-server=127.0.0.1:${String(repo)}`, '--repo-server-plaintext', '--namespace=argocd'];
  run('application-controller', ...ofRepo, `--metrics-port=${String(controllerMetrics)}`, '--app-resync=3600', '--app-resync-jitter=0');
  run('server', ...ofRepo, '--insecure', '--disable-auth', '--address=127.0.0.1', `--port=${String(server)}`, '--metrics-address=127.0.0.1', `--metrics-port=${String(serverMetrics)}`);
  const url = `http://127.0.0.1:${String(server)}`;
  const stop = async (): Promise<void> => { await Promise.all(services.map((service) => service.stop())); };
  try {
    const failed = Promise.race(services.map((service) => service.failed));
    await until(() => Promise.race([fetch(`${url}/healthz`).then(({ ok }) => ok, () => false), failed]), "Argo CD's server is ready");
    return { webhookUrl: `${url}/api/webhook`, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Ports that nobody listens on now. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  }));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { defaultSystemProps, systemFiles, type SystemProps } from '../../charts-ts/system/index.ts';
import { createCluster, type Cluster } from '../../src/observe/cluster.ts';
import { seconds, type Millis } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient } from '../../src/platform/kube/client.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import type { ControlPlane, Json } from './control-plane.ts';

/** Our own manifests of access, as an installation has them. */
export async function installAccess(cluster: ControlPlane, props: SystemProps = defaultSystemProps): Promise<void> {
  await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'dory-system' } });
  const files = systemFiles(props, []);
  for (const name of ['orchestrator-access.yaml', 'processor-access-default.yaml']) {
    const file = join(cluster.folder, name);
    await writeFile(file, files.get(name) ?? '');
    await cluster.kubectl('apply', '-f', file);
  }
}

/** A kubeconfig with exactly the rights of the program's own ServiceAccount. */
export async function ownKubeconfig(cluster: ControlPlane, server = cluster.url): Promise<string> {
  const { status } = (await cluster.send('POST', '/api/v1/namespaces/dory-system/serviceaccounts/dory-orchestrator/token', { spec: { expirationSeconds: 3600 } })) as { status: { token: string } };
  const file = join(cluster.folder, `own-${systemRandom.hex(4)}.kubeconfig`);
  await cluster.writeKubeconfig(file, { token: status.token, server });
  return file;
}

/** As the program watches it; to be started and closed. */
export function watchedCluster(kubeconfig: string, on: { readonly change?: () => void; readonly health?: (healthy: boolean) => void; readonly member?: (processorId: string) => void; readonly fresh?: Millis } = {}): Cluster {
  return createCluster({
    client: createKubeClient(createAccess({ kind: 'file', path: kubeconfig })),
    clock: systemClock, random: systemRandom, log: silentLog,
    siteLabel: 'topology.kubernetes.io/zone',
    fresh: on.fresh ?? seconds(15),
    onChange: on.change ?? (() => undefined),
    onMember: on.member ?? (() => undefined),
    onHealth: on.health ?? (() => undefined),
  });
}

/** A node whose kubelet is played by kwok for as long as it is `alive`. */
export async function addNode(cluster: ControlPlane, name: string, labels: Readonly<Record<string, string>>, status: Json = {}): Promise<void> {
  await cluster.send('POST', '/api/v1/nodes', { metadata: { name, labels: { 'kubernetes.io/hostname': name, kubelet: 'alive', ...labels } }, status });
}

export function setKubelet(cluster: ControlPlane, name: string, alive: boolean): Promise<Json> {
  return cluster.send('PATCH', `/api/v1/nodes/${name}`, { metadata: { labels: { kubelet: alive ? 'alive' : null } } });
}

/** What a GitOps tool does: the processors' manifests of the repository's head, applied; what is not in it any more, deleted. */
export async function syncProcessors(cluster: ControlPlane, git: (...args: string[]) => Promise<string>): Promise<void> {
  const paths = (await git('ls-tree', '-r', '--name-only', 'main', 'clusters/test/processors')).split('\n').filter((path) => path.endsWith('.yaml'));
  const texts = await Promise.all(paths.map((path) => git('show', `main:${path}`)));
  const file = join(cluster.folder, 'sync.yaml');
  await writeFile(file, texts.join('\n---\n'));
  await cluster.kubectl('apply', '--server-side', '--field-manager=argocd-controller', '-f', file);
  const wanted = new Set(texts.map((text) => (parse(text) as { metadata: { name: string } }).metadata.name));
  for (const name of await namesOf(cluster, 'statefulsets')) {
    if (!wanted.has(name)) await cluster.kubectl('delete', 'statefulset', name, '--cascade=background', '--wait=false');
  }
}

async function namesOf(cluster: ControlPlane, kind: string): Promise<readonly string[]> {
  const names = await cluster.kubectl('get', kind, '-l', 'managed-by=dory-orchestrator', '-o', 'jsonpath={.items[*].metadata.name}');
  return names.split(' ').filter((name) => name !== '');
}

/** `processor epoch node phase` of each pod of ours, sorted; ids by their last two digits. */
export async function podsOf(cluster: ControlPlane): Promise<readonly string[]> {
  const { items } = (await cluster.send('GET', '/api/v1/pods?labelSelector=managed-by%3Ddory-orchestrator')) as unknown as {
    items: { metadata: { labels: Record<string, string>; deletionTimestamp?: string }; spec: { nodeName?: string }; status: { phase: string } }[];
  };
  return items
    .map(({ metadata: { labels, deletionTimestamp }, spec, status }) => [labels['processor-id']?.slice(-2), labels['dory.io/epoch'], spec.nodeName ?? '-', deletionTimestamp === undefined ? status.phase : 'Terminating'].join(' '))
    .sort();
}

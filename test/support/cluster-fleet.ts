import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { defaultSystemProps, systemFiles, type SystemProps } from '../../charts-ts/system/index.ts';
import { ownKubeconfig as writeOwnKubeconfig } from '../../src/cli/demo/kubernetes.ts';
import { createCluster, type Cluster } from '../../src/observe/cluster.ts';
import { seconds, type Millis } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient } from '../../src/platform/kube/client.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import type { ControlPlane } from './control-plane.ts';

export { addNode, setKubelet } from '../../src/cli/demo/kubernetes.ts';

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
export function ownKubeconfig(cluster: ControlPlane, server = cluster.url): Promise<string> {
  return writeOwnKubeconfig(cluster, join(cluster.folder, `own-${systemRandom.hex(4)}.kubeconfig`), server);
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

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { expect } from 'vitest';
import { defaultSystemProps, systemFiles, systemProps, type SystemProps } from '../../charts-ts/system/index.ts';
import { aftermath } from '../../src/cli/aftermath.ts';
import { openApplier } from '../../src/cli/applier.ts';
import type { ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';
import type { ControlPlaneOptions } from '../../src/cli/demo/control-plane.ts';
import { addNode, ownKubeconfig as writeOwnKubeconfig } from '../../src/cli/demo/kubernetes.ts';
import type { NodeName } from '../../src/model/ids.ts';
import { createCluster, type Cluster } from '../../src/observe/cluster.ts';
import { seconds, type Millis } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient } from '../../src/platform/kube/client.ts';
import { createKubeWriter } from '../../src/platform/kube/write.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { startControlPlane, type ControlPlane } from './control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet, type TestFleetOptions } from './fleet.ts';
import { testDatabase } from './postgres.ts';
import { temporaryFolder } from './temp.ts';
import { until } from './until.ts';

export { addNode, setKubelet } from '../../src/cli/demo/kubernetes.ts';

type Apply = SystemProps['apply'];

/** A control plane on which we are installed. Its own kubeconfig is an administrator's: who plays users and kubelets. */
export interface OwnControlPlane extends ControlPlane {
  /** For the program under test: a kubeconfig with exactly the rights that its rendered roles give. */
  readonly own: string;
}

export interface OwnControlPlaneOptions extends Pick<ControlPlaneOptions, 'with'> {
  readonly programs: ControlPlanePrograms;
  /** Whose rights are given: see `charts-ts/system/README.md`. */
  readonly apply?: Apply;
  /** Beside `default`. */
  readonly namespaces?: readonly string[];
  /** Each with its labels. */
  readonly nodes?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** Those of the small fleet, and one for what is managed. */
export const smallNodes = { 'pool-1': { 'workload-type': 'application' }, 'edge-1': { 'node-type': 'edge' }, 'edge-2': { 'node-type': 'edge' } };

export async function startOwnControlPlane({ apply = 'none', namespaces = [], nodes = {}, ...options }: OwnControlPlaneOptions): Promise<OwnControlPlane> {
  const server = await startControlPlane(options);
  try {
    for (const name of apply === 'argocd' ? [...namespaces, defaultSystemProps.argocdNamespace] : namespaces) await server.send('POST', '/api/v1/namespaces', { metadata: { name } });
    await installAccess(server, systemProps({ apply }, defaultSystemProps.shared), namespaces);
    for (const [name, labels] of Object.entries(nodes)) await addNode(server, name, labels);
    return { ...server, own: await ownKubeconfig(server) };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Our own manifests of access, as an installation has them. */
export async function installAccess(cluster: ControlPlane, props: SystemProps = defaultSystemProps, namespaces: readonly string[] = []): Promise<void> {
  await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'dory-system' } });
  const file = join(cluster.folder, 'access.yaml');
  await writeFile(file, [...systemFiles(props, namespaces)].filter(([name]) => name.includes('-access')).map(([, text]) => text).join('\n---\n'));
  await cluster.kubectl('apply', '-f', file);
}

/** Rights that our roles rightly don't give to the program's own ServiceAccount, for kinds that only a test applies; all verbs on `resources` of `group`. */
export async function grantAlso(cluster: Pick<ControlPlane, 'send'>, rules: readonly { readonly group: string; readonly resources: readonly string[] }[]): Promise<void> {
  const name = `test-${systemRandom.hex(4)}`;
  const rbac = '/apis/rbac.authorization.k8s.io/v1';
  await cluster.send('POST', `${rbac}/clusterroles`, { metadata: { name }, rules: rules.map(({ group, resources }) => ({ apiGroups: [group], resources, verbs: ['*'] })) });
  await cluster.send('POST', `${rbac}/clusterrolebindings`, {
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', name: 'dory-orchestrator', namespace: defaultSystemProps.namespace }],
  });
}

/** A kubeconfig with exactly the rights of the program's own ServiceAccount, for the server or for another address of it. */
export function ownKubeconfig(cluster: Pick<ControlPlane, 'send' | 'url' | 'writeKubeconfig' | 'folder'>, server = cluster.url): Promise<string> {
  return writeOwnKubeconfig(cluster, join(cluster.folder, `own-${systemRandom.hex(4)}.kubeconfig`), server);
}

/** Deletes the StatefulSets of processors, and returns when neither they nor any pods are left. */
export async function removeProcessors(cluster: Pick<ControlPlane, 'send'>): Promise<void> {
  await cluster.send('DELETE', '/apis/apps/v1/namespaces/default/statefulsets?propagationPolicy=Background');
  const count = async (path: string): Promise<number> => ((await cluster.send('GET', path)) as { items: readonly unknown[] }).items.length;
  await until(async () => (await count('/apis/apps/v1/namespaces/default/statefulsets')) + (await count('/api/v1/namespaces/default/pods')) === 0, 'nothing is left');
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

/** The small fleet on a control plane, with the program's own rights. */
export interface ClusterFleet extends TestFleet {
  readonly cluster: Cluster;
  readonly metrics: Metrics;
  /** One look at what moves left behind, at nodes without power, at what the system before this one left. */
  readonly aftermath: () => Promise<void>;
  /** Brings the newest commit to the cluster: by the program's own loop with `apply: ssa`, else as a GitOps tool does. */
  readonly sync: () => Promise<void>;
  readonly podsAre: (expected: readonly string[]) => Promise<void>;
}

export interface ClusterFleetOptions extends Pick<TestFleetOptions, 'flags'> {
  readonly apply?: Apply;
  /** Names of the edge nodes that are added, and go with it. */
  readonly edges?: readonly string[];
}

/** Nobody clones it: what Argo CD does is played. */
const playedArgocd = { 'argocd-repo-url': 'https://git.example.com/fleet.git' };

/** With its nodes ready, and nothing decided. What could not be opened is closed again, and the cluster emptied of all that is ours. */
export async function openClusterFleet(server: OwnControlPlane, { flags = {}, apply = 'none', edges = ['edge-1', 'edge-2'] }: ClusterFleetOptions = {}): Promise<ClusterFleet> {
  const closes: (() => Promise<unknown>)[] = [() => emptyCluster(server)];
  const close = async (): Promise<void> => {
    for (const each of closes.splice(0).reverse()) await each();
  };
  try {
    for (const name of edges) await addNode(server, name, { 'node-type': 'edge' });
    const database = await testDatabase();
    closes.push(() => database.close());
    const folder = await temporaryFolder();
    closes.push(() => folder.remove());
    const cluster = watchedCluster(server.own);
    closes.push(() => cluster.close());
    cluster.start();
    expect(await cluster.synced(seconds(60))).toBe(true);
    await seedSmallFleet(database.pool);
    const fleet = await testFleet({ pool: database.pool, url: database.url, folder: folder.path, cluster, kubeconfig: server.own, flags: { apply, ...(apply === 'argocd' ? playedArgocd : {}), ...flags } });
    closes.push(() => fleet.close());
    const access = createAccess({ kind: 'file', path: server.own });
    closes.push(() => {
      access.close();
      return Promise.resolve();
    });
    const metrics = createMetrics();
    const opened = { cluster, metrics, assertLeading: () => Promise.resolve(), calls: { client: createKubeClient(access), writer: createKubeWriter(access) } };
    const sync = apply === 'ssa' ? appliedBy(fleet, closes) : () => syncProcessors(server, (...args) => fleet.git(...args));
    await until(() => edges.every((name) => cluster.freshest(name as NodeName)?.ready === 'true'), 'its nodes are ready');
    return { ...fleet, cluster, metrics, aftermath: aftermath(fleet.runtime, opened), sync, podsAre: (expected) => podsAre(server, expected), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Our own loop, pass by pass, until one finds nothing to do. */
function appliedBy({ runtime, engine: { repository } }: TestFleet, closes: (() => Promise<unknown>)[]): () => Promise<void> {
  const opened = openApplier(runtime, { repository, assertLeading: () => Promise.resolve(), onChange: () => undefined });
  closes.push(() => opened.close());
  return () => until(async () => {
    const { complete, requests } = await opened.applier.pass();
    return complete && requests === 0;
  }, 'all of the commit is on the cluster');
}

async function emptyCluster(server: ControlPlane): Promise<void> {
  await server.kubectl('delete', 'deployments,statefulsets,pods', '--all-namespaces', '-l', 'managed-by=dory-orchestrator', '--force', '--grace-period=0');
  await server.kubectl('delete', 'deployment', '-n', defaultSystemProps.namespace, 'dory-orchestrator', '--ignore-not-found');
  await server.send('DELETE', '/api/v1/nodes?labelSelector=node-type%3Dedge');
  await podsAre(server, []);
}

export function podsAre(server: ControlPlane, expected: readonly string[]): Promise<void> {
  return until(async () => (await podsOf(server)).join() === expected.join(), `the pods are ${expected.join(', ')}`);
}

/** What a GitOps tool does: the processors' manifests of the repository's head, applied; what is not in it any more, deleted. */
export async function syncProcessors(cluster: ControlPlane, git: (...args: string[]) => Promise<string>): Promise<void> {
  // Nothing was pushed yet.
  if ((await git('branch', '--list', 'main')) === '') return;
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

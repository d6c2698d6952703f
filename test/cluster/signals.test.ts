import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Epoch, NodeName, ProcessorId, RevisionId } from '../../src/model/ids.ts';
import { instant, seconds } from '../../src/model/time.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { addNode, setKubelet, startOwnControlPlane, watchedCluster, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const edge = { 'node-type': 'edge' };
const processor = '00000000-0000-4000-8000-0000000000c1' as ProcessorId;
const stopRevision = 7 as RevisionId;

describe.skipIf(typeof programs === 'string')('what Kubernetes says, with the rights of our own ServiceAccount', () => {
  let server: OwnControlPlane;
  const open: Cluster[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, with: ['controllers', 'scheduler', 'nodes'], nodes: { 'pool-1': { 'workload-type': 'application' } } });
  });
  afterAll(() => server.stop());
  afterEach(async () => {
    await Promise.all(open.splice(0).map((cluster) => cluster.close()));
  });

  const watch = async (on: Parameters<typeof watchedCluster>[1] = {}): Promise<Cluster> => {
    const cluster = watchedCluster(server.own, on);
    open.push(cluster);
    cluster.start();
    expect(await cluster.synced(seconds(60))).toBe(true);
    return cluster;
  };
  /** On a clock of the database that stands far from ours. */
  const now = (): ReturnType<typeof instant> => instant(5_000_000_000_000);
  const node = (cluster: Cluster, name: string) => cluster.look()(now()).node(name as NodeName);
  const ready = (cluster: Cluster, name: string): string | null => {
    const seen = node(cluster, name);
    return seen.known ? seen.value.ready : null;
  };
  const pods = (cluster: Cluster, epoch: number): string | null => {
    const seen = cluster.look()(now()).pods({ processorId: processor, epoch: epoch as Epoch, revision: stopRevision });
    return seen.known ? seen.value : null;
  };

  test('a node is ready, is not ready, falls silent, and goes', async () => {
    let changes = 0;
    const cluster = await watch({ change: () => { changes += 1; } });
    expect(node(cluster, 'edge-1')).toEqual({ known: false, because: 'not-in-cluster' });
    await addNode(server, 'edge-1', { ...edge, 'topology.kubernetes.io/zone': 'north' }, { nodeInfo: { architecture: 'arm64' }, allocatable: { cpu: '4', 'nvidia.com/gpu': '1' } });
    await until(() => ready(cluster, 'edge-1') === 'true', 'it is ready');
    expect(node(cluster, 'edge-1')).toMatchObject({ known: true, value: { ready: 'true', architecture: 'arm64', gpu: true, site: 'north', leaseAgeMs: null } });
    await server.kubectl('taint', 'node', 'edge-1', 'edge-node=true:NoSchedule', 'wish:PreferNoSchedule');
    await until(() => JSON.stringify(node(cluster, 'edge-1')).includes('edge-node=true'), 'its taint is seen');
    await server.kubectl('cordon', 'edge-1');
    await until(() => JSON.stringify(node(cluster, 'edge-1')).includes('unschedulable'), 'it is cordoned');
    expect(node(cluster, 'edge-1')).toMatchObject({ value: { taints: ['edge-node=true', 'node.kubernetes.io/unschedulable'] } });

    await condition('False');
    await until(() => ready(cluster, 'edge-1') === 'false', 'it is not ready');
    const since = node(cluster, 'edge-1');
    if (!since.known) throw new Error('it is known');
    // Dated on the database's clock, from when we saw it.
    expect(now() - since.value.since).toBeLessThan(60_000);
    expect(now() - since.value.since).toBeGreaterThanOrEqual(0);
    expect(since.at).toBeLessThanOrEqual(now());

    await condition('True');
    await until(() => ready(cluster, 'edge-1') === 'true', 'it is ready again');
    changes = 0;
    await setKubelet(server, 'edge-1', false);
    await until(() => ready(cluster, 'edge-1') === 'unknown', 'it fell silent');
    expect(changes).toBeGreaterThan(0);
    expect(cluster.freshest('edge-1' as NodeName)?.ready).toBe('unknown');
    await until(() => (cluster.freshest('edge-1' as NodeName)?.leaseAgeMs ?? 0) > 3_000, 'the age of its lease is read');
    await server.send('DELETE', '/api/v1/nodes/edge-1');
    await until(() => !node(cluster, 'edge-1').known, 'it is gone');
  });

  const condition = (status: 'True' | 'False'): Promise<unknown> =>
    server.send('PATCH', '/api/v1/nodes/edge-1/status', { status: { conditions: [{ type: 'Ready', status, reason: 'Test', lastHeartbeatTime: new Date().toISOString(), lastTransitionTime: new Date().toISOString() }] } });

  test('a process that starts anew counts anew', async () => {
    await addNode(server, 'edge-2', edge);
    const first = await watch();
    await until(() => ready(first, 'edge-2') === 'true', 'it is ready');
    await until(() => {
      const seen = node(first, 'edge-2');
      return seen.known && now() - seen.value.since > 500;
    }, 'it is ready for a while');
    const second = await watch();
    const [older, newer] = [node(first, 'edge-2'), node(second, 'edge-2')];
    if (!older.known || !newer.known) throw new Error('both know it');
    expect(newer.value.since).toBeGreaterThan(older.value.since);
  });

  test('a thousand nodes are listed at once', async () => {
    const names = Array.from({ length: 1_000 }, (_, n) => `many-${String(n)}`);
    for (let n = 0; n < names.length; n += 50) {
      await Promise.all(names.slice(n, n + 50).map((name) => server.send('POST', '/api/v1/nodes', { metadata: { name, labels: edge } })));
    }
    const cluster = await watch();
    expect(names.filter((name) => !node(cluster, name).known)).toEqual([]);
    await server.send('DELETE', '/api/v1/nodes?labelSelector=node-type%3Dedge');
  });

  test('pods are gone only when their StatefulSet says so, and none of a lower epoch is left', async () => {
    const cluster = await watch();
    expect(pods(cluster, 3)).toBe('present');
    const labels = { 'managed-by': 'dory-orchestrator', 'processor-id': processor };
    const template = { metadata: { labels: { ...labels, 'dory.io/epoch': '3' } }, spec: { nodeSelector: { 'workload-type': 'application' }, containers: [{ name: 'main', image: 'example.com/main' }] } };
    const set = { metadata: { name: 'three', labels, annotations: { 'dory.io/epoch': '3', 'dory.io/revision': '6' } }, spec: { replicas: 1, serviceName: '', selector: { matchLabels: template.metadata.labels }, template } };
    const sets = '/apis/apps/v1/namespaces/default/statefulsets';
    const bare = { metadata: { name: 'bare', labels }, spec: { nodeName: 'nowhere', containers: [{ name: 'main', image: 'example.com/main' }] } };
    await server.send('POST', '/api/v1/namespaces/default/pods', bare);
    await server.send('POST', sets, set);
    await until(async () => JSON.stringify(await server.send('GET', '/api/v1/namespaces/default/pods/three-0').catch(() => ({}))).includes('Running'), 'its pod runs');
    expect(pods(cluster, 3)).toBe('present');
    await server.send('PATCH', `${sets}/three`, { spec: { replicas: 0 } });
    await until(async () => ((await server.send('GET', `${sets}/three`)) as { status: { replicas?: number } }).status.replicas === 0, 'its controller counts none');
    await until(() => server.send('GET', '/api/v1/namespaces/default/pods/three-0').then(() => false, () => true), 'its pod is gone');
    // What the system that ran here before left behind has no epoch, and is below any.
    expect(pods(cluster, 3)).toBe('present');
    await server.kubectl('delete', 'pod', 'bare', '--force', '--grace-period=0');
    // It is scaled to 0 by another decision than the one to stop.
    expect(pods(cluster, 3)).toBe('present');
    await server.send('PATCH', `${sets}/three`, { metadata: { annotations: { 'dory.io/revision': '7' } } });
    await until(() => pods(cluster, 3) === 'gone', 'they are gone');
    // Of another epoch it says nothing.
    expect(pods(cluster, 2)).toBe('present');
    await server.send('DELETE', `${sets}/three`);
    await until(() => pods(cluster, 3) === 'present', 'nothing vouches for it any more');
  });

  test.each([
    ['dory-orchestrator', 'nodes'],
    ['dory-orchestrator', 'pods'],
    ['dory-orchestrator-beyond', 'statefulsets'],
  ])('without its rule %s %s is not to be had', async (role, resource) => {
    const path = `/apis/rbac.authorization.k8s.io/v1/clusterroles/${role}`;
    const { rules } = (await server.send('GET', path)) as unknown as { rules: { resources: string[] }[] };
    await server.send('PATCH', path, { rules: rules.filter(({ resources }) => !resources.includes(resource)) });
    try {
      const can = (): Promise<boolean> => server.kubectl('auth', 'can-i', 'list', resource, '--as', 'system:serviceaccount:dory-system:dory-orchestrator', '-A').then(() => true, () => false);
      await until(async () => !(await can()), 'the rule is gone');
      const health: boolean[] = [];
      const cluster = watchedCluster(server.own, { health: (healthy) => health.push(healthy) });
      open.push(cluster);
      cluster.start();
      await until(() => health.length > 0, 'the refusal was told');
      expect(health).toEqual([false]);
      const look = cluster.look()(now());
      const seen = resource === 'nodes' ? look.node('edge-1' as NodeName) : look.pods({ processorId: processor, epoch: 1 as Epoch, revision: stopRevision });
      expect(seen).toEqual({ known: false, because: 'watch-down' });
    } finally {
      await server.send('PATCH', path, { rules });
    }
  });
});

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { operatorContext } from '../../src/cli/operator-context.ts';
import type { NodeName } from '../../src/model/ids.ts';
import { adopt, adoptBack, adoptStart, type AdoptReport } from '../../src/operator/adopt.ts';
import { runOperation, type Operation } from '../../src/operator/operation.ts';
import { openClusterFleet, podsOf, setKubelet, startOwnControlPlane, type ClusterFleet, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const ids = ['c1', 'c2', 'c3'].map((end) => `00000000-0000-4000-8000-0000000000${end}`);
const deployments = '/apis/apps/v1/namespaces/dory-system/deployments';

describe.skipIf(typeof programs === 'string')('a cutover from the system that ran here before, and back', () => {
  let server: OwnControlPlane;
  let fleet: ClusterFleet;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, with: ['controllers', 'scheduler', 'nodes'], nodes: { 'pool-1': { 'workload-type': 'application' }, 'system-1': { role: 'system' } } });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    fleet = await openClusterFleet(server, { flags: { 'failover-fence-bound': '1s' } });
    await server.send('POST', deployments, oldDeployment(1));
    await Promise.all(ids.map((id, i) => server.send('POST', '/api/v1/namespaces/default/pods', barePod(id, i === 2 ? 'pool-1' : 'edge-1'))));
    await until(async () => (await podsOf(server)).filter((pod) => pod.endsWith('Running')).length === 3, 'the other system runs');
    await until(() => fleet.cluster.bare()?.size === 3, 'its pods are seen');
  });
  afterEach(() => fleet.close());

  const oldDeployment = (replicas: number): unknown => ({
    metadata: { name: 'dory-orchestrator', labels: { app: 'dory-orchestrator' } },
    spec: { replicas, selector: { matchLabels: { app: 'dory-orchestrator' } }, template: { metadata: { labels: { app: 'dory-orchestrator' } }, spec: { nodeSelector: { role: 'system' }, containers: [{ name: 'orchestrator', image: 'example.com/old' }] } } },
  });
  const barePod = (id: string, nodeName: string): unknown => ({ metadata: { name: `camera-${id.slice(-2)}`, labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id } }, spec: { nodeName, containers: [{ name: 'main', image: 'example.com/camera' }] } });
  const ask = (operation: Operation, input: unknown = {}): Promise<unknown> => runOperation(operatorContext(fleet.runtime, null, fleet.cluster), operation, input, { name: 'ada' });
  const report = async (): Promise<AdoptReport> => (await ask(adopt)) as AdoptReport;
  const found = async (): Promise<string> => Object.entries((await report()).counts).filter(([, count]) => count > 0).map(([state, count]) => `${String(count)} ${state}`).join();
  const stopOther = async (): Promise<void> => {
    await server.kubectl('scale', 'deployment', '-n', 'dory-system', 'dory-orchestrator', '--replicas=0');
    await until(async () => (await report()).running === null, 'the other system has stopped');
  };
  /** What the program does, in turns, until it is so. No processor may ever have two pods. */
  const work = async (isDone: () => Promise<boolean>, what: string): Promise<void> => {
    await until(async () => {
      await fleet.beat('edge-1', 'edge-2');
      await fleet.aftermath();
      await fleet.once();
      await fleet.sync();
      const pods = (await podsOf(server)).map((pod) => pod.slice(0, 2));
      expect(new Set(pods).size).toBe(pods.length);
      return isDone();
    }, what);
  };
  const ours = ['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running'];
  const podsAre = async (expected: readonly string[]): Promise<boolean> => (await podsOf(server)).join() === expected.join();

  test('nothing of ours starts beside it; each processor is taken over once nobody else starts it; and handed back', async () => {
    await fleet.beat('edge-1', 'edge-2');
    expect((await fleet.once()).planned.holds.map(({ reason }) => reason)).toEqual(['not-adopted', 'not-adopted', 'not-adopted']);
    expect(await report()).toMatchObject({ running: { deployment: 'dory-system/dory-orchestrator', replicas: 1 }, counts: { left: 3 }, taken: 0 });
    await expect(ask(adoptStart, { reason: 'cutover' })).rejects.toMatchObject({ code: 'conflict' });

    await stopOther();
    // One first.
    await ask(adoptStart, { processors: [ids[0]], reason: 'the first one' });
    await work(async () => (await report()).taken === 1, 'the first one is ours');
    expect((await podsOf(server)).filter((pod) => pod.startsWith('c1'))).toEqual(['c1 1 edge-1 Running']);
    expect(await found()).toBe('2 left');
    // Somebody starts the other one again: nothing further is taken.
    await ask(adoptStart, { reason: 'the rest' });
    await server.kubectl('scale', 'deployment', '-n', 'dory-system', 'dory-orchestrator', '--replicas=1');
    await fleet.aftermath();
    expect(await found()).toBe('2 asked');
    await stopOther();
    await work(async () => (await report()).taken === 3, 'all are ours');
    expect(await podsOf(server)).toEqual(ours);

    await ask(adoptBack, { reason: 'a rehearsal of the way back' });
    await work(async () => (await found()) === '3 stopped', 'all are handed back');
    expect((await fleet.once()).planned.holds.map(({ reason }) => reason)).toEqual(['handed-back', 'handed-back', 'handed-back']);
    // The other system starts its pods, and is taken over from once more.
    await Promise.all(ids.map((id) => server.send('POST', '/api/v1/namespaces/default/pods', barePod(id, 'edge-2'))));
    await until(() => fleet.cluster.bare()?.size === 3, 'its pods are seen');
    expect((await fleet.once()).planned.changes).toEqual([]);
    await ask(adoptStart, { reason: 'again' });
    await work(() => podsAre(ours), 'all are ours again');
  });

  test('is refused while a pod of the other system is left, its Deployment being scaled to 0, or deleted', async () => {
    const system = ['-n', 'dory-system', '-l', 'app=dory-orchestrator'];
    const hold = async (finalizers: readonly string[] | null): Promise<void> => {
      const name = (await server.kubectl('get', 'pods', ...system, '-o', 'name')).trim().replace('pod/', '');
      await server.send('PATCH', `/api/v1/namespaces/dory-system/pods/${name}`, { metadata: { finalizers } });
    };
    const refused = async (): Promise<void> => {
      expect((await report()).running).toMatchObject({ replicas: 0, pods: [expect.stringMatching('^dory-orchestrator-') as string] });
      await expect(ask(adoptStart, { reason: 'cutover' })).rejects.toMatchObject({ code: 'conflict' });
    };
    await until(async () => (await report()).running?.pods.length === 1, 'its pod is there');
    await hold(['dory.example.com/held']);
    await server.kubectl('scale', 'deployment', '-n', 'dory-system', 'dory-orchestrator', '--replicas=0');
    await until(async () => (await server.kubectl('get', 'pods', ...system, '-o', 'jsonpath={.items[*].metadata.deletionTimestamp}')) !== '', 'its pod is ending');
    await refused();
    await server.kubectl('delete', 'deployment', '-n', 'dory-system', 'dory-orchestrator', '--cascade=orphan');
    await refused();
    await hold(null);
    await until(async () => (await report()).running === null, 'its pod is gone');
    expect(await ask(adoptStart, { reason: 'cutover' })).toMatchObject({ processors: null });
  });

  test('a pod whose node is silent waits; killed in the middle, it goes on; what belongs to no row is left alone', async () => {
    await stopOther();
    await server.send('POST', '/api/v1/namespaces/default/pods', barePod('00000000-0000-4000-8000-00000000dead', 'edge-2'));
    await setKubelet(server, 'edge-1', false);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'unknown', 'Kubernetes missed its lease');
    await ask(adoptStart, { reason: 'cutover' });
    await fleet.aftermath();
    expect(await found()).toMatch(/^1 (?:ending|starting),2 unreachable,1 unknown$/);
    await setKubelet(server, 'edge-1', true);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'true', 'it is back');
    // As a process leaves it that is killed between its row and its request.
    await fleet.pool.query(
      `insert into dory.adoptions (pod_uid, processor_id, namespace, pod) select $1, $2, 'default', 'camera-c1'`,
      [((await server.send('GET', '/api/v1/namespaces/default/pods/camera-c1')) as { metadata: { uid: string } }).metadata.uid, ids[0]],
    );
    await work(async () => (await report()).taken === 3, 'all are ours');
    expect(await found()).toBe('1 unknown');
    expect((await podsOf(server)).filter((pod) => !pod.startsWith('ad'))).toEqual(ours);
  });
});

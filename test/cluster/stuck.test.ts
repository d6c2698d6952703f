import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { operatorContext } from '../../src/cli/operator-context.ts';
import type { NodeName } from '../../src/model/ids.ts';
import { runOperation } from '../../src/operator/operation.ts';
import { nodePowerOffConfirmed } from '../../src/operator/power-off.ts';
import { openClusterFleet, podsOf, setKubelet, startOwnControlPlane, type ClusterFleet, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const flags = { 'heartbeats-interval': '2s', 'failover-stability-window': '0s', 'failover-heartbeat-stale': '10s', 'failover-heartbeat-gap': '5s', 'failover-intake-fresh': '9s', 'failover-fence-bound': '1s' };
const long = 90_000;
const finalizer = 'dory.example.com/held';

describe.skipIf(typeof programs === 'string')('what a move leaves behind, with the rights of our own ServiceAccount', () => {
  let server: OwnControlPlane;
  let fleet: ClusterFleet;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, with: ['controllers', 'scheduler', 'nodes'], nodes: { 'pool-1': { 'workload-type': 'application' } } });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    fleet = await openClusterFleet(server, { flags });
    await fleet.once();
    await fleet.sync();
    await fleet.podsAre(['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running']);
  });
  afterEach(() => fleet.close());

  const kinds = async (): Promise<readonly string[]> =>
    (await fleet.pool.query<{ told: string }>(`select kind || coalesce(' ' || (evidence ->> 'forced'), '') as told from dory.events where kind like 'leftover-%' order by 1`)).rows.map(({ told }) => told);
  const cutOff = async (name: string): Promise<void> => {
    await setKubelet(server, name, false);
    await until(() => fleet.cluster.freshest(name as NodeName)?.ready === 'unknown', 'Kubernetes missed its lease');
  };
  /** `edge-1` dies, and its two processors move to the pool. */
  const failover = async (): Promise<void> => {
    await cutOff('edge-1');
    await fleet.age(long, 'edge-1');
    await until(async () => {
      await fleet.beat('edge-2');
      return (await fleet.once()).planned.changes.length > 0;
    }, 'they move');
  };
  const setOf = async (id: string, epoch: number): Promise<string> => {
    const names = await server.kubectl('get', 'statefulsets', '-l', `processor-id=${id}`, '-o', 'name');
    return names.split('\n').find((name) => name.endsWith(`-e${String(epoch)}`)) ?? '';
  };
  const c1 = '00000000-0000-4000-8000-0000000000c1';
  const orphansAre = (count: number): Promise<void> => until(() => fleet.cluster.orphans()?.length === count, `${String(count)} pods are wanted by nobody`);

  test('on a node that is lost: forced, once, and only when the move is committed and has its fence', async () => {
    await failover();
    // Until it is synced, the old StatefulSets want their pods, and would start them anew.
    await fleet.aftermath();
    expect(await kinds()).toEqual([]);
    await fleet.sync();
    await orphansAre(2);
    await fleet.pool.query(`update dory.changes set evidence = evidence - 'unfenced' - 'fence'`);
    await fleet.aftermath();
    expect(await kinds()).toEqual([]);
    await fleet.pool.query(`update dory.changes set evidence = evidence || '{"unfenced": true}'; update dory.revisions set committed_at = null`);
    await fleet.aftermath();
    expect(await podsOf(server)).toContain('c1 1 edge-1 Terminating');
    await fleet.pool.query('update dory.revisions set committed_at = now()');
    await fleet.aftermath();
    await fleet.podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    expect(await kinds()).toEqual(['leftover-removed true', 'leftover-removed true']);
    await orphansAre(0);
  });

  test('on a node that came back: left running until the successor works, then ended by its kubelet', async () => {
    await failover();
    await server.kubectl('delete', await setOf(c1, 1), '--cascade=orphan');
    // The pool has no room for the successor yet.
    await server.kubectl('cordon', 'pool-1');
    await fleet.sync();
    await setKubelet(server, 'edge-1', true);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'true', 'it is back');
    await orphansAre(1);
    await fleet.aftermath();
    expect((await podsOf(server)).filter((pod) => pod.startsWith('c1'))).toEqual(['c1 1 edge-1 Running', 'c1 2 - Pending']);
    await server.kubectl('uncordon', 'pool-1');
    await until(async () => (await podsOf(server)).includes('c1 2 pool-1 Running'), 'the successor runs');
    await until(async () => {
      await fleet.aftermath();
      return !(await podsOf(server)).some((pod) => pod.startsWith('c1 1'));
    }, 'the leftover has ended');
    expect(await kinds()).toEqual(['leftover-removed false']);
  });

  test('with a kubelet that answers and does not end it: told once, and never forced', async () => {
    await failover();
    const pod = `${(await setOf(c1, 1)).split('/')[1] ?? ''}-0`;
    await server.send('PATCH', `/api/v1/namespaces/default/pods/${pod}`, { metadata: { finalizers: [finalizer] } });
    await fleet.sync();
    await setKubelet(server, 'edge-1', true);
    await until(async () => {
      await fleet.aftermath();
      return (await kinds()).includes('leftover-overdue');
    }, 'it is told');
    await fleet.aftermath();
    expect(await kinds()).toEqual(['leftover-overdue']);
    expect(await podsOf(server)).toContain('c1 1 edge-1 Terminating');
    await server.send('PATCH', `/api/v1/namespaces/default/pods/${pod}`, { metadata: { finalizers: null } });
  });

  test('power-off confirmed by a person: a fence for its processors, and a taint until its kubelet answers again', async () => {
    await fleet.pool.query(`insert into dory.policies (match, unfenced, set_by) values ('template/camera', 'hold', 'ada')`);
    const confirm = (): Promise<unknown> => runOperation(operatorContext(fleet.runtime, null, fleet.cluster), nodePowerOffConfirmed, { node: 'edge-1', reason: 'the fuse is out' }, { name: 'ada' });
    await expect(confirm()).rejects.toMatchObject({ code: 'conflict' });
    await cutOff('edge-1');
    await fleet.age(long, 'edge-1');
    await until(async () => {
      await fleet.beat('edge-2');
      return (await fleet.once()).planned.holds.filter(({ reason }) => reason === 'unfenced-held').length === 2;
    }, 'they are held');
    expect(await confirm()).toMatchObject({ processors: 2, changed: true });
    await fleet.beat('edge-2');
    // It may be on again at any moment, and would run what it finds: first nothing may start there any more.
    expect((await fleet.once()).planned.changes).toEqual([]);
    const taints = async (): Promise<string> => JSON.stringify(((await server.send('GET', '/api/v1/nodes/edge-1')) as { spec: { taints?: unknown } }).spec.taints ?? []);
    await fleet.aftermath();
    expect(await taints()).toContain('"node.kubernetes.io/out-of-service"');
    const fences: string[] = [];
    await until(async () => {
      await fleet.beat('edge-2');
      fences.push(...(await fleet.once()).planned.changes.map(({ kind, evidence }) => `${kind} ${String(evidence['fence'])}`));
      return fences.length >= 2;
    }, 'they move');
    expect(fences).toEqual(['move fence-confirmed', 'move fence-confirmed']);
    // Kubernetes deletes its pods on account of the taint, whatever is synced; ours would not, for their StatefulSets want them.
    await until(async () => !(await podsOf(server)).some((pod) => pod.endsWith('Running') && pod.includes('edge-1')), 'Kubernetes deleted its pods');
    await setKubelet(server, 'edge-1', true);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'true', 'it is back');
    // What was decided on the word is not synced: the old StatefulSets would start their pods there.
    await fleet.aftermath();
    expect(await taints()).toContain('out-of-service');
    await fleet.sync();
    await until(async () => {
      await fleet.aftermath();
      return (await fleet.pool.query('select from dory.power_offs')).rowCount === 0;
    }, 'its word is over');
    expect(await taints()).not.toContain('out-of-service');
  });
});

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tendPowerOffs } from '../../../src/apply/power-off.ts';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import type { LiveProcessor } from '../../../src/model/rollout.ts';
import { seconds } from '../../../src/model/time.ts';
import { runOperation } from '../../../src/operator/operation.ts';
import { nodePowerOffConfirmed } from '../../../src/operator/power-off.ts';
import { openSmallFleet, type TestFleet } from '../../support/fleet.ts';
import { playedCluster, type PlayedCluster } from '../../support/played-cluster.ts';

const id = (end: string): string => `00000000-0000-4000-8000-0000000000${end}`;
const uid = (n: number): string => `00000000-0000-4000-8000-0000000000d${String(n)}`;

let fleet: TestFleet;
let cluster: PlayedCluster;
beforeEach(async () => {
  fleet = await openSmallFleet();
  cluster = playedCluster();
  cluster.nodes.set('edge-1', { ready: 'True', taints: [] }).set('edge-2', { ready: 'True', taints: [] });
});
afterEach(() => fleet.close());

const events = async (like: string): Promise<readonly string[]> => (await fleet.pool.query<{ kind: string }>('select kind from dory.events where kind like $1 order by id', [like])).rows.map(({ kind }) => kind);

describe('a node that a person says has no power', () => {
  let shown: LiveProcessor | null;
  /** Their last beats are from before the word. */
  beforeEach(async () => {
    shown = null;
    await fleet.age(1_000, 'edge-1', 'edge-2');
  });
  const tend = (): Promise<void> => tendPowerOffs({ ...cluster.calls, pool: fleet.pool, assertLeading: () => Promise.resolve(), condition: watched, live: () => shown });
  const watched = (name: string) => {
    const node = cluster.nodes.get(name);
    return node === undefined ? null : { ready: ({ True: 'true', False: 'false', Unknown: 'unknown' } as const)[node.ready], taints: node.taints.map(({ key, value = '' }) => `${key}=${value}`) };
  };
  const say = (...names: string[]): Promise<unknown> => fleet.pool.query(`insert into dory.power_offs (node_id, node_name, confirmed_by, reason) select id, name, 'ada', 'the fuse' from edge_nodes where name = any($1)`, [names]);
  const said = async (): Promise<number | null> => (await fleet.pool.query('select from dory.power_offs')).rowCount;
  const taint = 'node.kubernetes.io/out-of-service';

  test.each([
    ['is Ready', 'True'],
    // What makes it Ready may not tolerate the taint.
    ['says itself that it is not ready', 'False'],
  ] as const)('is tainted while it is silent, beside other taints; and no more when its kubelet %s', async (_what, ready) => {
    const node = { ready: 'Unknown' as 'Unknown' | 'True' | 'False', taints: [{ key: 'edge', effect: 'NoSchedule' }] };
    cluster.nodes.set('edge-1', node);
    await say('edge-1');
    await tend();
    await tend();
    expect(cluster.writes).toEqual([`PATCH edge-1 edge,${taint}`]);
    node.ready = ready;
    await tend();
    expect(cluster.writes.slice(1)).toEqual(['PATCH edge-1 edge']);
    expect(await said()).toBe(0);
    expect(await events('power-off%')).toEqual(['power-off-ended']);
  });

  test('is believed to have some when its agents beat, whatever its kubelet does', async () => {
    cluster.nodes.set('edge-1', { ready: 'Unknown', taints: [] });
    await say('edge-1', 'edge-2');
    await tend();
    await fleet.beat('edge-1');
    await tend();
    expect(cluster.writes).toEqual([`PATCH edge-1 ${taint}`, 'PATCH edge-1 ']);
    expect((await fleet.pool.query<{ node_name: string }>('select node_name from dory.power_offs')).rows).toEqual([]);
  });

  test('its word ends by a beat also where Kubernetes has no such node', async () => {
    cluster.nodes.clear();
    await say('edge-1');
    await tend();
    expect(await said()).toBe(1);
    await fleet.beat('edge-1');
    await tend();
    expect(await said()).toBe(0);
  });

  test('holds up no other when the cluster refuses to take its taint', async () => {
    for (const name of ['edge-1', 'edge-2']) cluster.nodes.set(name, { ready: 'Unknown', taints: [] });
    await say('edge-1', 'edge-2');
    cluster.refuses = 'nodes/edge-1';
    await expect(tend()).rejects.toMatchObject({ code: 'kubernetes-unreachable' });
    expect(cluster.writes).toEqual([`PATCH edge-2 ${taint}`]);
  });

  test('stays out of service until what left it is wanted there by nothing any more', async () => {
    await fleet.once();
    await fleet.age(90_000, 'edge-1');
    await fleet.beat('edge-2');
    await say('edge-1');
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['move', 'move']);
    const node = { ready: 'Unknown' as 'Unknown' | 'True', taints: [] };
    cluster.nodes.set('edge-1', node);
    await tend();
    node.ready = 'True';
    const member = { processorId: id('c1'), namespace: 'default', name: 'camera', uid: uid(1), since: seconds(0), terminating: false };
    const set = (epoch: number, wanted: number) => ({ ...member, epoch, wanted, revision: 1, stopped: wanted === 0, short: false, template: null });
    const pod = (epoch: number, on: string | null, terminating = false) => ({ ...member, epoch, terminating, node: on, nodeIp: null, ready: false, template: null, restarts: 0, trouble: null, cpu: 0, memory: 0 });
    const shows = (sets: LiveProcessor['sets'], pods: LiveProcessor['pods'] = []): LiveProcessor => ({ sets, pods, podlessSince: null, refusal: null });
    // It is not known; its StatefulSet is there; its pod waits for the node, or is on it.
    for (const seen of [null, shows([set(1, 1), set(2, 1)]), shows([], [pod(1, null)]), shows([], [pod(1, 'edge-1')])]) {
      shown = seen;
      await tend();
      expect([cluster.writes, await said()]).toEqual([[`PATCH edge-1 ${taint}`], 1]);
    }
    shown = shows([set(1, 0), set(2, 1)], [pod(1, 'edge-1', true), pod(1, 'edge-2'), pod(2, 'pool-1'), pod(0, 'edge-1')]);
    await tend();
    expect([cluster.writes.slice(1), await said()]).toEqual([['PATCH edge-1 '], 0]);
  });

  test('can be said again when it was back meanwhile; not while its kubelet says anything', async () => {
    await fleet.once();
    const confirm = (ready: 'true' | 'false' | 'unknown' = 'unknown'): Promise<unknown> =>
      runOperation({ ...operatorContext(fleet.runtime), nodeCondition: () => ({ ready, taints: [], leaseAgeMs: null }) as never }, nodePowerOffConfirmed, { node: 'edge-1', reason: 'the fuse is out' }, { name: 'ada' });
    const lose = async (): Promise<void> => {
      await fleet.age(90_000, 'edge-1');
      await fleet.beat('edge-2');
      await fleet.once();
    };
    await lose();
    await expect(confirm('false')).rejects.toMatchObject({ code: 'conflict' });
    await expect(confirm('true')).rejects.toMatchObject({ code: 'conflict' });
    expect(await confirm()).toMatchObject({ changed: true });
    expect(await confirm()).toMatchObject({ changed: false });
    await fleet.pool.query(`update dory.power_offs set confirmed_at = confirmed_at - interval '1 hour'`);
    expect(await confirm()).toMatchObject({ changed: true });
    expect(await events('power-off%')).toEqual(['power-off-confirmed', 'power-off-confirmed']);
  });
});

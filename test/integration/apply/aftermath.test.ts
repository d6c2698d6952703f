import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { adoptFurther, type AdoptStep } from '../../../src/apply/adopt.ts';
import { runningPredecessor } from '../../../src/apply/predecessor.ts';
import { sweep, type Swept } from '../../../src/apply/sweep.ts';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { seconds } from '../../../src/model/time.ts';
import { adopt, adoptBack, adoptStart, type AdoptReport } from '../../../src/operator/adopt.ts';
import { runOperation } from '../../../src/operator/operation.ts';
import { writeBatch } from '../../../src/http/intake-sql.ts';
import { openSmallFleet, type TestFleet } from '../../support/fleet.ts';
import { playedCluster, playedNow, put, type PlayedCluster, type PlayedPod } from '../../support/played-cluster.ts';
import { beatOf } from '../http/fleet.ts';

const id = (end: string): string => `00000000-0000-4000-8000-0000000000${end}`;
const uid = (n: number): string => `00000000-0000-4000-8000-0000000000d${String(n)}`;

let fleet: TestFleet;
let cluster: PlayedCluster;
const closes: (() => Promise<unknown>)[] = [];

/** All placed and committed; without a watch, so that beats alone decide what moves. */
beforeEach(async () => {
  fleet = await openSmallFleet();
  closes.push(() => fleet.close());
  cluster = playedCluster();
  cluster.nodes.set('edge-1', { ready: 'True', taints: [] }).set('edge-2', { ready: 'True', taints: [] }).set('pool-1', { ready: 'True', taints: [] });
});
afterEach(async () => {
  for (const close of closes.splice(0).reverse()) await close();
});

const events = async (like: string): Promise<readonly string[]> => (await fleet.pool.query<{ kind: string }>('select kind from dory.events where kind like $1 order by id', [like])).rows.map(({ kind }) => kind);
const beat = async (body: Readonly<Record<string, unknown>>): Promise<unknown> => (await writeBatch(fleet.pool, [beatOf(body)], { gapSec: 5, restartCoverage: false, leaseSec: 30, nodeSec: 0, timeoutMs: 10_000 }))[0]?.standing;

describe('what moves left behind', () => {
  const orphan = (end: string, more: Partial<PlayedPod> = {}): PlayedPod =>
    ({ namespace: 'default', name: `camera-${end}-e1-0`, uid: uid(Number(end.slice(-1))), labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id(end), 'dory.io/epoch': '1' }, node: 'edge-1', ...more });
  const look = (): Promise<readonly Swept[]> => sweep({
    ...cluster.calls, pool: fleet.pool, bound: seconds(30), assertLeading: () => Promise.resolve(),
    orphans: () => [...cluster.pods.values()].filter(({ labels }) => labels['dory.io/epoch'] === '1').map((pod) => ({ ...pod, processorId: pod.labels['processor-id'] ?? '', epoch: 1 })),
  });
  const fates = async (): Promise<readonly string[]> => (await look()).map(({ fate, orphan: { name } }) => `${name.slice(7, 9)} ${fate.kind}${fate.kind === 'wait' ? ` ${fate.why}` : ''}`).sort();

  /** `edge-1` was lost, its two processors moved to the pool; it is back, and has still what ran there. */
  beforeEach(async () => {
    await fleet.once();
    await fleet.age(90_000, 'edge-1');
    await fleet.beat('edge-2');
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['move', 'move']);
    put(cluster, orphan('c1'), orphan('c2'));
  });

  test('goes from a node that is back when its successor beats from its own place, in its own epoch', async () => {
    await fleet.pool.query(`insert into dory.beats (processor_id, epoch, last_beat_at, lease_until) select processor_id, 1, since - interval '1 s', now() from dory.placements where processor_id = $1`, [id('c1')]);
    expect(await fates()).toEqual(['c1 wait successor', 'c2 wait successor']);
    // Of the leftover itself, which names no place.
    expect(await beat({ processor_id: id('c1') })).toBe('current');
    expect(await fates()).toEqual(['c1 wait successor', 'c2 wait successor']);
    expect(await beat({ processor_id: id('c1'), placement_epoch: 1 })).toBe('stale');
    expect(await fates()).toEqual(['c1 wait successor', 'c2 wait successor']);
    expect(await beat({ processor_id: id('c1'), placement_epoch: 2 })).toBe('current');
    expect(await fates()).toEqual(['c1 delete', 'c2 wait successor']);
    expect(cluster.writes).toEqual(['DELETE camera-c1-e1-0']);
    expect(await events('leftover-%')).toEqual(['leftover-removed']);
  });

  test('waits while its successor has not beaten since it was placed there, though it did before', async () => {
    expect(await beat({ processor_id: id('c1'), placement_epoch: 2 })).toBe('current');
    await fleet.pool.query(`update dory.placements set since = now() + interval '1 s' where processor_id = $1`, [id('c1')]);
    expect(await fates()).toEqual(['c1 wait successor', 'c2 wait successor']);
  });

  test('goes when its successor is Ready, in whichever namespace that is', async () => {
    put(cluster, orphan('c1', { namespace: 'plant', name: 'camera-c1-e2-0', uid: uid(9), labels: { 'processor-id': id('c1'), 'dory.io/epoch': '2' }, node: 'pool-1', ready: true }));
    expect(await fates()).toEqual(['c1 wait successor', 'c2 wait successor']);
    await fleet.pool.query(`update processors set k8s_namespace = 'plant' where id = $1`, [id('c1')]);
    await fleet.pool.query(`update dory.changes set spec = jsonb_set(spec, '{namespace}', '"plant"') where processor_id = $1 and revision = 2`, [id('c1')]);
    expect(await fates()).toEqual(['c1 delete', 'c2 wait successor']);
  });

  test('goes also where the epoch rose by more than one, as after a repair', async () => {
    await fleet.pool.query(`update dory.placements set epoch = 7 where epoch = 2; update dory.changes set placement = jsonb_set(placement, '{epoch}', '7') where kind = 'move'`);
    cluster.nodes.set('edge-1', { ready: 'Unknown', taints: [] });
    expect(await fates()).toEqual(['c1 force', 'c2 force']);
    expect(cluster.writes.toSorted()).toEqual(['DELETE camera-c1-e1-0 grace 0', 'DELETE camera-c2-e1-0 grace 0']);
  });

  test('one pod that the cluster refuses to delete holds up no other', async () => {
    cluster.nodes.set('edge-1', { ready: 'Unknown', taints: [] });
    cluster.refuses = 'camera-c1';
    expect(await fates()).toEqual(['c1 failed', 'c2 force']);
    cluster.refuses = null;
    const [again] = await look();
    expect(again).toMatchObject({ fate: { kind: 'force' }, first: true });
    expect(await look()).toEqual([]);
  });

  describe('of a row that was removed', () => {
    beforeEach(async () => {
      await fleet.pool.query(`update processors set status = 'terminated' where id = any($1)`, [[id('c1'), id('c2')]]);
      expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['remove', 'remove']);
    });
    const second = { labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id('c3'), 'dory.io/epoch': '1' } };

    test('goes at once from a node that answers, asked and not forced; a stranger holds up nothing', async () => {
      put(cluster, orphan('c3', second), orphan('c4', { labels: { ...second.labels, 'processor-id': 'somebody' } }));
      expect(await fates()).toEqual(['c1 delete', 'c2 delete']);
      expect(cluster.writes).toEqual(['DELETE camera-c1-e1-0', 'DELETE camera-c2-e1-0']);
    });

    test('waits for the commit that removes it', async () => {
      await fleet.pool.query(`update dory.revisions set committed_at = null where id = (select max(id) from dory.revisions)`);
      expect(await fates()).toEqual(['c1 wait not-committed', 'c2 wait not-committed']);
    });

    test('is forced off a silent node only where it had left behind a fence; of its last epoch none is on record', async () => {
      cluster.nodes.set('edge-1', { ready: 'Unknown', taints: [] });
      await fleet.pool.query('delete from dory.changes where processor_id = $1 and kind = $2', [id('c2'), 'move']);
      expect(await fates()).toEqual(['c1 force', 'c2 wait no-fence']);
    });

    test('stays when it is desired again: it is placed as it was', async () => {
      await fleet.pool.query(`update processors set status = 'pending' where id = $1`, [id('c1')]);
      expect(await fates()).toEqual(['c2 delete']);
    });
  });

  test('is left to a kubelet that answers, and told once when that takes too long', async () => {
    put(cluster, orphan('c1', { deletedAt: playedNow - 30_000 }), orphan('c2', { deletedAt: playedNow - 31_000 }));
    expect(await fates()).toEqual(['c1 wait kubelet', 'c2 overdue']);
    expect((await look()).map(({ first }) => first)).toEqual([false, false]);
    expect(cluster.writes).toEqual([]);
    expect(await events('leftover-%')).toEqual(['leftover-overdue']);
  });
});

describe('what the system before this one left', () => {
  const bare = (end: string, more: Partial<PlayedPod> = {}): PlayedPod =>
    ({ namespace: 'default', name: `camera-${end}`, uid: uid(Number(end.slice(-1))), labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id(end) }, node: 'edge-1', ...more });
  const place = { namespace: 'dory-system', deployment: 'dory-orchestrator' };
  const step = (): Promise<AdoptStep> => adoptFurther({ ...cluster.calls, pool: fleet.pool, predecessor: place, anyLeft: () => true, assertLeading: () => Promise.resolve(), bound: seconds(30) });
  const context = () => ({ ...operatorContext(fleet.runtime), predecessor: place, withKube: <T>(use: (client: typeof cluster.calls.client) => T) => use(cluster.calls.client) }) as ReturnType<typeof operatorContext>;
  const ask = async (operation: typeof adoptStart, ...processors: string[]): Promise<unknown> => runOperation(context(), operation, { reason: 'cutover', ...(processors.length === 0 ? {} : { processors }) }, { name: 'ada' });
  const report = async (): Promise<AdoptReport> => (await runOperation(context(), adopt, {}, { name: 'ada' })) as AdoptReport;
  const system = (more: Partial<PlayedPod> = {}): PlayedPod => ({ namespace: 'dory-system', name: 'dory-orchestrator-1', uid: uid(8), labels: { app: 'dory-orchestrator' }, node: 'system-1', ...more });
  const old = (replicas: number, labels: Readonly<Record<string, string>> = { app: 'dory-orchestrator' }): unknown => ({ spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels } } } });
  const ours = { metadata: { annotations: { 'dory.io/settings': 'abc' } } };

  test.each<[string, (it: PlayedCluster) => void, unknown]>([
    ['nothing is there', () => undefined, null],
    ['its Deployment is to have pods, and has none yet', (it) => { it.deployment = old(2); }, { replicas: 2, pods: [] }],
    ['its Deployment is scaled to 0, and a pod is still ending', (it) => { it.deployment = old(0); put(it, system({ deletedAt: playedNow })); }, { replicas: 0, pods: ['dory-orchestrator-1'] }],
    ['its Deployment is gone, and a pod is left', (it) => { put(it, system()); }, { replicas: 0, pods: ['dory-orchestrator-1'] }],
    ['ours took its name, and its pod is still ending', (it) => { it.deployment = { spec: { selector: {}, template: ours } }; put(it, system({ deletedAt: playedNow })); }, { replicas: 0, pods: ['dory-orchestrator-1'] }],
    ['ours runs', (it) => { it.deployment = { spec: { selector: {}, template: ours } }; put(it, system(ours.metadata)); }, null],
    ['its pods bear other labels', (it) => { it.deployment = old(0, { 'app.kubernetes.io/name': 'dory' }); put(it, system({ labels: { 'app.kubernetes.io/name': 'dory' } })); }, { replicas: 0, pods: ['dory-orchestrator-1'] }],
    ['a pod of it was evicted days ago', (it) => { it.deployment = old(0); put(it, system({ phase: 'Failed' })); }, null],
  ])('whether it runs: %s', async (_what, make, expected) => {
    make(cluster);
    expect(await runningPredecessor(cluster.calls.client, place)).toEqual(expected);
    put(cluster, bare('c1'));
    if (expected === null) {
      await ask(adoptStart);
      expect(await step()).toMatchObject({ begun: 1, refused: false });
    } else {
      await expect(ask(adoptStart)).rejects.toMatchObject({ code: 'conflict' });
      await fleet.pool.query(`insert into dory.handovers (subject, towards, asked_by, reason) values ('fleet', 'ours', 'ada', 'before it was started again')`);
      expect(await step()).toMatchObject({ begun: 0, refused: true });
      expect(cluster.writes).toEqual([]);
    }
  });

  test('a pod that was to be deleted is not, once its processor is handed back; and is, when it is asked for again', async () => {
    put(cluster, bare('c1'), bare('c2'));
    await ask(adoptStart);
    // As a process leaves it that is killed between its rows and its requests.
    for (const end of ['c1', 'c2']) await fleet.pool.query(`insert into dory.adoptions (pod_uid, processor_id, namespace, pod) values ($1, $2, 'default', $3)`, [bare(end).uid, id(end), `camera-${end}`]);
    await ask(adoptBack, id('c1'));
    expect(await step()).toMatchObject({ open: 1 });
    expect(cluster.writes).toEqual(['DELETE camera-c2']);
    await ask(adoptStart, id('c1'));
    expect(await step()).toMatchObject({ open: 2, begun: 1 });
    expect(cluster.writes).toEqual(['DELETE camera-c2', 'DELETE camera-c1']);
  });

  test('a pod whose deletion was written down is left alone while the other system runs again', async () => {
    put(cluster, bare('c1'));
    await ask(adoptStart);
    await fleet.pool.query(`insert into dory.adoptions (pod_uid, processor_id, namespace, pod) values ($1, $2, 'default', 'camera-c1')`, [bare('c1').uid, id('c1')]);
    cluster.deployment = old(1);
    expect(await step()).toMatchObject({ open: 1 });
    expect(cluster.writes).toEqual([]);
  });

  test('one pod that the cluster refuses to delete holds up no other', async () => {
    put(cluster, bare('c1'), bare('c2'), bare('c3'));
    cluster.refuses = 'camera-c1';
    await ask(adoptStart);
    const { failed, open } = await step();
    expect(failed).not.toBeNull();
    expect(open).toBe(2);
    expect(cluster.writes).toEqual(['DELETE camera-c2', 'DELETE camera-c3']);
    expect(await step()).toMatchObject({ open: 3, begun: 0 });
    cluster.refuses = null;
    await step();
    expect(cluster.writes).toContain('DELETE camera-c1');
  });

  test('a pod on a node whose kubelet is silent waits, unless a person said that it has no power, and nothing beat there since', async () => {
    put(cluster, bare('c1'));
    cluster.nodes.set('edge-1', { ready: 'Unknown', taints: [] });
    await ask(adoptStart);
    expect(await step()).toMatchObject({ open: 0 });
    await fleet.pool.query(`insert into dory.power_offs (node_id, node_name, confirmed_by, reason) select id, name, 'ada', 'the fuse' from edge_nodes where name = 'edge-1'`);
    await fleet.beat('edge-1');
    expect(await step()).toMatchObject({ open: 0 });
    await fleet.age(1_000, 'edge-1');
    await fleet.pool.query('update dory.power_offs set confirmed_at = clock_timestamp()');
    expect(await step()).toMatchObject({ open: 1 });
    expect(cluster.writes).toEqual(['DELETE camera-c1 grace 0']);
  });

  test('what is taken is counted from rows that stay, and no more when it is handed back', async () => {
    put(cluster, bare('c1'), bare('c2'));
    await ask(adoptStart);
    await step();
    expect((await report()).counts).toMatchObject({ starting: 2 });
    await fleet.beat('edge-1', 'edge-2');
    await fleet.once();
    await step();
    expect(await beat({ processor_id: id('c1'), placement_epoch: 1 })).toBe('current');
    expect(await step()).toMatchObject({ taken: 1, open: 1 });
    expect(await step()).toMatchObject({ taken: 0, open: 1 });
    put(cluster, { ...bare('c2'), namespace: 'plant', name: 'camera-c2-e1-0', uid: uid(9), labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id('c2'), 'dory.io/epoch': '1' }, ready: true });
    expect(await step()).toMatchObject({ taken: 1, open: 0 });
    await fleet.pool.query('delete from dory.events');
    expect(await report()).toMatchObject({ taken: 2 });
    await ask(adoptBack, id('c1'));
    expect(await report()).toMatchObject({ taken: 1 });
    await fleet.pool.query(`update processors set status = 'terminated' where id = $1`, [id('c2')]);
    expect(await step()).toMatchObject({ open: 0, failed: null });
  });

  test('a processor whose row goes while it is between the two holds up nobody', async () => {
    put(cluster, bare('c1'));
    await ask(adoptStart);
    expect(await step()).toMatchObject({ open: 1, begun: 1 });
    await fleet.pool.query(`update processors set status = 'terminated' where id = $1`, [id('c1')]);
    expect(await step()).toMatchObject({ open: 0, taken: 0 });
    expect(await report()).toMatchObject({ taken: 0 });
  });

  test('what is handed back counts as stopped only on proof: not while its pod, or the sync that starts it, is still to come', async () => {
    await fleet.once();
    const ended = (replicas: number, revision: number): unknown => ({
      metadata: { name: 'camera-c1-e1', namespace: 'default', uid: uid(5), resourceVersion: '1', generation: 2, labels: { 'processor-id': id('c1'), 'dory.io/epoch': '1' }, annotations: { 'dory.io/epoch': '1', 'dory.io/revision': String(revision) } },
      spec: { replicas }, status: { observedGeneration: 2, replicas },
    });
    const stateOf = async (): Promise<string | undefined> => (await report()).items.find(({ processor }) => processor === id('c1'))?.state;
    await ask(adoptBack, id('c1'));
    // It is still to be told to stop, and no pod of it was ever started.
    expect(await stateOf()).toBe('stopping');
    // Somebody scaled it to 0; what is committed would put it up again.
    cluster.sets = [ended(0, 1)];
    expect(await stateOf()).toBe('stopping');
    cluster.sets = [];
    await fleet.beat('edge-1', 'edge-2');
    expect((await fleet.once()).planned.changes.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual(['stop handed-back']);
    expect(await stateOf()).toBe('stopping');
    cluster.sets = [ended(1, 1)];
    expect(await stateOf()).toBe('stopping');
    // Scaled to 0 by somebody: a sync of the commit that lay before puts it up again.
    cluster.sets = [ended(0, 1)];
    expect(await stateOf()).toBe('stopping');
    cluster.sets = [ended(0, 2)];
    expect(await stateOf()).toBe('stopped');
    put(cluster, { ...bare('c1'), name: 'camera-c1-e1-0', labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id('c1'), 'dory.io/epoch': '1' } });
    expect(await stateOf()).toBe('stopping');
  });
});

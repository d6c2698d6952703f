import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { CycleReport } from '../../src/cycle.ts';
import type { NodeName } from '../../src/model/ids.ts';
import { openClusterFleet, setKubelet, startOwnControlPlane, type ClusterFleet, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
/** A node that became ready a moment ago has to be silent for all of the threshold; a minute is long for a test. */
const flags = { 'heartbeats-interval': '2s', 'failover-stability-window': '0s', 'failover-heartbeat-stale': '10s', 'failover-heartbeat-gap': '5s', 'failover-intake-fresh': '9s' };
/** Far beyond it. */
const long = 90_000;

/** With `ssa` our own loop brings commits to the cluster; with `argocd` somebody does as Argo CD, whose manager applies and prunes. */
describe.skipIf(typeof programs === 'string').each(['ssa', 'argocd'] as const)('failover seen through on real pods, with our own rights: apply: %s', (apply) => {
  let server: OwnControlPlane;
  let fleet: ClusterFleet;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, apply, with: ['controllers', 'scheduler', 'nodes'], nodes: { 'pool-1': { 'workload-type': 'application' } } });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    fleet = await openClusterFleet(server, { apply, flags });
    await fleet.once();
    await fleet.sync();
    await fleet.podsAre(['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running']);
  });
  afterEach(() => fleet.close());

  const changesOf = ({ planned }: CycleReport): readonly string[] => planned.changes.map(({ kind, processorId, reason }) => `${kind} ${processorId.slice(-2)} ${reason}`);
  const verdictOf = ({ planned }: CycleReport, end: string) => planned.verdicts.find((node) => node.nodeId.endsWith(end));
  /** Cycles, while the other node beats, until one changes something. */
  const nextChanges = async (alsoBeats: readonly string[] = []): Promise<readonly string[]> => {
    let seen: readonly string[] = [];
    await until(async () => {
      await fleet.beat('edge-2', ...alsoBeats);
      seen = changesOf(await fleet.once());
      return seen.length > 0;
    }, 'a cycle changes something');
    return seen;
  };

  /** Whoever applies. */
  const once = test.runIf(apply === 'ssa');

  once('cut off from the cluster while its agents beat, a node is not taken for dead', async () => {
    await setKubelet(server, 'edge-1', false);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'unknown', 'Kubernetes missed its lease');
    await fleet.beat('edge-1', 'edge-2');
    expect(verdictOf(await fleet.once(), 'e1')?.verdict).toBe('detached');
  });

  test('both signals gone: moved in one commit, and home again in two', async () => {
    await setKubelet(server, 'edge-1', false);
    await until(() => fleet.cluster.freshest('edge-1' as NodeName)?.ready === 'unknown', 'Kubernetes missed its lease');
    await fleet.age(long, 'edge-1');
    expect(await nextChanges()).toEqual(['move c1 node-dead', 'move c2 node-dead']);
    await fleet.sync();
    // What the dead node had can't be deleted by a kubelet that is gone, and holds up nobody.
    await fleet.podsAre(['c1 1 edge-1 Terminating', 'c1 2 pool-1 Running', 'c2 1 edge-1 Terminating', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);

    await setKubelet(server, 'edge-1', true);
    await fleet.podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    expect(await nextChanges(['edge-1'])).toEqual(['stop c1 node-recovered', 'stop c2 node-recovered']);
    await fleet.sync();
    await fleet.podsAre(['c3 1 pool-1 Running']);
    const home = await nextChanges(['edge-1']);
    expect(home).toEqual(['move c1 node-recovered', 'move c2 node-recovered']);
    await fleet.sync();
    await fleet.podsAre(['c1 3 edge-1 Running', 'c2 3 edge-1 Running', 'c3 1 pool-1 Running']);
    await fleet.beat('edge-1', 'edge-2');
    expect(changesOf(await fleet.once())).toEqual([]);
    expect((await fleet.git('log', '--format=%s', 'main')).trim().split('\n')).toHaveLength(4);
  });

  test('silent, with a kubelet that answers: stopped first, and moved when its pods are gone', async () => {
    await fleet.age(long, 'edge-1');
    expect(await nextChanges()).toEqual(['stop c1 node-silent', 'stop c2 node-silent']);
    // Committed, and not yet in the cluster: the old pods run, so nothing starts elsewhere.
    await fleet.beat('edge-2');
    expect(changesOf(await fleet.once())).toEqual([]);
    await fleet.podsAre(['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running']);
    await fleet.sync();
    await fleet.podsAre(['c3 1 pool-1 Running']);
    const moved = [...(await nextChanges())];
    // One may be seen to be gone before the other.
    if (moved.length === 1) moved.push(...(await nextChanges()));
    expect(moved.sort()).toEqual(['move c1 node-silent', 'move c2 node-silent']);
    await fleet.sync();
    await fleet.podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
  });

  once('while the cluster gives no news, nothing moves', async () => {
    await server.stopServer();
    await fleet.age(long, 'edge-1');
    await until(async () => {
      await fleet.beat('edge-2');
      const report = await fleet.once();
      // While its last word, that the node is ready, is fresh, a stop may be asked for; too old, it says nothing any more.
      expect(changesOf(report).filter((change) => change.startsWith('move'))).toEqual([]);
      return verdictOf(report, 'e1')?.reason === 'kubernetes-unreachable';
    }, 'the silence of the cluster is noticed');
    await server.startServer();
  });
});

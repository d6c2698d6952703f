import { expect, it } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import type { Rows } from '../rows.ts';
import { inhabit } from '../simulation.ts';
import type { World } from '../world.ts';
import { dead, leaderOf, minute, play, second, stage, touched } from './stage.ts';

/** Sentences about the whole, each as a life of all its parts. That no rule is broken in it, and that all ends at rest, goes without saying. */

it('a leader that is stopped with SIGSTOP for 30 s and resumed writes nothing, and another one leads within 12 s', () => {
  const from = 2 * minute;
  const until = from + 30 * second;
  const seen: { stopped: string; before: number; commits: number; ledAt: number | null } = { stopped: '', before: 0, commits: 0, ledAt: null };
  const world = play(stage([dead('n1', from - 10 * second, 6 * minute)]), ({ kernel, instances, database, remote }) => {
    kernel.at(from, () => {
      seen.stopped = database.rows.leader.holder ?? '';
      seen.before = database.rows.leader.epoch;
      seen.commits = remote.commits.length;
      instances.get(seen.stopped.slice(0, 2))!.pause(false);
      const look = (): void => {
        if (database.rows.leader.epoch > seen.before) seen.ledAt = kernel.now;
        else kernel.after(100, look);
      };
      look();
    });
    kernel.at(until, () => instances.get(seen.stopped.slice(0, 2))!.resume());
  });
  expect(seen.ledAt! - from).toBeLessThan(12 * second);
  const after = world.checks.decided.filter(({ at }) => at > from);
  expect(after.filter(({ by, at }) => by === seen.stopped && at < until + minute)).toEqual([]);
  expect(world.remote.commits.slice(seen.commits).filter(({ by }) => by === seen.stopped)).toEqual([]);
  expect(touched(world, from)).toEqual(['p10', 'p11']);
});

it('whatever moment of a decision PostgreSQL is restarted at, it is taken once', () => {
  const from = 2 * minute;
  const placed = (world: World): unknown => [...world.database.rows.placements.values()].map(({ processorId, epoch, target }) => [processorId, epoch, target]);
  const undisturbed = play(stage([dead('n1', from, 5 * minute)]));
  const decidedAt = undisturbed.checks.decided.find(({ changes }) => changes.some(({ kind }) => kind === 'move'))!.at;
  for (let offset = -500; offset <= 1_000; offset += 100) {
    const at = decidedAt + offset;
    const world = play(stage([dead('n1', from, 5 * minute), { kind: 'database-down', at, until: at + 700 }]));
    expect(placed(world), `restarted ${String(offset)} ms after it`).toEqual(placed(undisturbed));
  }
});

it('an image that can\'t be pulled deletes nothing, and moves nothing again', () => {
  const from = 2 * minute;
  const world = play(stage([
    dead('n1', from, 9 * minute),
    { kind: 'image-missing', processor: 'p10', at: from, until: 8 * minute },
  ]), ({ kernel, database, checks, cluster }) => {
    kernel.at(8 * minute - second, () => {
      expect(database.rows.placements.get('p10')).toMatchObject({ epoch: 2, phase: 'active', target: { kind: 'managed' } });
      expect(checks.writersOf('p10')).toEqual([]);
      expect([...cluster.sets.keys()].filter((name) => name.startsWith('p10/'))).toEqual(['p10/2']);
    });
    kernel.at(9 * minute - second, () => { expect(checks.writersOf('p10').map(({ epoch, node }) => [epoch, node])).toEqual([[2, 'managed']]); });
  });
  const kinds = world.checks.decided.flatMap(({ changes }) => changes.filter(({ processorId }) => processorId === 'p10').map(({ kind }) => kind));
  expect(kinds).toEqual(['place', 'move', 'stop', 'move']);
});

it('a site that comes back keeps all that is its own, and the other site is never touched', () => {
  const from = 2 * minute;
  const world = play(stage([dead('n1', from, 6 * minute), dead('n2', from, 6 * minute)]));
  expect(touched(world, from)).toEqual(['p10', 'p11', 'p20', 'p21']);
  const kinds = new Set(world.checks.decided.flatMap(({ changes }) => changes.map(({ kind }) => kind)));
  expect([...kinds].sort()).toEqual(['move', 'place', 'stop']);
  expect([...world.cluster.sets.values()].map(({ processor, node, replicas }) => `${processor} ${node} ${String(replicas)}`).sort())
    .toEqual(['p10 n1 1', 'p11 n1 1', 'p20 n2 1', 'p21 n2 1', 'p30 n3 1', 'p31 n3 1', 'p40 n4 1', 'p41 n4 1']);
});

it.each([true, false])('all heartbeats lost moves nothing (with a view of the cluster: %s)', (watched) => {
  const from = 2 * minute;
  const links = ['n1', 'n2', 'n3', 'n4'].map((node) => `${node}-dory`);
  const world = play(stage([{ kind: 'cut', at: from, until: 5 * minute, links }], { watched }));
  expect(touched(world, from)).toEqual([]);
});

it('a Git host that is down while a node dies stops no writer that lives', () => {
  const from = 2 * minute;
  const world = play(stage([
    { kind: 'git-down', at: from, until: 6 * minute },
    dead('n1', from, 8 * minute),
    { kind: 'rehome', at: from + second, processor: 'p30', home: 'n4' },
  ]), ({ kernel, checks }) => {
    kernel.at(6 * minute - second, () => { expect(checks.writersOf('p30').map(({ node }) => node)).toEqual(['n3']); });
  });
  expect(world.database.rows.placements.get('p30')).toMatchObject({ epoch: 2, target: { nodeName: 'n4' } });
});

it('a link that comes and goes for four hours costs some moves, and ever fewer', () => {
  const hours = 4 * 60 * minute;
  const faults = Array.from({ length: hours / (4 * minute) }, (_, i) => dead('n1', 2 * minute + i * 4 * minute, 4 * minute + i * 4 * minute));
  const { policy } = stage([]);
  const slow = { ...policy, longestWindow: millis(policy.stabilityWindow * 64), flapMemory: millis(policy.flapMemory * 100) };
  const world = play(stage(faults, { policy: slow, calmAt: hours + 5 * minute, endAt: hours + 40 * minute }));
  const failovers = world.checks.decided.filter(({ at }) => at < hours).flatMap(({ changes }) => changes.filter(({ processorId, kind, reason }) => processorId === 'p10' && kind === 'move' && reason !== 'node-recovered'));
  expect(failovers.length).toBeGreaterThan(0);
  expect(failovers.length).toBeLessThan(faults.length / 10);
});

it('a database restored from yesterday decides nothing until its epochs are repaired, and nothing runs twice', () => {
  const restoredAt = 5 * minute;
  const repairedAt = 7 * minute;
  let yesterday: Rows | null = null;
  const world = play(stage([dead('n1', 2 * minute, 9 * minute)]), ({ kernel, database, checks, remote }) => {
    kernel.at(minute, () => { yesterday = structuredClone(database.rows); });
    kernel.at(restoredAt, () => {
      expect(remote.head!.revision).toBeGreaterThan(yesterday!.revision);
      database.rows = yesterday!;
      checks.restored();
    });
    kernel.at(repairedAt, () => {
      expect(checks.decided.filter(({ at }) => at >= restoredAt)).toEqual([]);
      repairEpochs(database.rows, remote.head!);
    });
  });
  expect(world.database.rows.placements.get('p10')!.epoch).toBeGreaterThan(2);
  expect(leaderOf(world)).not.toBe('');
});

/** Away from home, stopped to go home, taken back while the cluster gave no news, and stopped again before the GitOps tool was done with the second commit. */
const stuckSync = stage([
  dead('n1', 2 * minute, 4 * minute),
  { kind: 'cut', at: 282 * second, until: 330 * second, links: ['n1-dory', 'n1-api', 'i1-api', 'i2-api', 'i3-api'] },
  { kind: 'gitops-down', at: 301 * second, until: 400 * second },
], { gitopsMs: 12 * second, processors: [{ name: 'p10', home: 'n1', agent: 'deaf', shutdownTimeoutSec: 10 }] });

it('a stop that was taken back and given again is not proved by what the first one left', () => {
  const world = play(stuckSync);
  const kinds = world.checks.decided.flatMap(({ changes }) => changes.map(({ kind }) => kind));
  expect(kinds).toEqual(['place', 'move', 'stop', 'resume', 'stop', 'move']);
  expect(inhabit(stuckSync, 'scaled-by-any-revision').checks.violation?.code).toBe('two-writers');
});

/** Without power, as a person says; on again while the GitOps tool stands still, so that what left it is wanted there for some time. */
const darkNode = stage([
  { kind: 'node-crash', node: 'n1', at: 2 * minute, until: 4 * minute },
  { kind: 'power-off-said', node: 'n1', at: 3 * minute, afterMs: 200 },
  { kind: 'gitops-down', at: 3 * minute, until: 255 * second },
], {
  cutover: { bare: [] }, policy: { ...stage([]).policy, processors: { ...stage([]).policy.processors, unfenced: 'hold' } },
  processors: ['p10', 'p11', 'p12', 'p13', 'p14', 'p15'].map((name) => ({ name, home: 'n1', agent: 'deaf', shutdownTimeoutSec: 60 })),
});

it('a node that was said to have no power stays out of service until nothing that left it is wanted there', () => {
  const seen: { readonly outOfService: boolean; readonly moved: boolean }[] = [];
  const world = play(darkNode, ({ kernel, cluster, database }) => {
    for (const at of [200 * second, 250 * second, 8 * minute]) {
      kernel.at(at, () => { seen.push({ outOfService: cluster.nodes.get('n1')!.outOfService, moved: (database.rows.placements.get('p10')?.epoch ?? 0) > 1 }); });
    }
  });
  expect(seen).toEqual([{ outOfService: true, moved: true }, { outOfService: true, moved: true }, { outOfService: false, moved: true }]);
  const moves = world.checks.decided.flatMap(({ changes }) => changes).filter(({ kind, before }) => kind === 'move' && before?.epoch === 1);
  expect(moves.map(({ evidence }) => evidence['fence'])).toEqual(Array.from({ length: 6 }, () => 'fence-confirmed'));
  expect(inhabit(darkNode, 'power-off-ends-at-once').checks.violation?.code).toBe('two-writers');
});

/** What `dory repair epochs` does: what Git shows is what runs. */
function repairEpochs(rows: Rows, head: NonNullable<World['head']>): void {
  rows.placements.clear();
  for (const [name, placement] of head.tree) rows.placements.set(name, placement);
  const [some] = head.tree.values();
  for (let id = rows.revision + 1; id <= head.revision; id += 1) {
    rows.revisions.push({ id, decidedAt: some!.since, leaderEpoch: rows.leader.epoch, changes: [], committedAt: some!.since });
  }
  rows.revision = head.revision;
}

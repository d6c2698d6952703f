import { expect, test } from 'vitest';
import type { AgentSignals, Snapshot } from '../../../src/model/snapshot.ts';
import { plan } from '../../../src/plan/plan.ts';
import { World } from '../../support/world.ts';

/** What is left to single tests: each holds one condition that no scenario shows. */
function world(): World {
  const made = new World();
  made.addNode('edge-1');
  made.addNode('edge-2');
  made.addProcessor('p', { home: 'edge-1' });
  made.beat();
  return made;
}

function decided(snapshot: Snapshot): readonly string[] {
  const { changes, holds } = plan(snapshot);
  const changed = changes.map(({ kind, reason, after }) => `${kind} ${reason} ${after?.target.kind === 'edge' ? after.target.nodeName : 'managed'}`);
  return [...changed, ...holds.map(({ reason }) => `held ${reason}`)];
}

function placed(): World {
  const made = world();
  made.apply(plan(made.snapshot()));
  made.beat();
  return made;
}

/** Told to stop on a node that is lost since; `published`: and so was told to it, and it had beaten. */
function stoppingOnLost(made: World, published: boolean, more: Partial<AgentSignals> = {}): Snapshot {
  const snapshot = made.snapshot();
  const nodes = snapshot.nodes.map((node) => (node.nodeId === 'edge-1' ? { ...node, recorded: { verdict: 'lost', since: (snapshot.at - 70_000) as never, flaps: 1 } as const, heartbeat: { known: true, value: null, at: (snapshot.at - 130_000) as never } as const } : node));
  const placements = snapshot.placements.map((placement) => ({ ...placement, phase: 'stopping' as const, reason: 'node-silent' as const, since: (snapshot.at - 100_000) as never }));
  const agents = placements.map(({ processorId, epoch }): AgentSignals => ({
    processorId, epoch, leaseUntil: null, acknowledgedAt: null, confirmed: null, pods: { known: false, because: 'not-configured' },
    lastBeatAt: (snapshot.at - 130_000) as never, publishedAt: published ? ((snapshot.at - 20_000) as never) : null, ...more,
  }));
  return { ...snapshot, nodes, placements, agents };
}

test('a stop that nobody can have heard, on a node that is lost since, is none: it leaves as from any lost node', () => {
  expect(decided(stoppingOnLost(placed(), false))).toEqual(['move heartbeat-stale managed']);
  expect(decided(stoppingOnLost(placed(), true, { lastBeatAt: null }))).toEqual(['move heartbeat-stale managed']);
});

test('one that was heard has to be proved', () => {
  expect(decided(stoppingOnLost(placed(), true))).toEqual(['held waiting-for-fence']);
});

test('what is told to stop on a lost node, with nowhere to go, is not started there again, nor elsewhere', () => {
  const made = placed();
  made.policies.set('processor/p', { targets: [] });
  expect(decided(stoppingOnLost(made, true))).toEqual(['held no-eligible-target']);
  expect(decided(stoppingOnLost(made, true, { acknowledgedAt: made.now }))).toEqual(['held no-eligible-target']);
});

test('nothing is placed on a node that is decommissioned, though nothing else takes it', () => {
  const made = world();
  made.node('edge-1').decommissioned = true;
  made.policies.set('processor/p', { targets: [] });
  expect(decided(made.snapshot())).toEqual(['held no-eligible-target']);
});

test('a new home is an order: no policy for the way back holds it', () => {
  const made = placed();
  made.policies.set('processor/p', { failback: 'manual' });
  made.processors.get('p')!.home = 'edge-2';
  expect(decided(made.snapshot())).toEqual(['stop home-changed edge-1']);
});

test('a node that has another name keeps what it has, under that name', () => {
  const snapshot = placed().snapshot();
  const nodes = snapshot.fleet.nodes.map((node) => (node.id === 'edge-1' ? { ...node, name: 'yard-1' as never } : node));
  expect(decided({ ...snapshot, fleet: { ...snapshot.fleet, nodes } })).toEqual(['update spec-changed yard-1']);
});

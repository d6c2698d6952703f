import { describe, expect, test } from 'vitest';
import { spending, type Spending } from '../../../src/model/budget.ts';
import { byText, type OrganizationId, type ProcessorId } from '../../../src/model/ids.ts';
import type { Change, ChangeKind } from '../../../src/model/plan.ts';
import type { ReasonCode } from '../../../src/model/reasons.ts';
import type { Placement } from '../../../src/model/placement.ts';
import type { GuardPolicy, GuardState, RecordedGuard, Snapshot } from '../../../src/model/snapshot.ts';
import { instant, millis } from '../../../src/model/time.ts';
import { allowedOf } from '../../../src/plan/budget.ts';
import { overRate, tokensAt } from '../../../src/plan/bucket.ts';
import { guardOf, siteOf } from '../../../src/plan/guard.ts';
import { plan } from '../../../src/plan/plan.ts';
import { trustsSignals } from '../../../src/plan/restraint.ts';
import { indexWorld } from '../../../src/plan/world.ts';
import { testPolicy } from '../../support/policy.ts';
import { World } from '../../support/world.ts';

/** So many nodes of a site, each with a processor; the first ones failed, and were judged so, `ago` ms before now. */
interface Site {
  readonly nodes: number;
  readonly failed: number;
  readonly ago?: number;
}

function worldOf(sites: Readonly<Record<string, Site>>, guard: Partial<GuardPolicy> = {}): World {
  const world = new World({ ...testPolicy, guard: { ...testPolicy.guard, ...guard } });
  for (const [site, { nodes }] of Object.entries(sites)) {
    for (let i = 0; i < nodes; i += 1) {
      const name = `${site}-${String(i).padStart(3, '0')}`;
      world.addNode(name, { site });
      world.addProcessor(`on-${name}`, { home: name });
    }
  }
  world.beat();
  world.apply(plan(world.snapshot()));
  world.advance(3_600_000);
  for (const [site, { nodes, failed, ago = 0 }] of Object.entries(sites)) {
    for (let i = 0; i < nodes; i += 1) {
      const name = `${site}-${String(i).padStart(3, '0')}`;
      const down = i < failed;
      silent(world, name, down ? 120_000 + ago : 1_000);
      world.node(name).recorded = { verdict: down ? 'lost' : 'healthy', since: instant(world.now - (down ? ago : 600_000)), flaps: 0 };
    }
  }
  return world;
}

/** Its last beat, and that of what runs there, was so long ago. */
function silent(world: World, name: string, ms: number): void {
  world.node(name).lastBeat = instant(world.now - ms);
  world.agent(`on-${name}`).lastBeatAt = instant(world.now - ms);
}

const wordOn = (world: World) => guardOf(indexWorld(world.snapshot()));
const stateOf = (world: World): GuardState => wordOn(world).state;
const recorded = ({ now }: World, state: GuardState, agoMs: number, leftPanicAgoMs: number | null = null): RecordedGuard => ({
  state, since: instant(now - agoMs), leftPanicAt: leftPanicAgoMs === null ? null : instant(now - leftPanicAgoMs),
});

describe('the state of the fleet guard', () => {
  test.each<[string, Record<string, Site>, GuardState]>([
    ['nothing', { a: { nodes: 10, failed: 0 } }, 'calm'],
    ['all of two nodes', { a: { nodes: 2, failed: 2 } }, 'calm'],
    ['two of three', { a: { nodes: 3, failed: 2 } }, 'calm'],
    ['all of three', { a: { nodes: 3, failed: 3 } }, 'panic'],
    ['just under a tenth', { a: { nodes: 31, failed: 3 } }, 'calm'],
    ['a tenth', { a: { nodes: 30, failed: 3 } }, 'degraded'],
    ['just under a third', { a: { nodes: 100, failed: 32 } }, 'degraded'],
    ['a third', { a: { nodes: 100, failed: 33 } }, 'panic'],
    ['a tenth at the very beginning of the window', { a: { nodes: 30, failed: 3, ago: 300_000 } }, 'degraded'],
    ['a tenth just before it', { a: { nodes: 30, failed: 3, ago: 300_001 } }, 'calm'],
    ['one site of two', { a: { nodes: 5, failed: 5 }, b: { nodes: 5, failed: 0 } }, 'site-out'],
    ['two thirds of one site', { a: { nodes: 6, failed: 4 }, b: { nodes: 6, failed: 0 } }, 'site-out'],
    ['less than two thirds of one site', { a: { nodes: 6, failed: 3 }, b: { nodes: 6, failed: 0 } }, 'degraded'],
    ['a site that is more than half of the fleet', { a: { nodes: 6, failed: 6 }, b: { nodes: 5, failed: 0 } }, 'panic'],
    ['the only site', { a: { nodes: 9, failed: 9 } }, 'panic'],
    ['two sites of four', { a: { nodes: 5, failed: 5 }, b: { nodes: 5, failed: 5 }, c: { nodes: 5, failed: 0 }, d: { nodes: 5, failed: 0 } }, 'panic'],
    ['two sites of a large fleet', { a: { nodes: 5, failed: 5 }, b: { nodes: 5, failed: 5 }, c: { nodes: 40, failed: 0 } }, 'degraded'],
    ['one site, and a node of another', { a: { nodes: 5, failed: 5 }, b: { nodes: 1, failed: 1 }, c: { nodes: 5, failed: 0 } }, 'site-out'],
    ['one site, and many of another', { a: { nodes: 10, failed: 10 }, b: { nodes: 20, failed: 9 } }, 'degraded'],
    ['one site, and a third of the fleet besides', { a: { nodes: 10, failed: 10 }, b: { nodes: 20, failed: 10 } }, 'panic'],
    ['sites too small to be out', { a: { nodes: 2, failed: 2 }, b: { nodes: 2, failed: 2 }, c: { nodes: 8, failed: 0 } }, 'panic'],
  ])('where %s failed', (_, sites, state) => {
    expect(stateOf(worldOf(sites))).toBe(state);
  });

  test('does not count nodes that are locked, decommissioned, or were never judged', () => {
    const world = worldOf({ a: { nodes: 6, failed: 3 } });
    world.lock('node', 'a-000', 60_000);
    expect(stateOf(world)).toBe('calm');
    world.unlock('a-000');
    expect(stateOf(world)).toBe('panic');
    world.node('a-001').decommissioned = true;
    expect(stateOf(world)).toBe('calm');
    const young = worldOf({ a: { nodes: 9, failed: 3 } });
    for (let i = 0; i < 90; i += 1) young.addNode(`new-${String(i)}`);
    expect(stateOf(young), 'a third of those that say anything').toBe('panic');
  });

  test('keeps since while it is the same, and what failed before the end of the last panic is no news', () => {
    const world = worldOf({ a: { nodes: 30, failed: 3, ago: 10_000 } });
    world.guard = recorded(world, 'degraded', 5_000);
    expect(wordOn(world)).toMatchObject({ state: 'degraded', since: world.now - 5_000 });
    world.guard = recorded(world, 'calm', 10_000, 10_000);
    expect(wordOn(world)).toMatchObject({ state: 'calm', since: world.now - 10_000, leftPanicAt: world.now - 10_000 });
    world.guard = recorded(world, 'calm', 10_001, 10_001);
    expect(wordOn(world)).toMatchObject({ state: 'degraded', since: world.now, leftPanicAt: world.now - 10_001 });
  });

  test('stays degraded as long as more wait on what failed than may go at once', () => {
    const world = worldOf({ a: { nodes: 30, failed: 3, ago: 400_000 } }, { burst: 2, ratePerSecond: 1 });
    world.guard = recorded(world, 'degraded', 390_000);
    const withWaiting = (count: number): Snapshot => ({
      ...world.snapshot(),
      placements: Array.from({ length: count }, (_, i) => ({
        processorId: `p-${String(i)}` as ProcessorId, epoch: 1, target: { kind: 'edge', nodeId: 'a-000' }, phase: 'active', reason: 'first-placement', since: instant(0),
      }) as unknown as Placement),
    });
    expect(guardOf(indexWorld(withWaiting(3))).state).toBe('degraded');
    expect(guardOf(indexWorld(withWaiting(2))).state).toBe('calm');
  });
});

describe('a panic', () => {
  test.each<[string, Record<string, Site>, GuardState]>([
    ['a tenth is down', { a: { nodes: 30, failed: 3, ago: 900_000 } }, 'panic'],
    ['less than a tenth is down', { a: { nodes: 31, failed: 3, ago: 900_000 } }, 'calm'],
    ['two nodes are down', { a: { nodes: 6, failed: 2, ago: 900_000 } }, 'calm'],
    ['one site is down', { a: { nodes: 5, failed: 5, ago: 900_000 }, b: { nodes: 5, failed: 0 } }, 'calm'],
    ['what is down was so long before it began', { a: { nodes: 6, failed: 6, ago: 1_300_001 } }, 'calm'],
  ])('of a quarter of an hour, where still %s', (_, sites, state) => {
    const world = worldOf(sites);
    world.guard = recorded(world, 'panic', 1_000_000);
    expect(stateOf(world)).toBe(state);
  });

  test('does not end while nobody can hear beats', () => {
    const world = worldOf({ a: { nodes: 6, failed: 0 } });
    world.guard = recorded(world, 'panic', 60_000);
    world.coveredSince = null;
    expect(stateOf(world)).toBe('panic');
  });

  test('does not end when receivers are up again, but when beats come in', () => {
    const world = worldOf({ a: { nodes: 6, failed: 0 } });
    world.guard = recorded(world, 'panic', 10_000);
    for (const name of world.nodes.keys()) silent(world, name, 30_000);
    world.coveredSince = instant(world.now - 1_000);
    expect(stateOf(world)).toBe('panic');
    for (const name of ['a-000', 'a-001', 'a-002']) silent(world, name, 0);
    expect(wordOn(world)).toMatchObject({ state: 'calm', since: world.now, leftPanicAt: world.now });
  });

  test('that ended by an approval does not begin again for the same late nodes', () => {
    const world = worldOf({ a: { nodes: 10, failed: 0 } });
    for (const name of ['a-000', 'a-001', 'a-002', 'a-003', 'a-004', 'a-005']) silent(world, name, 25_000);
    world.guard = recorded(world, 'panic', 5_000);
    world.approvals.set('guard', { subject: 'guard', by: 'ann', at: world.now, covers: [] });
    expect([stateOf(world), stateOf(Object.assign(world, { guard: recorded(world, 'calm', 0, 0) }))]).toEqual(['calm', 'calm']);
    // Those that were in time when it was answered, and are late by now, are another matter.
    world.approvals.set('guard', { subject: 'guard', by: 'ann', at: instant(world.now - 4_000), covers: [] });
    for (const name of ['a-006', 'a-007', 'a-008', 'a-009']) silent(world, name, 21_000);
    expect(wordOn(world)).toMatchObject({ state: 'panic', evidence: { late: 4, nodes: 4 } });
  });

  test('is answered for what had failed when it was approved, and not for what failed later', () => {
    const world = worldOf({ a: { nodes: 9, failed: 6, ago: 60_000 } });
    world.guard = recorded(world, 'panic', 60_000);
    const approvedAgo = (ms: number) => world.approvals.set('guard', { subject: 'guard', by: 'ann', at: instant(world.now - ms), covers: [] });
    approvedAgo(60_000);
    expect(stateOf(world)).toBe('calm');
    approvedAgo(60_001);
    expect(stateOf(world)).toBe('panic');
  });
});

describe('intake', () => {
  /** Of ten healthy nodes so many beat last `ms` ago. */
  function late(count: number, ms: number): World {
    const world = worldOf({ a: { nodes: 10, failed: 0 } });
    for (let i = 0; i < count; i += 1) silent(world, `a-00${String(i)}`, ms);
    return world;
  }

  test.each<[number, number, GuardState]>([[6, 20_001, 'panic'], [6, 20_000, 'calm'], [5, 59_000, 'calm'], [10, 20_001, 'panic']])(
    'where %i of ten are silent for %i ms: %s',
    (count, ms, state) => { expect(stateOf(late(count, ms))).toBe(state); },
  );

  test('has not fallen if it was not there, or only begins', () => {
    const world = late(10, 30_000);
    world.coveredSince = instant(world.now - 20_000);
    expect(stateOf(world)).toBe('calm');
    world.coveredSince = null;
    expect(stateOf(world)).toBe('calm');
  });

  test('has not fallen because nodes fall silent on which nothing runs any more; that such a node beats proves that it has not', () => {
    const world = late(8, 30_000);
    for (let i = 0; i < 6; i += 1) world.placements.delete(`on-a-00${String(i)}`);
    expect(stateOf(world), 'two of four in use are late').toBe('calm');
    const beacons = late(6, 30_000);
    expect(stateOf(beacons)).toBe('panic');
    for (const name of ['idle-1', 'idle-2']) {
      beacons.addNode(name);
      Object.assign(beacons.node(name), { lastBeat: beacons.now, recorded: { verdict: 'healthy', since: beacons.now, flaps: 0 } });
    }
    expect(stateOf(beacons), 'six are late, and six in time').toBe('calm');
  });

  test('has not fallen because nodes are silent that are well by the word of the cluster, and whose agents only start', () => {
    const world = worldOf({ a: { nodes: 10, failed: 0 } });
    world.cluster = 'up';
    for (const [name, placement] of world.placements) {
      world.node(name.slice('on-'.length)).lastBeat = instant(world.now - 61_000);
      world.agent(name).lastBeatAt = null;
      world.placements.set(name, { ...placement, since: instant(world.now - 30_000) });
    }
    expect(wordOn(world)).toMatchObject({ state: 'calm', evidence: { failed: 0, nodes: 10 } });
    world.cluster = 'down';
    expect(stateOf(world)).toBe('panic');
  });

  test('has not fallen where fewer are late than make a pattern', () => {
    const world = worldOf({ a: { nodes: 2, failed: 0 } });
    for (const name of world.nodes.keys()) silent(world, name, 30_000);
    expect(stateOf(world)).toBe('calm');
  });
});

test('a site is what the cluster says, else the column, else the organisation', () => {
  const of = (site: string | null, organizationId: string | null, label: string | null): string =>
    siteOf({ node: { site, organizationId: organizationId as OrganizationId | null } } as Parameters<typeof siteOf>[0], label);
  expect([of('rack-7', 'org', 'zone-1'), of('rack-7', 'org', null), of(null, 'org', null), of(null, null, null)]).toEqual(['zone-1', 'rack-7', 'org', 'default']);
});

describe('the bucket of failovers', () => {
  const from = instant(1_000_000);
  const guard: GuardPolicy = { ...testPolicy.guard, burst: 10, ratePerSecond: 2 };
  const tokens = (afterMs: number, placements: readonly Partial<Placement>[]): number =>
    tokensAt({ at: instant(from + afterMs), placements: placements as readonly Placement[], policy: { ...testPolicy, guard } }, from);
  const failovers = (...moments: readonly number[]): Partial<Placement>[] => moments.map((ms) => ({ since: instant(from + ms), reason: 'heartbeat-stale' }));

  test.each<[string, number, number[], number]>([
    ['is full at first', 0, [], 10],
    ['holds no more than a burst', 3_600_000, [], 10],
    ['gives one for each failover', 0, [0, 0, 0], 7],
    ['is refilled', 1_000, [0, 0, 0], 9],
    ['knows of nothing before it was filled', 0, [-1], 10],
    ['is owed nothing for what an approval let go', 500, Array.from({ length: 50 }, () => 0), 1],
    ['does not save what ran over', 10_000, [9_000, 9_000], 10],
    ['takes failovers in any order', 2_000, [2_000, 0, 1_000], 9],
  ])('%s', (_, afterMs, taken, level) => {
    expect(tokens(afterMs, failovers(...taken))).toBe(level);
  });

  test('leaves alone what moved for other reasons', () => {
    expect(tokens(0, [{ since: from, reason: 'home-changed' }, { since: from, reason: 'first-placement' }, { since: from, reason: 'node-dead' }])).toBe(9);
  });
});

describe('a change trusts what nodes say', () => {
  const change = (kind: ChangeKind, reason: ReasonCode, phase: Placement['phase'] | null, fence?: ReasonCode): Change =>
    ({ kind, reason, before: phase === null ? null : { phase }, evidence: fence === undefined ? {} : { fence } }) as unknown as Change;

  test.each<[string, Change, boolean]>([
    ['a move off a dead node', change('move', 'heartbeat-stale', 'active'), true],
    ['a move off a dead node whose lease is over', change('move', 'node-dead', 'active', 'fence-lease-over'), true],
    ['a stop on a silent node', change('stop', 'node-silent', 'active'), true],
    ['a way home', change('stop', 'node-recovered', 'active'), true],
    ['a first placement away from a home that failed', change('place', 'heartbeat-stale', null), true],
    ['whatever was fenced by silence', change('move', 'home-changed', 'stopping', 'fence-silent'), true],
    ['what was proved to have stopped', change('move', 'node-silent', 'stopping', 'fence-pods-gone'), false],
    ['a first placement at home', change('place', 'first-placement', null), false],
    ['an order to empty a node', change('stop', 'node-decommissioned', 'active'), false],
    ['another home', change('stop', 'home-changed', 'active'), false],
    ['a stop that is taken back', change('resume', 'move-cancelled', 'stopping'), false],
    ['a release', change('update', 'spec-changed', 'active'), false],
    ['a removal', change('remove', 'row-removed', 'active'), false],
  ])('%s: %#', (_, each, trusts) => {
    expect(trustsSignals(each)).toBe(trusts);
  });
});

describe('while the fleet is degraded', () => {
  const guard: GuardPolicy = { ...testPolicy.guard, burst: 1, ratePerSecond: 2 };
  const world = new World({ ...testPolicy, guard });
  const verdict = { state: 'degraded', since: world.now, leftPanicAt: null, reason: 'guard-degraded', evidence: {} } as const;
  const leaving = (id: string, phase: Placement['phase'], reason: ReasonCode = 'node-silent'): Change =>
    ({ kind: phase === 'active' ? 'stop' : 'move', processorId: id, before: { phase }, reason, evidence: {} }) as unknown as Change;
  const byId = (a: Change, b: Change): number => byText(a.processorId, b.processorId);
  const restrained = (...changes: readonly Change[]) => overRate({ world: indexWorld(world.snapshot()), guard: verdict, specs: new Map() }, changes, byId);

  test('what is stopping has paid when it was stopped, and what people ordered pays nothing', () => {
    const waiting = restrained(leaving('a', 'stopping'), leaving('b', 'active', 'home-changed'), leaving('c', 'active'), leaving('d', 'active'));
    expect([...waiting.keys()]).toEqual(['d']);
  });

  test.each([[1, 500], [4, 2_000], [10, 5_000], [1_000, 5_000]])('those who wait go together: %i of them in %i ms', (count, ms) => {
    const burst = { ...guard, burst: 100 };
    const crowded = new World({ ...testPolicy, guard: burst });
    const scene = { world: indexWorld(crowded.snapshot()), guard: verdict, specs: new Map() };
    const waiting = overRate(scene, Array.from({ length: 100 + count }, (_, i) => leaving(String(i).padStart(4, '0'), 'active')), byId);
    expect([waiting.size, waiting.get('0100' as ProcessorId)?.wakeAt]).toEqual([count, crowded.now + ms]);
  });
});

describe('the change budget', () => {
  const fleet = (...perNode: readonly number[]): readonly Placement[] =>
    perNode.flatMap((count, node) => Array.from({ length: count }, () => ({ target: { kind: 'edge', nodeId: `n-${String(node)}` } }) as unknown as Placement));

  test.each<[string, readonly Placement[], number]>([
    ['the floor', fleet(1, 2, 3), 25],
    ['the largest node', fleet(10, 40, 10), 40],
    ['a tenth', fleet(...Array.from({ length: 509 }, () => 1)), 50],
    ['the floor, of an empty fleet', [], 25],
  ])('allows %s', (_, placements, allowed) => {
    expect(allowedOf({ placements, policy: testPolicy })).toBe(allowed);
  });

  test.each<[ChangeKind, ReasonCode, Placement['phase'] | null, Spending]>([
    ['place', 'first-placement', null, null], ['resume', 'move-cancelled', 'stopping', null],
    ['update', 'spec-changed', 'active', 'gradual'], ['stop', 'node-recovered', 'active', 'gradual'],
    ['remove', 'row-removed', 'active', 'at-once'], ['remove', 'row-removed', 'stopping', 'at-once'],
    ['stop', 'home-changed', 'active', 'at-once'], ['stop', 'node-decommissioned', 'active', 'at-once'],
    ['stop', 'node-silent', 'active', null], ['move', 'heartbeat-stale', 'active', null], ['move', 'home-changed', 'stopping', null],
  ])('%s, %s, from %s: %s', (kind, reason, phase, expected) => {
    expect(spending({ kind, reason, before: phase === null ? null : ({ phase } as Placement) })).toBe(expected);
  });

  test('is not made larger by the managed pool, which is no node', () => {
    const placements = Array.from({ length: 100 }, () => ({ target: { kind: 'managed' } }) as Placement);
    expect(allowedOf({ placements, policy: { ...testPolicy, budget: { window: millis(1), share: 0.1, floor: 3 } } })).toBe(10);
  });
});

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { spending } from '../../src/model/budget.ts';
import type { Change, Hold, Plan } from '../../src/model/plan.ts';
import { failureReasons } from '../../src/model/reasons.ts';
import type { Policy, Snapshot } from '../../src/model/snapshot.ts';
import { seconds } from '../../src/model/time.ts';
import { plan } from '../../src/plan/plan.ts';
import { testPolicy } from '../support/policy.ts';
import { World } from '../support/world.ts';

/** Twelve nodes at three sites, two processors each and three in the pool: small enough to shrink, large enough for every state of the guard. */
const sites = ['a', 'b', 'c'];
const nodeNames = sites.flatMap((site) => [1, 2, 3, 4].map((n) => `${site}-${String(n)}`));
const homes = [...nodeNames, ...nodeNames, 'managed', 'managed', 'managed'];
const processorNames = homes.map((_, i) => `p-${String(i).padStart(2, '0')}`);

const policy: Policy = {
  ...testPolicy,
  guard: { ...testPolicy.guard, burst: 2, ratePerSecond: 1 },
  budget: { ...testPolicy.budget, floor: 2 },
};

type Happening =
  | { kind: 'wait'; ms: number }
  | { kind: 'silence' | 'revive'; nodes: number[] }
  | { kind: 'site'; site: number; up: boolean }
  | { kind: 'all'; up: boolean }
  | { kind: 'intake'; up: boolean }
  | { kind: 'pause'; on: boolean }
  | { kind: 'lock' | 'unlock'; what: number }
  | { kind: 'approve'; subject: 'guard' | 'budget' }
  | { kind: 'remove' | 'release' | 'rehome' | 'stopped'; processors: number[] };

const some = (names: readonly string[]): fc.Arbitrary<number[]> => fc.uniqueArray(fc.nat(names.length - 1), { minLength: 1, maxLength: 6 });
const happenings: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 7, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 500, 1_000, 5_000, 19_000, 21_000, 40_000, 60_000, 61_000, 299_000, 301_000) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('silence' as const, 'revive' as const), nodes: some(nodeNames) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('site' as const), site: fc.nat(2), up: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('all' as const, 'intake' as const), up: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pause' as const), on: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('lock' as const, 'unlock' as const), what: fc.nat(nodeNames.length + processorNames.length) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('approve' as const), subject: fc.constantFrom('guard' as const, 'budget' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('remove' as const, 'release' as const, 'rehome' as const, 'stopped' as const), processors: some(processorNames) }) },
);
const stories = fc.array(happenings, { minLength: 1, maxLength: 40 });

function build(): World {
  const world = new World(policy);
  for (const name of nodeNames) world.addNode(name, { site: name.charAt(0) });
  processorNames.forEach((name, i) => { world.addProcessor(name, { home: homes[i]! }); });
  world.beat();
  world.apply(plan(world.snapshot()));
  return world;
}

function happen(world: World, event: Happening, holds: readonly Hold[]): void {
  if ('processors' in event) { for (const i of event.processors) toProcessor(world, event.kind, processorNames[i]!); return; }
  switch (event.kind) {
    case 'wait': world.advance(event.ms); return;
    case 'silence': case 'revive': for (const i of event.nodes) world.node(nodeNames[i]!).beating = event.kind === 'revive'; return;
    case 'site': for (const name of nodeNames) if (name.startsWith(sites[event.site]!)) world.node(name).beating = event.up; return;
    case 'all': for (const node of world.nodes.values()) node.beating = event.up; return;
    case 'intake': world.coveredSince = event.up ? world.now : null; return;
    case 'pause': world.pause = event.on ? { paused: { by: 'ann', reason: 'storm', since: world.now }, resumedAt: null } : { paused: null, resumedAt: world.now }; return;
    case 'lock': case 'unlock': toLock(world, event.kind, event.what); return;
    case 'approve': world.approve(event.subject, holds.filter(({ reason }) => reason.startsWith(event.subject)).map(({ processorId }) => processorId)); return;
  }
}

function toProcessor(world: World, kind: 'remove' | 'release' | 'rehome' | 'stopped', name: string): void {
  const definition = world.processors.get(name);
  if (definition === undefined) return;
  switch (kind) {
    case 'remove': if (world.processors.size > 1) world.processors.delete(name); return;
    case 'release': definition.release += 1; return;
    case 'rehome': definition.home = definition.home === 'managed' ? 'a-1' : 'managed'; return;
    case 'stopped': if (world.placements.get(name)?.phase === 'stopping') world.agent(name).acknowledgedAt = world.now; return;
  }
}

function toLock(world: World, kind: 'lock' | 'unlock', what: number): void {
  const name = [...nodeNames, ...processorNames, 'camera'][what]!;
  const scope = what < nodeNames.length ? 'node' : name === 'camera' ? 'template' : 'processor';
  if (kind === 'unlock') world.unlock(name);
  else if (!world.locks.some(({ subject, endedAt }) => subject === name && endedAt === null)) world.lock(scope, name, 120_000);
}

/** Runs a story, and shows `check` every snapshot with its plan before the plan is applied. */
function live(story: readonly Happening[], check: (snapshot: Snapshot, result: Plan, world: World) => void): World {
  const world = build();
  let holds: readonly Hold[] = [];
  for (const event of story) {
    happen(world, event, holds);
    const snapshot = world.snapshot();
    const result = plan(snapshot);
    check(snapshot, result, world);
    world.apply(result);
    holds = result.holds;
  }
  return world;
}

const leavesFailure = ({ kind, reason }: Change): boolean => (kind === 'move' || kind === 'stop') && failureReasons.has(reason);
const isCovered = ({ approvals }: Snapshot, subject: string, { processorId }: Change): boolean =>
  approvals.some((approval) => approval.subject === subject && (approval.covers === null || approval.covers.includes(processorId)));
const provedToStop = ({ evidence }: Change): boolean => typeof evidence['fence'] === 'string' && evidence['fence'] !== 'fence-silent';
const runs = { numRuns: 100 };

describe('whatever happens', () => {
  it('nothing changes while automation is paused, and what is locked is left alone', () => {
    fc.assert(fc.property(stories, (story) => {
      live(story, ({ pause, locks, at }, { changes }, world) => {
        if (pause.paused !== null) expect(changes).toEqual([]);
        const held = new Set(locks.filter(({ endedAt, until }) => endedAt === null && until > at).map(({ subject }) => subject));
        if (held.has('camera')) expect(changes.filter(({ kind }) => kind !== 'remove')).toEqual([]);
        for (const { processorId, before, after } of changes) {
          const touched = [processorId, ...[before, after].map((placement) => (placement?.target.kind === 'edge' ? placement.target.nodeId : ''))];
          expect(touched.filter((subject) => held.has(subject)), `${processorId} of ${String(world.now)}`).toEqual([]);
        }
      });
    }), runs);
  });

  it('nothing leaves a node in a panic on account of silence, unless a person lets it', () => {
    fc.assert(fc.property(stories, (story) => {
      live(story, (snapshot, { changes, guard }) => {
        if (guard.state !== 'panic') return;
        expect(changes.filter((change) => leavesFailure(change) && !provedToStop(change) && !isCovered(snapshot, 'guard', change))).toEqual([]);
      });
    }), runs);
  });

  it('what nodes did while automation was off is looked at for as long as it takes to miss a heartbeat', () => {
    fc.assert(fc.property(stories, (story) => {
      live(story, (snapshot, { changes, guard }) => {
        const off = Math.max(snapshot.pause.resumedAt ?? 0, guard.leftPanicAt ?? 0);
        if (snapshot.at - off >= policy.heartbeatStale) return;
        expect(changes.filter((change) => leavesFailure(change) && !provedToStop(change) && !isCovered(snapshot, 'guard', change))).toEqual([]);
      });
    }), runs);
  });

  it('no more than the budget changes within its window, but for what a person approved', () => {
    fc.assert(fc.property(stories, (story) => {
      const counted: { readonly at: number; readonly approved: boolean }[] = [];
      live(story, (snapshot, { changes }) => {
        const perNode = nodeNames.map((name) => snapshot.placements.filter(({ target }) => target.kind === 'edge' && target.nodeId === name).length);
        const allowed = Math.max(policy.budget.floor, ...perNode, Math.floor(policy.budget.share * snapshot.placements.length));
        const now = changes.filter((change) => spending(change) !== null).map((change) => ({ at: snapshot.at, approved: isCovered(snapshot, 'budget', change) }));
        counted.push(...now);
        if (now.every(({ approved }) => approved)) return;
        expect(counted.filter(({ at, approved }) => at > snapshot.at - policy.budget.window && !approved).length).toBeLessThanOrEqual(allowed);
      });
    }), runs);
  });

  it('an edit is carried out as a whole, as far as the budget is asked', () => {
    fc.assert(fc.property(stories, (story) => {
      live(story, (snapshot, { changes, holds }) => {
        const byEdit = (change: Change): boolean => spending(change) === 'at-once' && !isCovered(snapshot, 'budget', change);
        const withheld = holds.filter(({ reason, withheld: change }) => reason.startsWith('budget') && change !== null && byEdit(change));
        if (withheld.length > 0) expect(changes.filter(byEdit)).toEqual([]);
      });
    }), runs);
  });

  it('while the fleet is degraded, failovers go no faster than the rate', () => {
    fc.assert(fc.property(stories, (story) => {
      let began = -1;
      let moved = 0;
      live(story, (snapshot, { changes, guard }) => {
        if (guard.state !== 'degraded') return;
        if (guard.since !== began) [began, moved] = [guard.since, 0];
        moved += changes.filter((change) => leavesFailure(change) && change.before?.phase === 'active' && !isCovered(snapshot, 'guard', change)).length;
        expect(moved).toBeLessThanOrEqual(policy.guard.burst + ((snapshot.at - guard.since) / 1000) * policy.guard.ratePerSecond);
      });
    }), runs);
  });

  it('the same facts again find the guard where it was, and hold what was held', () => {
    fc.assert(fc.property(stories, (story) => {
      live(story, (_, result, world) => {
        world.apply(result);
        world.apply(plan(world.snapshot()));
        const once = plan(world.snapshot());
        const twice = plan(world.snapshot());
        expect(once.changes).toEqual([]);
        expect(world.guard ?? { state: 'calm' }).toMatchObject(world.guard === null ? { state: once.guard.state } : { state: once.guard.state, since: once.guard.since, leftPanicAt: once.guard.leftPanicAt });
        expect(twice.holds).toEqual(once.holds);
      });
    }), runs);
  });

  it('time alone lets go what needs no person, once all is well', () => {
    fc.assert(fc.property(stories, (story) => {
      const world = live(story, () => undefined);
      world.pause = { paused: null, resumedAt: world.now };
      world.coveredSince ??= world.now;
      for (const node of world.nodes.values()) node.beating = true;
      for (let round = 0; round < 70; round += 1) {
        for (const { processorId, phase } of world.placements.values()) if (phase === 'stopping') world.agent(processorId).acknowledgedAt = world.now;
        world.advance(301_000);
        world.apply(plan(world.snapshot()));
      }
      const { changes, holds, guard } = plan(world.snapshot());
      expect([changes, guard.state]).toEqual([[], 'calm']);
      expect(holds.filter(({ reason }) => reason !== 'budget-exceeded')).toEqual([]);
    }), { numRuns: 20 });
  });
});

it('all heartbeats lost moves nothing, whenever they are lost and however long', () => {
  const waits = fc.array(fc.constantFrom(...[1, 5, 19, 21, 40, 60, 61, 600, 36_000].map((s) => seconds(s))), { minLength: 1, maxLength: 20 });
  fc.assert(fc.property(waits, (story) => {
    const world = build();
    world.advance(5_000);
    world.apply(plan(world.snapshot()));
    for (const node of world.nodes.values()) node.beating = false;
    for (const ms of story) {
      world.advance(ms);
      const result = plan(world.snapshot());
      expect(result.changes).toEqual([]);
      world.apply(result);
    }
  }), runs);
});

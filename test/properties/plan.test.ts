import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Epoch, ProcessorId } from '../../src/model/ids.ts';
import type { Plan } from '../../src/model/plan.ts';
import { sameTarget } from '../../src/model/placement.ts';
import { reasonCodes, sentence } from '../../src/model/reasons.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import { plan } from '../../src/plan/plan.ts';
import { World, type ProcessorDefinition } from '../support/world.ts';

/** One thing that happens to a world. */
type Happening =
  | { kind: 'wait'; seconds: number }
  | { kind: 'silence' | 'revive' | 'decommission'; node: number }
  | { kind: 'intake'; up: boolean }
  | { kind: 'remote'; up: boolean }
  | { kind: 'stopped' | 'unheard' | 'quiet'; processor: number }
  | { kind: 'remove' | 'break' | 'mend' | 'release' | 'rehome'; processor: number };

const nodeNames = ['edge-0', 'edge-1', 'edge-2', 'edge-3'];
const processorNames = ['p-0', 'p-1', 'p-2', 'p-3', 'p-4', 'p-5'];
const index = (names: readonly string[]): fc.Arbitrary<number> => fc.nat(names.length - 1);

const happenings: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.constantFrom(1, 5, 29, 31, 59, 60, 61, 130, 3_600) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('silence' as const, 'revive' as const), node: index(nodeNames) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('decommission' as const), node: index(nodeNames) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('intake' as const, 'remote' as const), up: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('stopped' as const, 'unheard' as const, 'quiet' as const), processor: index(processorNames) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('remove' as const, 'break' as const, 'mend' as const, 'release' as const, 'rehome' as const), processor: index(processorNames) }) },
);

const definitions: fc.Arbitrary<ProcessorDefinition> = fc.record({
  home: fc.constantFrom(...nodeNames, 'managed'),
  state: fc.constantFrom('configmap' as const, 's3' as const, 'local' as const, 'pvc' as const),
  gpu: fc.boolean(),
  architectures: fc.constantFrom<string[]>([], ['amd64'], ['arm64'], ['amd64', 'arm64']),
  shutdownTimeoutSec: fc.constantFrom(1, 30, 300),
}).map((d) => ({ ...d, template: `${d.state}-${String(d.gpu)}-${d.architectures.join('-')}` }));

const worlds = fc.record({
  targets: fc.tuple(...nodeNames.map(() => fc.option(fc.constantFrom(...nodeNames)))),
  switches: fc.tuple(...nodeNames.map(() => fc.boolean())),
  processors: fc.tuple(...processorNames.map(() => definitions)),
  story: fc.array(happenings, { minLength: 1, maxLength: 40 }),
});
type Scripted = typeof worlds extends fc.Arbitrary<infer T> ? T : never;

function build({ targets, switches, processors }: Scripted): World {
  const world = new World();
  nodeNames.forEach((name, i) => { world.addNode(name, { failoverEnabled: switches[i] ?? true, ...(targets[i] ? { failoverTarget: targets[i] } : {}) }); });
  processorNames.forEach((name, i) => { world.addProcessor(name, processors[i]!); });
  return world;
}

function happen(world: World, event: Happening): void {
  if ('processor' in event) { toProcessor(world, event.kind, processorNames[event.processor]!); return; }
  switch (event.kind) {
    case 'wait': world.advance(event.seconds * 1_000); return;
    case 'silence': world.node(nodeNames[event.node]!).beating = false; return;
    case 'revive': world.node(nodeNames[event.node]!).beating = true; return;
    case 'decommission': world.node(nodeNames[event.node]!).decommissioned = true; return;
    case 'intake': world.coveredSince = event.up ? world.now : null; return;
    case 'remote': world.remote(event.up); return;
  }
}

function toProcessor(world: World, kind: Extract<Happening, { processor: number }>['kind'], name: string): void {
  const definition = world.processors.get(name);
  if (kind === 'remove') { if (world.processors.size > 1) world.processors.delete(name); return; }
  if (definition === undefined) return;
  switch (kind) {
    case 'break': definition.broken = true; return;
    case 'mend': definition.broken = false; return;
    case 'release': definition.release += 1; return;
    case 'rehome': definition.home = definition.home === 'managed' ? 'edge-0' : 'managed'; return;
    case 'quiet': if (world.agents.has(name)) world.agent(name).beating = false; return;
    case 'unheard': if (world.agents.has(name)) Object.assign(world.agent(name), { beating: false, lastBeatAt: null }); return;
    case 'stopped': if (world.agents.has(name)) world.agent(name).acknowledgedAt = world.now; return;
  }
}

/** Runs a story, and shows `check` every snapshot with its plan before the plan is applied. */
function live(script: Scripted, check: (snapshot: Snapshot, result: Plan, world: World) => void): void {
  const world = build(script);
  world.beat();
  for (const event of script.story) {
    happen(world, event);
    const snapshot = world.snapshot();
    const result = plan(snapshot);
    check(snapshot, result, world);
    world.apply(result);
  }
}

const runs = { numRuns: 300 };

describe('in every world', () => {
  it('an epoch only rises, and one processor has one placement', () => {
    fc.assert(fc.property(worlds, (script) => {
      const highest = new Map<ProcessorId, Epoch>();
      live(script, (snapshot, result) => {
        expect(new Set(snapshot.placements.map((p) => p.processorId)).size).toBe(snapshot.placements.length);
        for (const { kind, processorId, after } of result.changes) {
          if (after === null) continue;
          const before = highest.get(processorId) ?? 0;
          if (kind === 'move' || kind === 'place') expect(after.epoch).toBeGreaterThan(before);
          else expect(after.epoch).toBe(before);
          highest.set(processorId, after.epoch);
        }
      });
    }), runs);
  });

  it('the same facts twice change nothing the second time', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (_, result, world) => {
        world.apply(result);
        const again = plan(world.snapshot());
        expect(again.changes).toEqual([]);
        expect(again.transitions).toEqual([]);
        world.apply(again);
      });
    }), runs);
  });

  it('the order of rows is not visible', () => {
    fc.assert(fc.property(worlds, fc.infiniteStream(fc.nat()), (script, random) => {
      const shuffle = <T>(items: readonly T[]): T[] => items.map((item) => [random.next().value ?? 0, item] as const).sort(([a], [b]) => a - b).map(([, item]) => item);
      live(script, (snapshot, result) => {
        const { fleet } = snapshot;
        const mixed = { ...snapshot, placements: shuffle(snapshot.placements), fleet: { ...fleet, processors: shuffle(fleet.processors), workloads: shuffle(fleet.workloads), switches: shuffle(fleet.switches) } };
        expect(plan(mixed)).toEqual(result);
      });
    }), { numRuns: 100 });
  });

  it('only processors of a node that is lost or being emptied leave without asking to go home', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { changes, verdicts }) => {
        const verdictOf = new Map(verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
        const homes = new Map([...snapshot.fleet.processors, ...snapshot.fleet.quarantined.flatMap((q) => q.lastGood ?? [])].map((spec) => [spec.id, spec.home]));
        for (const { kind, before, after, processorId } of changes) {
          if (kind !== 'move' && kind !== 'stop') continue;
          const source = before?.target.kind === 'edge' ? verdictOf.get(before.target.nodeId) : undefined;
          const home = homes.get(processorId);
          const goesHome = kind === 'stop' ? home !== undefined && !atHome(home, before!.target) : home !== undefined && atHome(home, after!.target);
          expect(source === 'lost' || source === 'decommissioned' || goesHome).toBe(true);
        }
      });
    }), runs);
  });

  it('nothing starts elsewhere while the old pod may still write', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { changes, verdicts }) => {
        const verdictOf = new Map(verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
        for (const { kind, before, after, processorId } of changes) {
          if (kind !== 'move' || before === null || after === null || sameTarget(before.target, after.target)) continue;
          if (before.target.kind === 'edge' && verdictOf.get(before.target.nodeId) === 'lost') continue;
          const stop = snapshot.agents.find((s) => s.processorId === processorId);
          expect(before.phase).toBe('stopping');
          const silentFor = snapshot.at - (stop?.lastBeatAt ?? snapshot.at);
          expect((stop?.acknowledgedAt ?? null) !== null || (stop?.confirmed ?? null) !== null || silentFor >= 60_000).toBe(true);
        }
      });
    }), runs);
  });

  it('nothing moves while nobody can hear heartbeats, but for what was known before', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { transitions }) => {
        if (snapshot.intake.covered) return;
        for (const { verdict } of transitions) expect(verdict).not.toBe('lost');
      });
    }), runs);
  });

  it('state that stays on a node never leaves it', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, { changes }) => {
        const workloads = new Map(snapshot.fleet.workloads.map((w) => [w.digest, w]));
        for (const { kind, processorId } of changes) {
          const spec = snapshot.fleet.processors.find(({ id }) => id === processorId);
          const backend = spec && workloads.get(spec.workload)?.stateBackend;
          if (backend === 'local' || backend === 'pvc') expect(kind).not.toBe('move');
        }
      });
    }), runs);
  });

  it('a plan and a snapshot survive JSON', () => {
    fc.assert(fc.property(worlds, (script) => {
      live(script, (snapshot, result) => {
        expect(plan(JSON.parse(JSON.stringify(snapshot)) as Snapshot)).toEqual(result);
        expect(JSON.parse(JSON.stringify(result))).toEqual(result);
      });
    }), { numRuns: 100 });
  });
});

function atHome(home: Snapshot['fleet']['processors'][number]['home'], target: Snapshot['placements'][number]['target']): boolean {
  if (home.kind === 'managed' || target.kind === 'managed') return home.kind === target.kind;
  return home.nodeId === target.nodeId;
}

describe('reasons', () => {
  it('have one sentence each, and no two the same', () => {
    const sentences = reasonCodes.map((code) => sentence(code, {}));
    expect(new Set(sentences).size).toBe(reasonCodes.length);
  });
});

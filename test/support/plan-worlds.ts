import fc from 'fast-check';
import type { Plan } from '../../src/model/plan.ts';
import { byText, type ProcessorId } from '../../src/model/ids.ts';
import type { Foreign, ProcessorPolicy, Snapshot } from '../../src/model/snapshot.ts';
import { plan } from '../../src/plan/plan.ts';
import { testPolicy } from './policy.ts';
import { World, type ProcessorDefinition } from './world.ts';

/** One thing that happens to a world. */
type Happening =
  | { kind: 'wait'; seconds: number }
  | { kind: 'silence' | 'revive' | 'decommission'; node: number }
  | { kind: 'ready'; node: number; ready: 'true' | 'false' | 'unknown' }
  | { kind: 'intake' | 'remote' | 'watch'; up: boolean }
  | { kind: 'ack'; node: number }
  | { kind: 'stopped' | 'unheard' | 'quiet' | 'gone' | 'confirm'; processor: number }
  | { kind: 'left' | 'unseen' | 'handed-back' | 'ours'; processor: number }
  | { kind: 'remove' | 'break' | 'mend' | 'release' | 'rehome' | 'rename'; processor: number };

const nodeNames = ['edge-0', 'edge-1', 'edge-2', 'edge-3'];
const processorNames = ['p-0', 'p-1', 'p-2', 'p-3', 'p-4', 'p-5'];
const index = (names: readonly string[]): fc.Arbitrary<number> => fc.nat(names.length - 1);

const happenings: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('wait' as const), seconds: fc.constantFrom(1, 5, 29, 31, 59, 60, 61, 71, 130, 661, 3_600) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('ready' as const), node: index(nodeNames), ready: fc.constantFrom('true' as const, 'false' as const, 'unknown' as const) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('silence' as const, 'revive' as const), node: index(nodeNames) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('decommission' as const, 'ack' as const), node: index(nodeNames) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('intake' as const, 'remote' as const, 'watch' as const), up: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('stopped' as const, 'unheard' as const, 'quiet' as const, 'gone' as const, 'confirm' as const), processor: index(processorNames) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('left' as const, 'unseen' as const, 'handed-back' as const, 'ours' as const, 'ours' as const), processor: index(processorNames) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('remove' as const, 'break' as const, 'mend' as const, 'release' as const, 'rehome' as const, 'rename' as const), processor: index(processorNames) }) },
);

const definitions: fc.Arbitrary<ProcessorDefinition> = fc.record({
  home: fc.constantFrom(...nodeNames, 'managed'),
  state: fc.constantFrom('configmap' as const, 's3' as const, 'local' as const, 'pvc' as const),
  gpu: fc.boolean(),
  architectures: fc.constantFrom<string[]>([], ['amd64'], ['arm64'], ['amd64', 'arm64']),
  shutdownTimeoutSec: fc.constantFrom(1, 30, 300),
  fenced: fc.boolean(),
}).map((d) => ({ ...d, template: `${d.state}-${String(d.gpu)}-${d.architectures.join('-')}` }));

/** Worlds of four nodes and six processors, and what happens in them. */
export const worlds = fc.record({
  targets: fc.tuple(...nodeNames.map(() => fc.option(fc.constantFrom(...nodeNames)))),
  switches: fc.tuple(...nodeNames.map(() => fc.boolean())),
  processors: fc.tuple(...processorNames.map(() => definitions)),
  cluster: fc.boolean(),
  policy: fc.record({
    onFailure: fc.constantFrom('replace' as const, 'replace' as const, 'hold' as const, 'manual' as const),
    failback: fc.constantFrom('auto' as const, 'window' as const, 'manual' as const),
    failbackWindow: fc.constantFrom(null, { fromMinute: 60, toMinute: 120 }, { fromMinute: 1_380, toMinute: 5 }),
    targets: fc.constantFrom<ProcessorPolicy['targets']>(['failover-target', 'managed'], ['managed', 'failover-target'], ['failover-target'], ['managed']),
    writerAlive: fc.constantFrom('move' as const, 'hold' as const),
    unfenced: fc.constantFrom('replace' as const, 'hold' as const),
    stateLoss: fc.constantFrom('refuse' as const, 'refuse' as const, 'accept' as const),
    priority: fc.constant(0),
  }),
  story: fc.array(happenings, { minLength: 1, maxLength: 40 }),
});
type Scripted = typeof worlds extends fc.Arbitrary<infer T> ? T : never;

function build({ targets, switches, processors, cluster, policy }: Scripted): World {
  const world = new World({ ...testPolicy, processors: policy });
  world.cluster = cluster ? 'up' : 'off';
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
    case 'watch': if (world.cluster !== 'off') world.cluster = event.up ? 'up' : 'down'; return;
    case 'ready': world.ready(nodeNames[event.node]!, event.ready); return;
    case 'ack': acknowledge(world.node(nodeNames[event.node]!)); return;
  }
}

function acknowledge(node: ReturnType<World['node']>): void {
  if (node.recorded !== null) node.recorded = { ...node.recorded, flaps: 0 };
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
    case 'left': case 'unseen': case 'handed-back': case 'ours': hand(world, name, kind); return;
    case 'rename': definition.namespace = definition.namespace === 'eu' ? 'us' : 'eu'; return;
    case 'quiet': if (world.agents.has(name)) world.agent(name).beating = false; return;
    case 'unheard': if (world.agents.has(name)) Object.assign(world.agent(name), { beating: false, lastBeatAt: null }); return;
    case 'stopped': if (world.placements.get(name)?.phase === 'stopping') world.agent(name).acknowledgedAt = world.now; return;
    case 'gone': if (world.placements.get(name)?.phase === 'stopping') world.agent(name).pods = 'gone'; return;
    case 'confirm': if (world.agents.has(name)) world.agent(name).confirmed = { at: world.now, by: 'ada' }; return;
  }
}

/** Whose it is: what the system before this one has of it, or was given back. */
function hand(world: World, name: string, why: Foreign['why'] | 'ours'): void {
  const others = world.foreign.filter(({ processorId }) => processorId !== name);
  const own: readonly Foreign[] = why === 'ours' ? [] : [{ processorId: name as ProcessorId, why, by: why === 'handed-back' ? 'ada' : null }];
  world.foreign = [...others, ...own].sort((a, b) => byText(a.processorId, b.processorId));
}

/** Runs a story, and shows `check` every snapshot with its plan before the plan is applied. */
export function live(script: Scripted, check: (snapshot: Snapshot, result: Plan, world: World) => void): void {
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

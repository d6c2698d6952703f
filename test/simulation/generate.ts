import type { Policy, PolicyOverride, ProcessorPolicy } from '../../src/model/snapshot.ts';
import { millis, seconds } from '../../src/model/time.ts';
import { testPolicy } from '../support/policy.ts';
import { Random } from './random.ts';
import { generateFaults, trouble } from './generate-faults.ts';
import type { AgentKind, Choice, Edit, Fault, NodeScript, ProcessorScript, Script } from './script.ts';

/** For all faults to be repaired, and for nothing to happen at the end. */
const quiet = 14 * 60_000;

/** The thresholds of the product at about half their length, in the same proportions: more stories fit into a run. */
export const simulatedPolicy: Policy = {
  ...testPolicy,
  heartbeatStale: seconds(30),
  notReadyGrace: seconds(15),
  startupGrace: seconds(60),
  stabilityWindow: seconds(30),
  longestWindow: seconds(120),
  flapMemory: seconds(600),
  heartbeatGap: seconds(15),
  intakeFresh: seconds(8),
  lease: seconds(15),
  fenceMargin: seconds(5),
  fenceBound: seconds(90),
  guard: { ...testPolicy.guard, window: seconds(120), lateBeat: millis(12_000) },
  budget: { ...testPolicy.budget, window: seconds(60) },
};

/** The world that a seed stands for: chosen before anything happens in it. */
export function generate({ cutover, seed, faults: chosen }: Choice): Script {
  const all = cutover === true ? withCutover(generatePlain(seed)) : generatePlain(seed);
  return chosen === null ? all : { ...all, faults: all.faults.filter((_, i) => chosen.includes(i)) };
}

function generatePlain(seed: number): Script {
  const random = new Random(seed * 2 + 1);
  const nodes = generateNodes(random);
  const processors = generateProcessors(random, nodes);
  const instances = random.between(2, 3);
  const world = { nodes, processors, instances: Array.from({ length: instances }, (_, i) => `i${String(i + 1)}`) };
  const watched = random.chance(0.75);
  const policy = { ...simulatedPolicy, lease: seconds(random.pick([10, 15, 25])) };
  const overrides = generateOverrides(random, processors);
  const all = generateFaults(random, world, policy);
  return {
    seed,
    instances,
    watched,
    // Without either, nobody could tell that an empty node is back.
    beacons: !watched || random.chance(0.5),
    nodes,
    processors,
    policy,
    sticky: random.chance(0.4),
    gitopsMs: random.pick([1_500, 12_000]),
    overrides,
    cutover: null,
    faults: all,
    calmAt: trouble,
    staffed: true,
    endAt: trouble + quiet,
  };
}

/** The same world, in which another system ran some of it before; by chance of its own, so that the plain one stays as it is. */
function withCutover(script: Script): Script {
  const random = new Random(script.seed * 2 + 1_000_001);
  const names = script.processors.map(({ name }) => name);
  const bare = names.filter(() => random.chance(0.6));
  const times = (most: number, make: (processor: string, at: number) => readonly Edit[]): readonly Edit[] =>
    Array.from({ length: random.between(0, most) }, () => make(random.pick(names), random.between(10_000, trouble - 120_000))).flat();
  const more: readonly Edit[] = [
    ...bare.filter(() => random.chance(0.8)).map((processor): Edit => ({ kind: 'take-over', processor, at: random.between(5_000, 200_000) })),
    ...times(4, (processor, at) => [{ kind: 'rename', processor, at }]),
    ...times(3, (processor, at) => [{ kind: 'hand-back', processor, at }, { kind: 'take-over', processor, at: at + random.between(1_000, 90_000) }]),
    ...times(2, (processor, at) => [{ kind: 'remove', processor, at }, { kind: 'rename', processor, at: at + 500 }, { kind: 'add', processor, at: at + random.between(1_000, 40_000) }]),
  ];
  const dark = Array.from({ length: random.between(0, 3) }, () => withoutPower(random, random.pick(script.nodes).name)).flat();
  return { ...script, watched: true, cutover: { bare }, faults: [...script.faults, ...more, ...dark].sort((a, b) => a.at - b.at) };
}

/** A node loses its power, and a person says so: soon, or just when it is on again. */
function withoutPower(random: Random, node: string): readonly Fault[] {
  const at = random.between(20_000, trouble - 180_000);
  const until = at + random.between(40_000, 150_000);
  const said = random.chance(0.5) ? random.between(at, until) : until - random.between(50, 8_000);
  return [{ kind: 'node-crash', node, at, until }, { kind: 'power-off-said', node, at: said, afterMs: random.between(100, 6_000) }];
}

function generateNodes(random: Random): NodeScript[] {
  const names = Array.from({ length: random.between(3, 6) }, (_, i) => `n${String(i + 1)}`);
  return names.map((name, i) => ({
    name,
    site: `site-${String(i % 2)}`,
    failoverTarget: random.chance(0.4) ? random.pick(names.filter((other) => other !== name)) : null,
  }));
}

function generateProcessors(random: Random, nodes: readonly NodeScript[]): ProcessorScript[] {
  const kinds: readonly AgentKind[] = random.chance(0.4) ? ['fenced'] : ['fenced', 'fenced', 'obedient', 'deaf'];
  return Array.from({ length: random.between(4, 10) }, (_, i) => ({
    name: `p${String(i + 1).padStart(2, '0')}`,
    home: random.chance(0.15) ? 'managed' : random.pick(nodes).name,
    agent: random.pick(kinds),
    shutdownTimeoutSec: random.pick([2, 10, 20]),
  }));
}

function generateOverrides(random: Random, processors: readonly ProcessorScript[]): PolicyOverride[] {
  return processors.filter(() => random.chance(0.35)).map(({ name }) => {
    const policy: Partial<ProcessorPolicy>[] = [
      { onFailure: 'hold' }, { onFailure: 'manual' }, { failback: 'manual' }, { targets: ['managed'] }, { writerAlive: 'hold' },
      { unfenced: 'hold' }, { unfenced: 'hold', writerAlive: 'hold' }, { priority: 5 },
    ];
    return { match: `processor/${name}`, policy: random.pick(policy) };
  }).sort((a, b) => (a.match < b.match ? -1 : 1));
}

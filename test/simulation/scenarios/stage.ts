import { expect } from 'vitest';
import { simulatedPolicy } from '../generate.ts';
import type { Fault, Script } from '../script.ts';
import { inhabit } from '../simulation.ts';
import type { World } from '../world.ts';

export const second = 1_000;
export const minute = 60 * second;

/** Two sites with two nodes each, and a node has two processors; three instances, which watch the cluster. */
export function stage(faults: readonly Fault[], change: Partial<Script> = {}): Script {
  const nodes = ['n1', 'n2', 'n3', 'n4'];
  return {
    seed: 1,
    instances: 3,
    watched: true,
    beacons: true,
    sticky: false,
    gitopsMs: 2_000,
    nodes: nodes.map((name, i) => ({ name, site: i < 2 ? 'north' : 'south', failoverTarget: null })),
    processors: nodes.flatMap((home, i) => [0, 1].map((n) => ({ name: `p${String(i + 1)}${String(n)}`, home, agent: 'fenced', shutdownTimeoutSec: 10 }))),
    policy: simulatedPolicy,
    overrides: [],
    cutover: null,
    faults: [...faults].sort((a, b) => a.at - b.at),
    calmAt: 10 * minute,
    staffed: false,
    endAt: 20 * minute,
    ...change,
  };
}

/** Plays it to its end, where all rules must have held. */
export function play(script: Script, also: (world: World) => void = () => undefined): World {
  const world = inhabit(script, null, also);
  const { violation, story } = world.checks;
  if (violation !== null) expect.fail(`${violation.message}\n${story.slice(-60).join('\n')}`);
  return world;
}

export function dead(node: string, from: number, until: number): Fault {
  return { kind: 'cut', at: from, until, links: [`${node}-dory`, `${node}-api`] };
}

/** Processors of which something was decided from then on, but for updates in place; sorted. */
export function touched(world: World, from: number): readonly string[] {
  const names = world.checks.decided.filter(({ at }) => at >= from).flatMap(({ changes }) => changes.map(({ processorId }): string => processorId));
  return [...new Set(names)].sort();
}

/** Who leads at this moment. */
export function leaderOf({ database }: World): string {
  const { holder } = database.rows.leader;
  return holder?.slice(0, holder.indexOf('#')) ?? '';
}

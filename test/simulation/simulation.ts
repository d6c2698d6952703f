import { isHome, targetName } from '../../src/model/placement.ts';
import { fleetOf } from './rows.ts';
import type { Counts, Violation } from './checks.ts';
import { scheduleTakeOver } from './cutover.ts';
import { scheduleFaults } from './faults.ts';
import type { Mutation } from './mutations.ts';
import { schedulePeople } from './people.ts';
import type { Script } from './script.ts';
import { World } from './world.ts';

export interface Outcome {
  readonly steps: number;
  readonly violation: Violation | null;
  readonly counts: Counts;
  readonly story: readonly string[];
}

/** Nothing is written in this last stretch of a run that came to rest. */
const restMs = 120_000;

/** Lives through a script, from an empty database to rest; `also` may plan what no fault does. */
export function inhabit(script: Script, mutation: Mutation | null = null, also: (world: World) => void = () => undefined): World {
  const world = new World(script, mutation);
  world.start();
  scheduleFaults(world);
  schedulePeople(world);
  scheduleTakeOver(world);
  also(world);
  const { kernel, checks } = world;
  try {
    kernel.run(script.endAt, () => checks.violation === null);
    if (checks.violation === null) checkRest(world);
  } catch (error) {
    checks.fail('thrown', error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  return world;
}

export function simulate(script: Script, mutation: Mutation | null = null): Outcome {
  const { kernel, checks } = inhabit(script, mutation);
  return { steps: kernel.steps, violation: checks.violation, counts: checks.counts, story: checks.story };
}

/** All faults are over for long: everything runs once, where it should, and nobody writes any more. */
function checkRest(world: World): void {
  const { database: { rows }, checks, kernel, script, remote } = world;
  const quietFor = kernel.now - checks.lastWriteAt;
  if (quietFor < restMs) checks.fail('rest', `no rest: something was decided or committed ${String(quietFor / 1000)} s before the end`);
  for (const [node, { outOfService }] of world.cluster.nodes) if (outOfService || rows.powerOffs.has(node)) checks.fail('rest', `${node} has power, and is still kept out of service`);
  if (rows.revisions.some(({ committedAt }) => committedAt === null)) checks.fail('rest', 'a revision never reached Git');
  if (rows.revision > 0 && remote.head?.revision !== rows.revision) checks.fail('rest', `Git ends at revision ${String(remote.head?.revision)}, the database at ${String(rows.revision)}`);
  for (const { id, home } of fleetOf(script, rows).processors) {
    const placement = rows.placements.get(id);
    const hold = rows.holds.get(id)?.reason ?? 'no hold';
    if (placement === undefined) { checks.fail('rest', `${id} is desired and has no placement (${hold})`); continue; }
    if (placement.phase === 'stopping') checks.fail('rest', `${id} is still stopping on ${targetName(placement.target)} (${hold})`);
    const homeIsGone = home.kind === 'edge' && rows.decommissioned.has(home.nodeId);
    if (!homeIsGone && !isHome(home, placement.target)) checks.fail('rest', `${id} is on ${targetName(placement.target)}, and its home is fit (${hold})`);
    if (placement.target.kind === 'edge' && rows.decommissioned.has(placement.target.nodeId)) checks.fail('rest', `${id} is on ${targetName(placement.target)}, which is decommissioned (${hold})`);
    const writers = checks.writersOf(id);
    if (writers.length !== 1) checks.fail('rest', `${id} has ${String(writers.length)} writers at rest (${hold})`);
    else if (writers[0]?.epoch !== placement.epoch) checks.fail('rest', `${id} runs epoch ${String(writers[0]?.epoch)}, and ${String(placement.epoch)} is its placement`);
  }
}

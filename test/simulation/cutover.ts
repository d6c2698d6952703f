import type { World } from './world.ts';

const lookEveryMs = 3_000;

export function handOver({ database: { rows, clock } }: World, subject: string, towards: 'ours' | 'theirs'): void {
  rows.handovers.set(subject, towards);
  rows.handedAt.set(subject, clock);
}

/** A person hands a processor back, waits until nothing of ours runs, as `dory adopt` says it, and has the other system start it. */
export function handBack(world: World, processor: string): void {
  handOver(world, processor, 'theirs');
  const look = (): void => {
    world.kernel.after(lookEveryMs, () => {
      if (world.database.rows.handovers.get(processor) !== 'theirs') return;
      if (!world.database.up || !world.cluster.up || !hasStopped(world, processor)) { look(); return; }
      // It takes a person a moment.
      world.kernel.after(world.kernel.random.between(100, 8_000), () => { start(world, processor); });
    });
  };
  look();
}

/** As `stoppedOf` of `src/operator/adopt.ts`. */
function hasStopped({ database: { rows }, cluster, mutation }: World, processor: string): boolean {
  const placement = rows.placements.get(processor);
  const pods = [...cluster.pods.values()].filter((pod) => pod.processor === processor);
  const sets = [...cluster.sets.values()].filter((set) => set.processor === processor);
  if (mutation === 'stopped-without-proof') return pods.length === 0;
  if (placement === undefined) return pods.length === 0 && sets.length === 0;
  const stopped = sets.some((set) => set.epoch === placement.epoch && set.replicas === 0 && set.observed && set.revision >= placement.revision);
  return placement.phase === 'stopping' && stopped && !pods.some(({ epoch }) => epoch <= placement.epoch);
}

function start(world: World, processor: string): void {
  const { rows } = world.database;
  // Who asked for it in the meantime has told the other system so as well.
  if (rows.handovers.get(processor) !== 'theirs' || !world.cluster.up) return;
  const home = rows.desired.get(processor)?.home;
  // It starts none beside its own.
  if (home === undefined || [...world.cluster.pods.values()].some((pod) => pod.processor === processor && pod.epoch === 0)) return;
  world.checks.counts.handedBack += 1;
  world.checks.tell(`ada has the other system start ${processor} on ${home}`);
  world.cluster.startBare(processor, home);
}

/** In the end all of it is ours. */
export function scheduleTakeOver(world: World): void {
  if (world.script.cutover === null) return;
  world.kernel.at(world.script.calmAt, () => {
    const { rows } = world.database;
    rows.handovers.clear();
    handOver(world, 'fleet', 'ours');
    world.wakeAll();
  });
}

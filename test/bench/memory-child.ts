import { withPool } from './database.ts';
import { withLargeFleet } from './large-fleet.ts';
import { check } from './measure.ts';

/** Resident memory in MiB. */
export interface MemoryReport {
  /** The most, ever. */
  readonly peak: number;
  /** The most after any of the cycles that followed. */
  readonly atWork: number;
}

/** What `dory run` holds: the engine of a fleet, from its first commit on. Arguments: a migrated, empty database; how many processors. */
const [url = '', processors = ''] = process.argv.slice(2);

const resident = (): number => process.memoryUsage.rss() / 2 ** 20;

async function work(): Promise<MemoryReport> {
  return withPool(url, (pool) => withLargeFleet({ pool, url, processors: Number(processors) }, async (large) => {
    const first = await large.placeAll();
    check(first.every(({ report }) => report.publication?.kind === 'pushed'), 'the first commits were not pushed');
    const after: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 5; i += 1) {
        await large.cycle();
        after.push(resident());
      }
      await large.lose(large.nodes.slice(round * 4, (round + 1) * 4));
      await large.cycle();
      after.push(resident());
    }
    return { peak: process.resourceUsage().maxRSS / 1024, atWork: Math.max(...after.slice(5)) };
  }));
}

const report = await work();
process.send?.(report, () => { process.disconnect(); });

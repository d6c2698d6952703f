import { withPool } from './database.ts';
import type { BenchRow, BenchSize } from './measure.ts';

interface Bench {
  /** Migrated, empty databases that it asks for. */
  readonly databases: number;
  /** Its code is loaded by the process that runs it, and by no other. */
  readonly load: () => Promise<(size: BenchSize, urls: readonly string[]) => Promise<readonly BenchRow[]>>;
}

const benches = {
  render: { databases: 0, load: async () => (await import('./render.ts')).benchRender },
  commit: { databases: 0, load: async () => (await import('./commit.ts')).benchCommit },
  observe: { databases: 1, load: async () => withUrl((await import('./observe.ts')).benchObserve) },
  failover: { databases: 1, load: async () => withUrl((await import('./failover.ts')).benchFailover) },
  memory: { databases: 2, load: async () => (await import('./memory.ts')).benchMemory },
  takeover: { databases: 1, load: async () => withUrl((await import('./takeover.ts')).benchTakeover) },
  cluster: { databases: 1, load: async () => withUrl((await import('./cluster.ts')).benchCluster) },
  synced: { databases: 1, load: async () => withUrl((await import('./cluster.ts')).benchInSync) },
  apply: { databases: 0, load: async () => (await import('./apply.ts')).benchApply },
  health: { databases: 1, load: async () => withUrl((await import('./health.ts')).benchHealth) },
  heartbeats: { databases: 1, load: async () => withUrl((await import('./heartbeats.ts')).benchHeartbeats) },
} satisfies Record<string, Bench>;

export type BenchName = keyof typeof benches;

export const benchNames = Object.keys(benches) as readonly BenchName[];

export function databasesOf(name: BenchName): number {
  return benches[name].databases;
}

export async function run(name: BenchName, size: BenchSize, urls: readonly string[]): Promise<readonly BenchRow[]> {
  const bench: Bench = benches[name];
  return (await bench.load())(size, urls);
}

function withUrl(bench: (database: { readonly pool: Parameters<Parameters<typeof withPool>[1]>[0]; readonly url: string }, size: BenchSize) => Promise<readonly BenchRow[]>) {
  return (size: BenchSize, [url = '']: readonly string[]): Promise<readonly BenchRow[]> => withPool(url, (pool) => bench({ pool, url }, size));
}

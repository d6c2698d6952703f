/** One line of the table: a figure, and what it should be. */
export interface BenchRow {
  readonly name: string;
  /** A median, in `unit`, unless its name says otherwise. */
  readonly value: number;
  readonly unit: string;
  /** What the figure should be; empty where it only explains another one. */
  readonly aim: string;
  readonly ok: boolean;
}

/** How large and how often: as the aims are stated, or just enough to see that the benchmark still works. */
export interface BenchSize {
  /** Processors of a large fleet. */
  readonly fleet: number;
  readonly rounds: number;
  readonly quick: boolean;
}

export const fullSize: BenchSize = { fleet: 50_000, rounds: 5, quick: false };
export const quickSize: BenchSize = { fleet: 2_000, rounds: 2, quick: true };

export function atMost(name: string, value: number, unit: string, most: number): BenchRow {
  return { name, value, unit, aim: `≤ ${String(most)}`, ok: value <= most };
}

export function atLeast(name: string, value: number, unit: string, least: number): BenchRow {
  return { name, value, unit, aim: `≥ ${String(least)}`, ok: value >= least };
}

export function plain(name: string, value: number, unit: string): BenchRow {
  return { name, value, unit, aim: '', ok: true };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Wall time in milliseconds. */
export async function timed<T>(work: () => Promise<T> | T): Promise<{ readonly ms: number; readonly result: T }> {
  const start = performance.now();
  const result = await work();
  return { ms: performance.now() - start, result };
}

/** What a benchmark measured would be worth nothing if this did not hold. */
export function check(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Error(`wrong result: ${what}`);
}

/** `10,000`. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

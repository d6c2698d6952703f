import type { Pool } from 'pg';
import { seconds } from '../../src/model/time.ts';
import { createObserver, type ObserveSettings } from '../../src/observe/database.ts';
import { seedPlacementsAtHome, seedSyntheticFleet } from '../support/seed-database.ts';

export interface BenchRow {
  readonly name: string;
  /** A median, in `unit`. */
  readonly value: number;
  readonly unit: string;
  readonly aim: string;
  readonly ok: boolean;
}

const size = 50_000;

const settings: ObserveSettings = {
  policy: { heartbeatStale: seconds(60), stabilityWindow: seconds(60), heartbeatGap: seconds(30), intakeFresh: seconds(15), fenceMargin: seconds(10), managedPool: { architectures: ['amd64'], gpu: false } },
  defaultNamespace: 'default',
  receiver: 'dory',
};

/** Reads a fleet of 50,000 processors, each with a sensor, on 5,000 nodes. `pool`: a migrated, empty database. */
export async function benchObserve(pool: Pool): Promise<readonly BenchRow[]> {
  await seedSyntheticFleet(pool, { processors: size });
  const first = await createObserver(pool, settings).observe();
  await seedPlacementsAtHome(pool, new Map(first.fleet.processors.map(({ id, digest }) => [id, digest])));

  const nothing = (): Promise<void> => Promise.resolve();
  const cold = await median(3, nothing, () => createObserver(pool, settings).observe());
  const observer = createObserver(pool, settings);
  await observer.observe();
  const observe = () => observer.observe();
  const idle = await median(9, nothing, observe);
  const changeOne = () => pool.query("update processors set k8s_namespace = k8s_namespace || 'x' where id = $1", [first.fleet.processors[7]?.id]);
  const oneChanged = await median(5, changeOne, observe);
  const decide = () => pool.query('update dory.state set version = version + 1');
  const decided = await median(5, decide, observe);
  return [
    row('observe, cold', cold, 2000),
    row('observe, nothing changed', idle, 120),
    row('observe, one processor changed', oneChanged, 600),
    row('observe, after a decision', decided, 500),
  ];
}

function row(name: string, value: number, most: number): BenchRow {
  return { name: `${name}, ${String(size)} processors`, value: Math.round(value), unit: 'ms', aim: `≤ ${String(most)}`, ok: value <= most };
}

async function median(times: number, prepare: () => Promise<unknown>, run: () => Promise<unknown>): Promise<number> {
  const spans: number[] = [];
  for (let i = 0; i < times; i += 1) {
    await prepare();
    const start = performance.now();
    await run();
    spans.push(performance.now() - start);
  }
  return spans.sort((a, b) => a - b)[Math.floor(times / 2)] ?? 0;
}

import type { Pool } from 'pg';
import { createObserver, type ObserveSettings } from '../../src/observe/database.ts';
import { seedPlacementsAtHome, seedSyntheticFleet } from '../support/seed-database.ts';
import { atMost, count, median, timed, type BenchRow, type BenchSize } from './measure.ts';
import { testPolicy } from '../support/policy.ts';

const settings: ObserveSettings = {
  policy: testPolicy,
  policies: [],
  defaultNamespace: 'default',
  receiver: 'dory',
  siteColumn: null,
};

/** Reads a fleet in which each processor has a sensor, and ten share a node. `pool`: a migrated, empty database. */
export async function benchObserve({ pool }: { readonly pool: Pool }, { fleet, rounds }: BenchSize): Promise<readonly BenchRow[]> {
  await seedSyntheticFleet(pool, { processors: fleet });
  const first = await createObserver(pool, settings).observe();
  await seedPlacementsAtHome(pool, new Map(first.fleet.processors.map(({ id, digest }) => [id, digest])));

  const nothing = (): Promise<void> => Promise.resolve();
  const cold = await medianOf(Math.ceil(rounds / 2), nothing, () => createObserver(pool, settings).observe());
  const observer = createObserver(pool, settings);
  await observer.observe();
  const observe = () => observer.observe();
  const idle = await medianOf(rounds * 2 - 1, nothing, observe);
  const changeOne = () => pool.query("update processors set k8s_namespace = k8s_namespace || 'x' where id = $1", [first.fleet.processors[7]?.id]);
  const oneChanged = await medianOf(rounds, changeOne, observe);
  const decide = () => pool.query('update dory.state set version = version + 1');
  const decided = await medianOf(rounds, decide, observe);
  const of = `${count(fleet)} processors`;
  return [
    atMost(`observe, cold, ${of}`, cold, 'ms', 2000),
    atMost('  nothing changed', idle, 'ms', 120),
    atMost('  one processor changed', oneChanged, 'ms', 600),
    atMost('  after a decision', decided, 'ms', 500),
  ];
}

async function medianOf(times: number, prepare: () => Promise<unknown>, run: () => Promise<unknown>): Promise<number> {
  const spans: number[] = [];
  for (let i = 0; i < times; i += 1) {
    await prepare();
    spans.push((await timed(run)).ms);
  }
  return median(spans);
}

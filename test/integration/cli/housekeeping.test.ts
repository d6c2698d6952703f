import { afterEach, beforeEach, expect, it } from 'vitest';
import { keepHouse } from '../../../src/cli/housekeeping.ts';
import type { Runtime } from '../../../src/cli/runtime.ts';
import { seconds } from '../../../src/model/time.ts';
import type { Leadership } from '../../../src/platform/campaign.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { manualClock } from '../../support/clock.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await testDatabase();
  await seedSmallFleet(database.pool);
  await database.pool.query(`insert into dory.events (at, kind) values (now() - interval '91 days', 'old')`);
});
afterEach(() => database.close());

it('is kept while this instance leads: rows are counted by status, and old events go', async () => {
  const clock = manualClock();
  const metrics = createMetrics();
  const leading = { now: false };
  const leadership = { current: () => (leading.now ? { holder: 'test', epoch: 1 } : null) } as unknown as Leadership;
  const runtime = { pool: database.pool, clock, log: silentLog, settings: { retention: { events: seconds(90 * 24 * 3600) } } } as unknown as Runtime;
  const stop = new AbortController();
  const kept = keepHouse(runtime, leadership, metrics, stop.signal);
  const pods = async (): Promise<unknown> => (await metrics.pods.get()).values.map(({ labels, value }) => [labels.status, value]);
  const events = async (): Promise<number> => (await database.pool.query('select from dory.events')).rowCount ?? 0;
  const round = async (): Promise<void> => {
    await clock.asleep();
    clock.advance(seconds(15));
    await clock.asleep();
  };

  await round();
  expect([await pods(), await events()]).toEqual([[], 1]);
  leading.now = true;
  await round();
  expect([await pods(), await events()]).toEqual([[['pending', 3]], 0]);
  await database.pool.query(`insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values (1, now(), 1, 'x', 'x', 'x')`);
  await database.pool.query(`update processors set status = 'running'; insert into dory.events (at, kind) values (now() - interval '91 days', 'old')`);
  await round();
  // Once an hour is enough for what is kept for months.
  expect([await pods(), await events()]).toEqual([[['running', 3]], 1]);
  expect((await metrics.pendingRevisions.get()).values).toMatchObject([{ value: 1 }]);
  stop.abort();
  await kept;
});

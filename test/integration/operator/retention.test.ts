import { afterEach, beforeEach, expect, it } from 'vitest';
import { seconds } from '../../../src/model/time.ts';
import { deleteOldEvents } from '../../../src/operator/retention.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let database: TestDatabase;
beforeEach(async () => { database = await testDatabase(); });
afterEach(() => database.close());

const day = seconds(24 * 3600);
const never = new AbortController().signal;

it('deletes what is older than it should be, in batches, and nothing else', async () => {
  await database.pool.query(`insert into dory.events (at, kind) select now() - interval '91 days', 'old' from generate_series(1, 12001)`);
  await database.pool.query(`insert into dory.events (at, kind) values (now() - interval '89 days', 'young'), (now(), 'new')`);
  expect(await deleteOldEvents(database.pool, seconds(90 * day / 1000), never)).toBe(12_001);
  const { rows } = await database.pool.query<{ kind: string }>('select kind from dory.events order by at');
  expect(rows.map(({ kind }) => kind)).toEqual(['young', 'new']);
  expect(await deleteOldEvents(database.pool, seconds(90 * day / 1000), never)).toBe(0);
});

it('stops between batches when it is told to', async () => {
  await database.pool.query(`insert into dory.events (at, kind) values (now() - interval '91 days', 'old')`);
  expect(await deleteOldEvents(database.pool, day, AbortSignal.abort())).toBe(0);
});

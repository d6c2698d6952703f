import { afterAll, beforeAll, expect, test } from 'vitest';
import { migrate } from '../../../src/platform/migrate.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await testDatabase();
});
afterAll(async () => {
  await db.close();
});

test('a migrated database has nothing to do', async () => {
  expect(await migrate(db.pool)).toEqual({ applied: [], created: [] });
});

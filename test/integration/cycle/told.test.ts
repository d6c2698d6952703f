import { afterEach, expect, test } from 'vitest';
import type { Push } from '../../../src/apply/argocd.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../../support/fleet.ts';
import { testDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

const closes: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closes.splice(0).reverse()) await close();
});

test('who applies is told of each push: from which commit to which, and what changed; and of one that nobody may have told of', async () => {
  const database = await testDatabase();
  closes.push(() => database.close());
  const folder = await temporaryFolder();
  closes.push(() => folder.remove());
  await seedSmallFleet(database.pool);
  const told: Push[] = [];
  const instance = async (): Promise<TestFleet> => {
    const fleet = await testFleet({ ...database, folder: folder.path, onPushed: (push) => { told.push(push); } });
    closes.push(() => fleet.close());
    return fleet;
  };
  const fleet = await instance();
  const head = async (): Promise<string> => (await fleet.git('rev-parse', 'main')).trim();
  await fleet.once();
  const first = await head();
  await fleet.age(61_000, 'edge-1');
  await fleet.once();
  const second = await head();
  const changed = (await fleet.git('diff', '--name-only', first, second)).trim().split('\n');
  expect(told.map(({ before, commit }) => [before, commit])).toEqual([[null, first], [first, second]]);
  expect([...(told[1]?.paths ?? [])].sort()).toEqual(changed.sort());

  await fleet.once();
  expect(told).toHaveLength(2);

  // As if the leader had died right after the push.
  await database.pool.query('update dory.revisions set committed_at = null, commit_sha = null where id = (select max(id) from dory.revisions)');
  await (await instance()).once();
  expect(told.slice(2)).toEqual([{ before: null, commit: second, paths: null }]);
});

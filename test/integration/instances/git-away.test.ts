import { rename } from 'node:fs/promises';
import { expect, onTestFinished, test } from 'vitest';
import { seedSmallFleet, testFleet } from '../../support/fleet.ts';
import { testDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

test('a writer that lives is not stopped while the Git host is away, for its successor could not be started', async () => {
  const [database, folder] = [await testDatabase(), await temporaryFolder()];
  onTestFinished(async () => {
    await fleet.close();
    await database.close();
    await folder.remove();
  });
  await seedSmallFleet(database.pool);
  const fleet = await testFleet({ ...database, folder: folder.path });
  await fleet.once();
  const phases = async (): Promise<unknown> => (await database.pool.query('select phase, epoch from dory.placements order by processor_id')).rows;
  const before = await phases();
  await rename(fleet.remote, `${fleet.remote}.away`);
  await database.pool.query(`update edge_nodes set status = 'decommissioned' where name = 'edge-1'`);
  await expect(fleet.once()).rejects.toMatchObject({ code: 'git-unreachable' });
  expect(await phases()).toEqual(before);
  await rename(`${fleet.remote}.away`, fleet.remote);
  expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['stop', 'stop']);
  expect(await phases()).toMatchObject([{ phase: 'stopping' }, { phase: 'stopping' }, { phase: 'active' }]);
});

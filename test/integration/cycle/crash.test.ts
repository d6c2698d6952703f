import { beforeAll, expect, it } from 'vitest';
import { startChild } from '../../support/child.ts';
import { seedSmallFleet, testFleet } from '../../support/fleet.ts';
import { testDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

const points = [
  'observed', 'planned', 'before:insert into dory.revisions', 'after:insert into dory.revisions', 'after:insert into dory.changes', 'before:update dory.state',
  'before:commit', 'after:commit', 'decided', 'rendered', 'push', 'before:update dory.revisions', 'after:update dory.revisions', 'committed',
];

/** What is left in the end, without what differs from run to run: dates, and names that follow from them. */
async function endState(kill: string | null): Promise<{ died: boolean; rows: unknown; files: string; commits: number; pending: number }> {
  const database = await testDatabase();
  const folder = await temporaryFolder();
  try {
    await seedSmallFleet(database.pool);
    const fleet = await testFleet({ ...database, folder: folder.path });
    await fleet.once();
    await fleet.age(61_000, 'edge-1');
    let died = false;
    if (kill !== null) {
      const child = startChild('dying-cycle', [database.url, folder.path, kill]);
      died = (await child.ended).signal === 'SIGKILL';
      // The dead one's lease would have to run out first: that is what leadership's own tests are about.
      await database.pool.query('update dory.leader set expires_at = clock_timestamp()');
    }
    await fleet.close();
    const survivor = await testFleet({ ...database, folder: folder.path });
    await survivor.once();
    expect((await survivor.once()).decision.wrote, 'the fleet is at rest').toBe(false);
    const { rows } = await database.pool.query(
      `select p.processor_id, p.epoch, p.target_kind, p.phase, p.reason, p.revision, (select count(*) from dory.changes c where c.processor_id = p.processor_id) as changes,
              (select count(*) from dory.events e where e.processor_id = p.processor_id) as events, (select status from processors where id = p.processor_id) as status
         from dory.placements p order by 1`,
    );
    const pending = await database.pool.query('select from dory.revisions where committed_at is null');
    const manifests = (await survivor.git('ls-tree', '-r', 'main', 'clusters/test/processors/')).split('\n').filter((line) => line.includes('.yaml'));
    const commits = (await survivor.git('rev-list', 'main')).trim().split('\n').length;
    await survivor.close();
    return { died, rows, files: manifests.join('\n'), commits, pending: pending.rowCount ?? 0 };
  } finally {
    await database.close();
    await folder.remove();
  }
}

let undisturbed: Awaited<ReturnType<typeof endState>>;
beforeAll(async () => {
  undisturbed = await endState(null);
  expect(undisturbed).toMatchObject({ pending: 0, commits: 2 });
});

it.concurrent.each(points)('killed at "%s", the next cycle ends as if nothing had happened', async (point) => {
  const disturbed = await endState(point);
  expect(disturbed.died, 'the point was reached').toBe(true);
  expect({ ...disturbed, died: false }).toEqual(undisturbed);
});

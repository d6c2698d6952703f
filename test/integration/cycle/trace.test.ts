import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseTrailers } from '../../../src/commit/message.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

let fleet: SmallFleet;

beforeEach(async () => {
  fleet = await openSmallFleet();
});

afterEach(() => fleet.close());

it('is found by one name from the verdict to the commit, and what others write bears no cycle\'s name', async () => {
  await fleet.once();
  await fleet.age(61_000, 'edge-1');
  await fleet.once();
  const { rows } = await fleet.pool.query<{ kinds: string[]; cycle: string; revision: string }>(
    `select array_agg(distinct e.kind order by e.kind) as kinds, e.cycle, r.id as revision
       from dory.events e join dory.revisions r on r.cycle = e.cycle where r.id = 2 group by e.cycle, r.id`,
  );
  expect(rows).toEqual([{ kinds: ['move', 'verdict-lost'], cycle: expect.stringMatching(/^[0-9a-f]{12}$/) as string, revision: '2' }]);
  expect(parseTrailers(await fleet.git('log', '-1', '--format=%B', 'main')).get('Dory-Cycle')).toBe(rows[0]?.cycle);

  await fleet.pool.query(`insert into dory.events (kind) values ('approved')`);
  const other = await fleet.pool.query(`select cycle from dory.events where kind = 'approved'`);
  expect(other.rows).toEqual([{ cycle: null }]);
});

it('is told how long a signal waited for its commit', async () => {
  await fleet.once();
  await fleet.age(65_000, 'edge-1');
  const { publication, snapshot } = await fleet.once();
  if (publication?.kind !== 'pushed') throw new Error('nothing was pushed');
  const [detected = Number.NaN] = publication.detected;
  expect(publication.detected).toHaveLength(1);
  expect(snapshot.at - detected).toBeGreaterThanOrEqual(5_000);
  expect(snapshot.at - detected).toBeLessThan(60_000);
});

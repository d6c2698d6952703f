import { expect, onTestFinished, test } from 'vitest';
import type { Ended, Workshop } from '../cli/program.ts';
import { workshop } from '../cli/program.ts';
import { seedSmallFleet } from '../../support/fleet.ts';

const count = 40;

/** As many managed processors more, placed and committed. */
async function crowd(): Promise<Workshop> {
  const shop = await workshop();
  onTestFinished(shop.close);
  await seedSmallFleet(shop.pool);
  await shop.pool.query(
    `insert into processors (id, processor_template_id, node_type) select md5('crowd-' || n)::uuid, '00000000-0000-4000-8000-00000000000a', 'managed' from generate_series(1, $1::int) n`,
    [count],
  );
  expect((await shop.here('reconcile', '--once')).code).toBe(0);
  return shop;
}

const json = ({ out }: Ended): Readonly<Record<string, unknown>> => JSON.parse(out) as never;

test('an approval of the budget lets go what was withheld when it was given, and nothing that came later', async () => {
  const shop = await crowd();
  const leave = (where: string) => shop.pool.query(`update processors set status = 'terminated' where node_type = 'managed' and id <> '00000000-0000-4000-8000-0000000000c3' and ${where}`);
  const removed = async (): Promise<number> => ((json(await shop.here('reconcile', '--once', '-o', 'json'))['plan'] as { changes: unknown[] }).changes.length);
  await leave(`id in (select id from processors where node_type = 'managed' order by id limit 35)`);
  expect(await removed()).toBe(0);

  const approved = json(await shop.here('approve', 'budget', '--reason', 'the site is closed', '-o', 'json'));
  expect(approved['covers']).toHaveLength(34);
  await leave('true');
  expect(await removed()).toBe(34);
  expect((await shop.pool.query('select count(*)::int as n from dory.placements')).rows).toEqual([{ n: 3 + count - 34 }]);
});

test('with nothing withheld there is nothing to approve', async () => {
  const shop = await crowd();
  const { code, err } = await shop.here('approve', 'guard', '--reason', 'r');
  expect(code).toBe(1);
  expect(err).toContain('dory status');
  expect((await shop.pool.query('select * from dory.approvals')).rows).toEqual([]);
});

test('a stop is confirmed of a processor that is stopping, or whose node is lost; of no other', async () => {
  const shop = await crowd();
  const confirm = async (processor: string): Promise<number | null> => (await shop.here('confirm-stop', processor, '--reason', 'looked', '--by', 'ada')).code;
  const [cam, report] = ['00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000c3'];
  expect([await confirm(cam), await confirm(report)]).toEqual([1, 1]);
  await shop.pool.query(`update dory.node_verdicts set verdict = 'lost'`);
  await shop.pool.query(`update dory.placements set phase = 'stopping' where processor_id = $1`, [report]);
  expect([await confirm(cam), await confirm(report), await confirm(report)]).toEqual([0, 0, 0]);
  const { rows } = await shop.pool.query('select processor_id, epoch, confirmed_by from dory.stop_confirmations order by processor_id');
  expect(rows).toEqual([cam, report].map((id) => ({ processor_id: id, epoch: '1', confirmed_by: 'ada' })));
});

import { afterAll, beforeAll, expect, it } from 'vitest';
import type { z } from 'zod';
import { drill } from '../../../src/operator/drill.ts';
import { explain } from '../../../src/operator/explain.ts';
import type { Operation } from '../../../src/operator/operation.ts';
import { simulate } from '../../../src/operator/simulate.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { workshop, type Workshop } from '../cli/program.ts';

let shop: Workshop;

/** `cam-1` and `cam-2` at home on `edge-1`, which is well and has beaten since; `cam-1` honours leases. */
beforeAll(async () => {
  shop = await workshop();
  await seedSmallFleet(shop.pool);
  expect((await shop.here('reconcile', '--once')).code).toBe(0);
  await shop.pool.query(`
    insert into dory.beats (processor_id, epoch, last_beat_at, status, lease_until)
      values ('00000000-0000-4000-8000-0000000000c1', 1, now(), 'healthy', now() + interval '30 seconds'),
             ('00000000-0000-4000-8000-0000000000c2', 1, now(), 'healthy', null);
  `);
});

afterAll(() => shop.close());

async function json<Output extends z.ZodType>({ output }: Operation<z.ZodObject, Output>, ...args: string[]): Promise<{ readonly code: number | null; readonly answer: z.output<Output> }> {
  const { code, out } = await shop.here(...args, '-o', 'json');
  return { code, answer: output.parse(JSON.parse(out)) };
}

/** What a command that writes nothing leaves as it is. */
async function footprint(): Promise<unknown> {
  const { rows } = await shop.pool.query(`
    select (select version from dory.state) as version, (select count(*) from dory.events) as events, (select count(*) from dory.revisions) as revisions,
           (select sum(xmin::text::bigint) from dory.placements) as placements, (select sum(xmin::text::bigint) from edge_nodes) as nodes,
           (select count(*) from dory.node_verdicts) as verdicts, (select count(*) from dory.holds) as holds`);
  return rows[0];
}

it('a simulation on the live fleet knows the leases of its agents, and writes nothing', async () => {
  await shop.pool.query(`update dory.beats set lease_until = now() + interval '30 seconds' where lease_until is not null`);
  const before = await footprint();
  const { code, answer } = await json(simulate, 'simulate', '--fail', 'edge-1');
  expect(code).toBe(0);
  // The one without a lease at the threshold; the one with a lease after its lease of 30 s, stop grace of 30 s and margin of 10 s.
  expect(answer.commits.map(({ changes }) => changes.map(({ id }) => id.slice(-2)))).toEqual([['c2'], ['c1']]);
  const [first, second] = answer.commits.map(({ decidedAfterMs }) => decidedAfterMs / 1000);
  expect(first).toBeGreaterThan(50);
  expect(first).toBeLessThanOrEqual(61);
  expect(second).toBeGreaterThan(60);
  expect(second).toBeLessThanOrEqual(71);
  expect(await footprint()).toEqual(before);
});

it('a drill takes each node with processors in turn, and ends with 4 where one would be left without a place', async () => {
  const before = await footprint();
  const well = await json(drill, 'drill');
  expect(well).toMatchObject({ code: 0, answer: { now: { placed: 3, due: 0, held: 0, guard: 'calm' }, losses: [{ failed: ['edge-1'], processors: 2, moved: 2, unplaced: 0 }] } });
  expect(await footprint()).toEqual(before);
  await shop.pool.query(`insert into dory.policies (match, on_failure, set_by) values ('template/camera', 'hold', 'test')`);
  try {
    expect(await json(drill, 'drill')).toMatchObject({ code: 4, answer: { losses: [{ moved: 0, unplaced: 2 }] } });
  } finally {
    await shop.pool.query('delete from dory.policies');
  }
  expect((await shop.here('drill')).out).toContain('Every one of these losses leaves each processor with a place.');
});

it('an explanation of a processor of a healthy fleet has its agent and its lease all the same', async () => {
  const { code, answer } = await json(explain, 'explain', '00000000-0000-4000-8000-0000000000c1');
  expect(code).toBe(0);
  expect(answer.processor).toMatchObject({ home: 'edge-1', atHome: true, placement: { target: 'edge-1', epoch: 1 }, agent: { pods: 'not-configured', acknowledgedMs: null } });
  expect(answer.processor?.agent?.leaseMs).not.toBeNull();
  expect(answer.node).toMatchObject({ name: 'edge-1', verdict: 'healthy' });
  const page = await shop.here('explain', 'edge-1');
  expect(page.out).toContain('2 placed (0 stopping), home of 2');
  expect(await shop.here('explain', 'nobody')).toMatchObject({ code: 1 });
});

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { PolicyOverride, Snapshot } from '../../../src/model/snapshot.ts';
import { noControls, readControls, type Controls } from '../../../src/observe/controls.ts';
import { inTransaction } from '../../../src/platform/pg.ts';
import { testPolicy } from '../../support/policy.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

const [node, one, two] = ['e1', 'c1', 'c2'].map((end) => `00000000-0000-4000-8000-0000000000${end}`) as [string, string, string];

let database: TestDatabase;
beforeAll(async () => void (database = await testDatabase()));
afterAll(() => database.close());
beforeEach(() => sql('truncate dory.policies, dory.approvals, dory.locks, dory.guard, dory.revisions cascade; update dory.pause set paused = false, changed_by = null, reason = null, changed_at = null'));
const sql = (text: string, ...values: unknown[]) => database.pool.query<Record<string, unknown>>(text, values);
const controls = (fromSettings: readonly PolicyOverride[] = []): Promise<Controls> =>
  inTransaction(database.pool, { isolation: 'repeatable read', readOnly: true }, (client) => readControls(client, testPolicy, fromSettings));
const ms = async (expression: string): Promise<number> => Number((await sql(`select round(extract(epoch from ${expression}) * 1000)::bigint as ms`)).rows[0]?.['ms']);

test('nothing said by anybody is nothing', async () => {
  expect(await controls()).toEqual(noControls);
});

describe('policies', () => {
  test('of the database go over those of the settings, field by field', async () => {
    await sql(`insert into dory.policies (match, on_failure, failback, failback_from, failback_to, targets, priority, set_by)
               values ('template/camera', 'hold', 'window', 120, 240, '{managed}', 0, 'ann'), ('processor/${one}', null, null, null, null, null, -3, 'ann')`);
    await sql(`update dory.policies set writer_alive = 'hold', unfenced = 'hold', state_loss = 'accept' where match like 'processor/%'`);
    const settings: PolicyOverride[] = [
      { match: 'template/camera', policy: { onFailure: 'manual', unfenced: 'hold' } },
      { match: 'template/lidar', policy: { priority: 9 } },
    ];
    expect((await controls(settings)).policies).toEqual([
      { match: `processor/${one}`, policy: { priority: -3, writerAlive: 'hold', unfenced: 'hold', stateLoss: 'accept' } },
      { match: 'template/camera', policy: { onFailure: 'hold', unfenced: 'hold', failback: 'window', failbackWindow: { fromMinute: 120, toMinute: 240 }, targets: ['managed'], priority: 0 } },
      { match: 'template/lidar', policy: { priority: 9 } },
    ]);
  });
});

describe('approvals', () => {
  test('tell when they were given and whom they cover, sorted, as long as they hold', async () => {
    await sql(
      `insert into dory.approvals (subject, approved_by, reason, approved_at, expires_at, covers) values
         ('guard', 'ann', 'seen', '2026-01-01', now() + interval '1 hour', $1), ('budget', 'bob', 'seen', '2026-01-01', now() + interval '1 hour', null),
         ('empty-result', 'ann', 'seen', '2026-01-01', now() - interval '1 ms', null)`,
      [two, one],
    );
    const at = Date.UTC(2026, 0, 1);
    expect((await controls()).approvals).toEqual([
      { subject: 'budget', by: 'bob', at, covers: null },
      { subject: 'guard', by: 'ann', at, covers: [one, two] },
    ]);
  });

  test('that cover nobody are not those that cover all', async () => {
    await sql("insert into dory.approvals (subject, approved_by, reason, expires_at, covers) values ('guard', 'ann', 'seen', now() + interval '1 hour', '{}')");
    expect((await controls()).approvals).toMatchObject([{ covers: [] }]);
  });
});

describe('locks', () => {
  const begin = (subject: string, expires: string, ended: string) =>
    sql(`insert into dory.locks (scope, subject, name, owner, reason, expires_at, ended_at) values ('node', '${subject}', 'edge-1', 'ann', 'disk', ${expires}, ${ended})`);

  test('that hold have no end', async () => {
    await begin(node, "'2100-01-01'", 'null');
    expect((await controls()).locks).toEqual([{ id: expect.any(Number) as number, scope: 'node', subject: node, owner: 'ann', reason: 'disk', until: Date.UTC(2100, 0, 1), endedAt: null }]);
  });

  test('end when they are ended or run out, and are kept as long as a clock may wait for them', async () => {
    await begin(node, "now() - interval '1 minute'", 'null');
    await begin(one, "now() + interval '1 hour'", "'2026-01-01'");
    await begin(two, "now() - interval '1 day'", 'null');
    expect((await controls()).locks).toMatchObject([{ subject: node, endedAt: await ms("(select expires_at from dory.locks where name = 'edge-1' and subject = '00000000-0000-4000-8000-0000000000e1')") }]);
    await sql('update dory.locks set ended_at = now() where ended_at is not null');
    expect((await controls()).locks.map(({ subject, endedAt }) => [subject, typeof endedAt])).toEqual([[one, 'number'], [node, 'number']]);
  });
});

test.each<[string, string, Snapshot['pause']]>([
  ['paused', "update dory.pause set paused = true, changed_by = 'ann', reason = 'storm', changed_at = '2026-01-01'", { paused: { by: 'ann', reason: 'storm', since: Date.UTC(2026, 0, 1) as never }, resumedAt: null }],
  ['resumed', "update dory.pause set paused = false, changed_by = 'ann', reason = 'over', changed_at = '2026-01-01'", { paused: null, resumedAt: Date.UTC(2026, 0, 1) as never }],
])('automation that was %s', async (_, change, expected) => {
  await sql(change);
  expect((await controls()).pause).toEqual(expected);
});

test('the guard keeps its word to the millisecond', async () => {
  await sql("insert into dory.guard (state, since, left_panic_at, reason, evidence) values ('degraded', '2026-01-01 00:00:00.123', '2025-12-31 23:59:59.999', 'guard-degraded', '{}')");
  expect((await controls()).guard).toEqual({ state: 'degraded', since: Date.UTC(2026, 0, 1) + 123, leftPanicAt: Date.UTC(2026, 0, 1) - 1 });
});

test('what was spent within the window counts, and nothing before it', async () => {
  await sql(`insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer, spent) values
    (1, now() - interval '301 s', 1, 'spec-changed', '', 'test', 100), (2, now() - interval '299 s', 1, 'spec-changed', '', 'test', 20), (3, now(), 1, 'heartbeat-stale', '', 'test', 3)`);
  expect((await controls()).spent).toBe(23);
});

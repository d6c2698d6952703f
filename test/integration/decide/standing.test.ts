import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { holdChanges, writeHolds } from '../../../src/decide/holds.ts';
import { readRecorded } from '../../../src/decide/recorded.ts';
import type { ProcessorId } from '../../../src/model/ids.ts';
import type { Hold } from '../../../src/model/plan.ts';
import { instant } from '../../../src/model/time.ts';
import { inTransaction } from '../../../src/platform/pg.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

const [edge1, cam1, cam2] = ['e1', 'c1', 'c2'].map((end) => `00000000-0000-4000-8000-0000000000${end}`) as [string, string, string];

let fleet: SmallFleet;
beforeEach(async () => {
  fleet = await openSmallFleet();
  await fleet.once();
});
afterEach(() => fleet.close());

const rows = async (text: string) => (await fleet.pool.query<Record<string, unknown>>(text)).rows;
const holds = () => rows('select processor_id, reason, needs_person from dory.holds order by 1');
const events = async (...kinds: string[]) => (await rows(`select kind, processor_id, node_id, reason, evidence from dory.events where kind = any('{${kinds.join(',')}}') order by id`));
const pause = (paused: boolean) => fleet.pool.query("update dory.pause set paused = $1, changed_by = 'ann', reason = 'storm', changed_at = clock_timestamp()", [paused]);

describe('holds', () => {
  test('are rows that begin, change their reason and end, each with an event; an idle cycle writes nothing', async () => {
    await pause(true);
    await fleet.age(61_000, 'edge-1');
    expect((await fleet.once()).decision).toMatchObject({ revision: null, wrote: true });
    expect(await holds()).toEqual([{ processor_id: cam1, reason: 'paused', needs_person: true }, { processor_id: cam2, reason: 'paused', needs_person: true }]);
    expect((await events('held'))[0]).toMatchObject({ processor_id: cam1, reason: 'paused', evidence: { by: 'ann', why: 'storm', withheld: 'move', because: 'heartbeat-stale', to: 'managed' } });

    await fleet.age(1_000, 'edge-1');
    expect((await fleet.once()).decision.wrote, 'the evidence is older, and nothing else').toBe(false);

    await pause(false);
    await fleet.once();
    expect(await holds()).toMatchObject([{ reason: 'fresh-grace', needs_person: false }, { reason: 'fresh-grace' }]);
    expect((await fleet.once()).decision.wrote, 'the grace goes on').toBe(false);

    await fleet.pool.query("update dory.pause set changed_at = changed_at - interval '1 minute'");
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['move', 'move']);
    expect(await holds()).toEqual([]);
    expect(await events('hold-ended')).toMatchObject([{ processor_id: cam1, reason: 'fresh-grace' }, { processor_id: cam2, reason: 'fresh-grace' }]);
    expect((await events('held')).map(({ reason }) => reason)).toEqual(['paused', 'paused', 'fresh-grace', 'fresh-grace']);
  });

  test('stay as they are while everything is refused', async () => {
    await pause(true);
    await fleet.age(61_000, 'edge-1');
    await fleet.once();
    const before = await holds();
    await fleet.pool.query('delete from processors');
    expect((await fleet.once()).planned.refusals).toHaveLength(1);
    expect(await holds()).toEqual(before);
  });

  test('of thousands are a row each, and one event a reason', async () => {
    const hold = (i: number, reason: Hold['reason']): Hold => ({
      processorId: `00000000-0000-4000-9000-${String(i).padStart(12, '0')}` as ProcessorId, reason, evidence: { by: 'ann' }, rejected: [], needsPerson: false, withheld: null,
    });
    const many = [...Array.from({ length: 5_001 }, (_, i) => hold(i, 'budget-spent')), hold(9_998, 'paused'), hold(9_999, 'paused')];
    const write = async (now: readonly Hold[]) => {
      const changes = holdChanges(await readRecorded(fleet.pool), { holds: now, refusals: [] });
      await inTransaction(fleet.pool, {}, (client) => writeHolds(client, instant(0), changes, null));
      return changes;
    };
    await write(many);
    expect(await rows('select count(*)::int as n from dory.holds')).toEqual([{ n: 5_003 }]);
    expect(await events('held')).toMatchObject([{ processor_id: null, reason: 'budget-spent', evidence: { processors: 5_001 } }, { reason: 'paused' }, { reason: 'paused' }]);
    expect((await write(many)).none).toBe(true);
    await write(many.slice(5_000));
    expect(await rows('select count(*)::int as n from dory.holds')).toEqual([{ n: 3 }]);
    expect(await events('hold-ended')).toMatchObject([{ processor_id: null, reason: 'budget-spent', evidence: { processors: 5_000 } }]);
  });
});

test('a refusal is told when it begins and when it ends, and once each', async () => {
  const status = (word: string) => fleet.pool.query('update processors set status = $1', [word]);
  await status('terminated');
  expect((await fleet.once()).decision).toEqual({ revision: null, wrote: true });
  expect((await fleet.once()).decision.wrote).toBe(false);
  expect(await events('refused', 'refusal-ended')).toMatchObject([{ kind: 'refused', reason: 'empty-result', evidence: { subject: 'empty-result', before: 3 } }]);
  await status('running');
  await fleet.once();
  expect((await fleet.once()).decision.wrote).toBe(false);
  expect((await events('refused', 'refusal-ended')).map(({ kind }) => kind)).toEqual(['refused', 'refusal-ended']);
});

describe('the fleet guard', () => {
  const guard = () => rows('select state, reason, left_panic_at is not null as left from dory.guard');
  const all = ['edge-1', 'edge-2', 'edge-3', 'edge-4'];
  beforeEach(async () => {
    await fleet.pool.query("insert into edge_nodes (id, name, last_heartbeat_at) select gen_random_uuid(), 'edge-' || n, now() from generate_series(3, 4) as n");
    await fleet.pool.query("insert into processors (id, processor_template_id, node_type, node_id) select gen_random_uuid(), '00000000-0000-4000-8000-00000000000a', 'edge', id from edge_nodes where name <> 'edge-1'");
    await fleet.beat(...all);
    await fleet.once();
  });

  test('has no row before its first word, and then one that changes with its state, with an event each time', async () => {
    expect(await guard()).toEqual([]);
    await fleet.age(25_000, ...all);
    await fleet.once();
    expect(await guard()).toEqual([{ state: 'panic', reason: 'guard-intake-fallen', left: false }]);
    await fleet.age(1_000, ...all);
    expect((await fleet.once()).decision.wrote).toBe(false);

    await fleet.beat(...all);
    await fleet.once();
    expect(await guard()).toEqual([{ state: 'calm', reason: 'guard-calm', left: true }]);
    expect((await fleet.once()).decision.wrote).toBe(false);
    expect(await events('guard-panic', 'guard-calm')).toMatchObject([{ kind: 'guard-panic', evidence: { late: 4, nodes: 4 } }, { kind: 'guard-calm', reason: 'guard-calm' }]);
  });

  test('remembers from cycle to cycle that it panics', async () => {
    await fleet.age(61_000, ...all);
    expect((await fleet.once()).planned.holds.map(({ reason }) => reason)).toEqual(Array.from({ length: 5 }, () => 'guard-frozen'));
    await fleet.pool.query("update dory.guard set since = since - interval '1 hour'; update dory.node_verdicts set since = since - interval '1 hour'");
    const { planned, decision } = await fleet.once();
    expect([planned.guard.state, planned.changes.length, decision.wrote]).toEqual(['panic', 0, false]);
  });
});

test('a lock that ran out is ended when it said, and told once', async () => {
  await fleet.pool.query(
    "insert into dory.locks (scope, subject, name, owner, reason, begun_at, expires_at) values ('node', $1, 'edge-1', 'ann', 'disk', now() - interval '2 hours', now() - interval '1 hour')",
    [edge1],
  );
  expect((await fleet.once()).decision.wrote).toBe(true);
  expect(await rows('select ended_at = expires_at as punctual, ended_by from dory.locks')).toEqual([{ punctual: true, ended_by: null }]);
  expect((await fleet.once()).decision.wrote).toBe(false);
  expect(await events('lock-expired')).toEqual([{ kind: 'lock-expired', node_id: edge1, processor_id: null, reason: null, evidence: { lock: 'node/edge-1', owner: 'ann', reason: 'disk' } }]);
});

test('a revision tells what it spent of the change budget, and the next cycle knows', async () => {
  expect(await rows('select spent from dory.revisions')).toEqual([{ spent: 0 }]);
  await fleet.pool.query("update processor_template_versions set version = '1.0.1'");
  await fleet.once();
  expect(await rows('select spent from dory.revisions order by id')).toEqual([{ spent: 0 }, { spent: 3 }]);
  expect((await fleet.once()).snapshot.spent).toBe(3);
});

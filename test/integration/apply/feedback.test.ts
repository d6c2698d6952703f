import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFeedback, type Feedback } from '../../../src/apply/feedback.ts';
import { observeSettings } from '../../../src/cli/policy.ts';
import type { LivePod, LiveProcessor, LiveSet } from '../../../src/model/rollout.ts';
import { seconds } from '../../../src/model/time.ts';
import { createObserver } from '../../../src/observe/database.ts';
import type { Lease } from '../../../src/platform/leadership.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../../src/platform/metrics.ts';
import { loadSettings } from '../../../src/platform/settings.ts';
import { manualClock, type ManualClock } from '../../support/clock.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

const id = (end: string): string => `00000000-0000-4000-8000-0000000000${end}`;

let database: TestDatabase;
let clock: ManualClock;
let metrics: Metrics;
let feedback: Feedback;
let lease: Lease | null;
let cluster: Map<string, LiveProcessor> | null;
let stop: AbortController;
let ended: Promise<void>;

/** Three processors, placed and committed as revision 1; nothing of it on the cluster. */
beforeEach(async () => {
  database = await testDatabase();
  await seedSmallFleet(database.pool);
  clock = manualClock();
  metrics = createMetrics();
  cluster = new Map();
  lease = await lead();
  begin();
  await rounds();
  await database.pool.query(`
    insert into dory.revisions (id, decided_at, committed_at, leader_epoch, trigger, inputs_digest, renderer) values (1, now(), now(), 1, 'first-placement', '', 'test');
    insert into dory.placements (processor_id, epoch, target_kind, target_node_id, target_node_name, phase, reason, since, spec_digest, revision)
      select p.id, 1, p.node_type, n.id, n.name, 'active', 'first-placement', now(), '', 1 from processors p left join edge_nodes n on n.id = p.node_id`);
});
afterEach(async () => {
  await end();
  await database.close();
});

function begin(): void {
  feedback = createFeedback({ pool: database.pool, clock, log: silentLog, metrics, lease: () => lease, policy, live: (of) => (cluster === null ? null : (cluster.get(of) ?? nothing)) });
  stop = new AbortController();
  ended = feedback.run(stop.signal);
}
async function end(): Promise<void> {
  stop.abort();
  await ended;
}
const nothing: LiveProcessor = { sets: [], pods: [], podlessSince: null, refusal: null };
const policy = { progressDeadline: seconds(600), startGrace: seconds(120), steadyAfterCrash: seconds(30) };
/** As another instance would hold it for a long time. */
async function lead(): Promise<Lease> {
  const { rows } = await database.pool.query<{ epoch: string }>(`update dory.leader set epoch = epoch + 1, holder = 'test', expires_at = now() + interval '1 hour' returning epoch`);
  return { holder: 'test', epoch: Number(rows[0]?.epoch) };
}
/** Until the loop has looked at what it was told, and rests. */
async function rounds(): Promise<void> {
  for (let n = 0; n < 3; n += 1) {
    await clock.asleep();
    clock.advance(seconds(1));
  }
  await clock.asleep();
}

interface Shown {
  readonly epoch?: number;
  readonly revision?: number;
  readonly pod?: Partial<LivePod> | null;
  readonly set?: Partial<LiveSet>;
  readonly refusal?: string | null;
}
async function show(end: string, { epoch = 1, revision = 1, pod = {}, set = {}, refusal = null }: Shown = {}): Promise<void> {
  const common = { processorId: id(end), epoch, namespace: 'default', terminating: false, since: clock.monotonic() };
  const name = `camera-${end}-e${String(epoch)}`;
  cluster?.set(id(end), {
    sets: [{ ...common, name, uid: `s-${name}`, revision, wanted: 1, stopped: false, short: pod === null, template: 't', ...set }],
    pods: pod === null ? [] : [{ ...common, name: `${name}-0`, uid: `p-${name}`, node: 'edge-1', nodeIp: '10.0.0.1', ready: true, template: 't', restarts: 0, trouble: null, cpu: 0, memory: 0, ...pod }],
    podlessSince: null,
    refusal,
  });
  feedback.touch(id(end));
  await rounds();
}
const noImage = { ready: false, trouble: { kind: 'waiting', reason: 'ErrImagePull', words: 'not found' } } as const;

async function row(end: string) {
  const { rows } = await database.pool.query<{ status: string; pod: string | null; ip: string | null; health: unknown; failures: number; state: string | null; reason: string | null; updated: string }>(
    `select p.status, p.k8s_pod_name as pod, p.node_ip as ip, p.health_status as health, p.consecutive_failures as failures, ro.state, ro.reason, p.updated_at = p.created_at as updated
       from processors p left join dory.rollouts ro on ro.processor_id = p.id where p.id = $1`, [id(end)]);
  return rows[0];
}
/** What was written, and what was locked: both leave their mark on the row. */
const marks = async (): Promise<unknown> =>
  (await database.pool.query(`select 'p', id::text, xmin::text, xmax::text from processors union all select 'r', processor_id::text, xmin::text, xmax::text from dory.rollouts
    union all select 'v', id::text, xmin::text, xmax::text from dory.revisions union all select 's', revision::text, xmin::text, xmax::text from dory.state order by 1, 2`)).rows;
const events = async (): Promise<string[]> =>
  (await database.pool.query<{ line: string }>(`select concat_ws(' ', kind, right(processor_id::text, 2), reason) as line from dory.events where kind like 'rollout-%' order by id`)).rows.map(({ line }) => line);
const revision = async (number: number) => (await database.pool.query<{ settled: boolean; live: boolean }>('select settled, live_at is not null as live from dory.revisions where id = $1', [number])).rows[0];

test('a roll-out is followed from its pod to the moment at which all of its revision is live', async () => {
  await show('c1', { pod: { ready: false } });
  expect(await row('c1')).toMatchObject({ status: 'starting', pod: 'camera-c1-e1-0', ip: '10.0.0.1', health: null, state: null });
  await show('c1');
  expect(await row('c1')).toMatchObject({ status: 'running', health: { status: 'healthy', healthy: true, source: 'kubernetes' }, failures: 0, state: 'live', updated: true });
  await show('c2');
  expect(await revision(1)).toEqual({ settled: false, live: false });
  await show('c3');
  expect(await revision(1)).toEqual({ settled: true, live: true });
  expect((await metrics.liveSeconds.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value).toBe(1);
  expect(await events()).toEqual([]);
});

test('with nothing new, nothing is written, nor locked; not by a look at everything either', async () => {
  for (const end of ['c1', 'c2', 'c3']) await show(end);
  await show('c2', { pod: noImage });
  const before = await marks();
  for (const end of ['c1', 'c2', 'c3']) feedback.touch(id(end));
  await rounds();
  clock.advance(seconds(400));
  await rounds();
  expect(await marks()).toEqual(before);
});

test('what is written wakes nobody, and is news to no snapshot', async () => {
  const observer = createObserver(database.pool, observeSettings(await loadSettings({ env: {}, flags: {} })));
  const before = await observer.observe();
  const heard: string[] = [];
  const listener = await database.pool.connect();
  listener.on('notification', ({ payload }) => { heard.push(payload ?? ''); });
  await listener.query('listen dory');
  for (const end of ['c1', 'c2', 'c3']) await show(end);
  await show('c1', { pod: noImage });
  expect(await row('c1')).toMatchObject({ status: 'running', state: 'failed', reason: 'image-pull' });
  expect(await revision(1)).toMatchObject({ live: true });
  // Notifications come in order, and before the answer to what was sent after them.
  await database.pool.query(`select pg_notify('dory', 'the last')`);
  await listener.query('select 1');
  listener.release(true);
  expect(heard).toEqual(['the last']);
  const after = await observer.observe();
  expect(after.fleet).toBe(before.fleet);
  expect(after.placements).toBe(before.placements);
});

test('a failure is told once, and its end; the row never leaves the desired set', async () => {
  await show('c1', { pod: noImage });
  await show('c1', { pod: { ...noImage, trouble: { kind: 'waiting', reason: 'ImagePullBackOff', words: 'Back-off' } } });
  expect(await row('c1')).toMatchObject({ status: 'starting', health: { status: 'image-pull', healthy: false, source: 'kubernetes' }, failures: 1, state: 'failed', reason: 'image-pull' });
  expect(await events()).toEqual(['rollout-failed c1 image-pull']);
  expect((await metrics.podCreationErrors.get()).values).toMatchObject([{ labels: { reason: 'image-pull' }, value: 1 }]);
  await show('c1', { pod: { ready: false } });
  expect(await row('c1')).toMatchObject({ state: 'progressing' });
  await show('c1');
  expect(await row('c1')).toMatchObject({ status: 'running', health: { status: 'healthy' }, failures: 0, state: 'live' });
  expect(await events()).toEqual(['rollout-failed c1 image-pull', 'rollout-recovered c1 pod-recovered']);
  expect((await database.pool.query('select from dory.placements')).rowCount).toBe(3);
});

test('a quota that keeps the pod from being created is told with the words of the cluster', async () => {
  await show('c1', { pod: null, refusal: 'pods "x" is forbidden: exceeded quota: small' });
  expect(await row('c1')).toMatchObject({ status: 'pending', pod: null, state: 'failed', reason: 'quota-exceeded', health: { status: 'quota-exceeded' } });
});

describe('an agent that beats', () => {
  const beat = async (): Promise<void> => {
    await database.pool.query(`update processors set health_status = '{"status": "healthy", "healthy": true}', consecutive_failures = 0 where id = $1`, [id('c1')]);
    await database.pool.query(`insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 1, now()) on conflict do nothing`, [id('c1')]);
  };

  test('has the last word', async () => {
    await beat();
    await show('c1', { pod: noImage });
    expect(await row('c1')).toMatchObject({ health: { status: 'image-pull' } });
    await beat();
    feedback.touch(id('c1'));
    await rounds();
    expect(await row('c1')).toMatchObject({ health: { status: 'healthy', healthy: true }, failures: 0, state: 'failed' });
  });

  test('speaks for itself when its pod is ready', async () => {
    await beat();
    await database.pool.query(`update processors set health_status = '{"status": "degraded", "healthy": false}', consecutive_failures = 7 where id = $1`, [id('c1')]);
    await show('c1');
    expect(await row('c1')).toMatchObject({ health: { status: 'degraded', healthy: false }, failures: 7, state: 'live' });
  });
});

test('an agent of an earlier placement does not speak for this one', async () => {
  await database.pool.query(`insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 1, now())`, [id('c1')]);
  await database.pool.query(`update processors set health_status = '{"status": "degraded", "healthy": false}', consecutive_failures = 7 where id = $1`, [id('c1')]);
  await database.pool.query('update dory.placements set epoch = 2');
  await show('c1', { epoch: 2 });
  expect(await row('c1')).toMatchObject({ health: { status: 'healthy', source: 'kubernetes' }, failures: 0 });
});

test.each(['terminated', 'failed'])('what an operator called %s is left as it is', async (status) => {
  await database.pool.query('update processors set status = $2 where id = $1', [id('c1'), status]);
  await show('c1');
  expect(await row('c1')).toMatchObject({ status, pod: null, health: null, state: null });
});

test('what the cluster does not show ten minutes after its commit failed', async () => {
  await database.pool.query(`update dory.revisions set committed_at = now() - interval '599 seconds'`);
  feedback.touch(id('c1'));
  await rounds();
  expect(await row('c1')).toMatchObject({ state: null });
  await database.pool.query(`update dory.revisions set committed_at = now() - interval '601 seconds'`);
  clock.advance(seconds(5));
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'failed', reason: 'not-applied' });
  expect((await metrics.podCreationErrors.get()).values, 'there was no pod to create').toEqual([]);
});

test('what was decided is looked at again when it is on the remote', async () => {
  await database.pool.query('update dory.revisions set committed_at = null');
  feedback.touch(id('c1'));
  await rounds();
  await database.pool.query(`update dory.revisions set committed_at = now() - interval '601 seconds'`);
  await rounds();
  expect(await row('c1')).toMatchObject({ state: null });
  feedback.published();
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'failed', reason: 'not-applied' });
});

test('of a cluster that gives no news nothing is told, and all of it afterwards', async () => {
  const known = cluster;
  await show('c2');
  await show('c1', { pod: noImage });
  cluster = null;
  known?.set(id('c1'), known.get(id('c2')) ?? nothing);
  feedback.touch(id('c1'));
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'failed' });
  cluster = known;
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'live', pod: 'camera-c2-e1-0' });
});

test('whoever does not lead writes nothing, and looks at everything once it does', async () => {
  lease = null;
  await show('c1');
  expect(await row('c1')).toMatchObject({ state: null, status: 'pending' });
  // It believes that it leads, and another one does: the transaction says no.
  lease = { holder: 'test', epoch: 99 };
  feedback.touch(id('c1'));
  await rounds();
  expect(await row('c1')).toMatchObject({ state: null });
  lease = await lead();
  await rounds();
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'live', status: 'running' });
});

test('what could not be written is written later', async () => {
  await database.pool.query(`alter table dory.rollouts add constraint none check (state <> 'live')`);
  await show('c1');
  expect(await row('c1')).toMatchObject({ state: null, status: 'pending' });
  await database.pool.query('alter table dory.rollouts drop constraint none');
  clock.advance(seconds(2));
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'live', status: 'running' });
});

test('a row that a decision holds is not waited for, and written when it is free', async () => {
  const client = await database.pool.connect();
  await client.query('begin');
  await client.query('select from processors where id = $1 for no key update', [id('c1')]);
  await show('c1');
  expect(await row('c1')).toMatchObject({ state: null });
  await client.query('commit');
  client.release();
  await rounds();
  expect(await row('c1')).toMatchObject({ state: 'live' });
});

test('a revision that was replaced before it was live has no such time; what is removed is live when it is gone, and leaves nothing behind', async () => {
  for (const end of ['c1', 'c2', 'c3']) await show(end);
  await database.pool.query(`insert into dory.revisions (id, decided_at, committed_at, leader_epoch, trigger, inputs_digest, renderer)
    select id, now(), now(), 1, 'row-removed', '', 'test' from unnest('{2, 99}'::bigint[]) as id`);
  await database.pool.query(`with gone as (delete from dory.placements where processor_id = $1 returning processor_id)
    insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected) select processor_id, 2, 'remove', 'row-removed', '{}', '[]' from gone`, [id('c3')]);
  feedback.published();
  await rounds();
  expect(await revision(99)).toEqual({ settled: true, live: false });
  expect(await revision(2)).toEqual({ settled: false, live: false });
  cluster?.delete(id('c3'));
  feedback.touch(id('c3'));
  await rounds();
  expect(await revision(2)).toEqual({ settled: true, live: true });
  clock.advance(seconds(300));
  await rounds();
  expect((await database.pool.query<{ end: string }>('select right(processor_id::text, 2) as end from dory.rollouts order by 1')).rows.map(({ end: left }) => left)).toEqual(['c1', 'c2']);
});

test('a table of the running system without columns for pods', async () => {
  // Under a running program: what fails once is looked at anew.
  await database.pool.query('alter table processors drop column k8s_pod_name, drop column node_ip');
  await show('c1');
  clock.advance(seconds(2));
  await rounds();
  expect((await database.pool.query(`select status from processors where id = $1`, [id('c1')])).rows).toEqual([{ status: 'running' }]);
});

test('a table of the running system whose status is a type of its own', async () => {
  await database.pool.query(`create type processor_status as enum ('pending', 'starting', 'running', 'terminated', 'failed', 'failover');
    alter table processors alter status drop default, alter status type processor_status using status::processor_status`);
  await show('c1', { pod: { ready: false } });
  expect(await row('c1')).toMatchObject({ status: 'starting' });
  await show('c1');
  expect(await row('c1')).toMatchObject({ status: 'running' });
});

test('a failure that many share is one event', async () => {
  const more = Array.from({ length: 101 }, (_, n) => `00000000-0000-4000-9000-${String(n).padStart(12, '0')}`);
  await database.pool.query(`insert into processors (id, processor_template_id) select id, $2 from unnest($1::uuid[]) as id`, [more, id('0a')]);
  await database.pool.query(`insert into dory.placements (processor_id, epoch, target_kind, phase, reason, since, spec_digest, revision) select id, 1, 'managed', 'active', 'first-placement', now(), '', 1 from unnest($1::uuid[]) as id`, [more]);
  await database.pool.query(`update dory.revisions set committed_at = now() - interval '1 hour'`);
  // A label that is no processor's, as anybody may write it, holds up nothing.
  for (const each of [...more, 'of-somebody-else']) feedback.touch(each);
  await rounds();
  expect(await events()).toEqual(['rollout-failed not-applied']);
  expect((await database.pool.query(`select from dory.rollouts where state = 'failed'`)).rowCount).toBe(101);
  expect((await database.pool.query(`select evidence -> 'processors' as n from dory.events where kind = 'rollout-failed'`)).rows).toEqual([{ n: 101 }]);
});

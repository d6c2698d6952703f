import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createAppliedStore, type AppliedStore, type Problem } from '../../../src/apply/applied.ts';
import type { Synced } from '../../../src/apply/compare.ts';
import { keyOf, type DesiredEntry, type DesiredTree, type LiveObject } from '../../../src/apply/objects.ts';
import { runCli } from '../../../src/cli/program.ts';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { Failure } from '../../../src/model/failure.ts';
import type { Digest, Epoch, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import { eventsList } from '../../../src/operator/events-view.ts';
import { explain } from '../../../src/operator/explain.ts';
import { status } from '../../../src/operator/status-view.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

let fleet: SmallFleet;

beforeAll(async () => {
  fleet = await openSmallFleet({ apply: 'ssa' });
  await fleet.once();
});
afterAll(() => fleet.close());
beforeEach(async () => {
  await fleet.pool.query(`truncate dory.applied, dory.applied_commit, dory.apply_problems; delete from dory.events where kind in ('drift', 'prune')`);
});

const cam = '00000000-0000-4000-8000-0000000000c1' as ProcessorId;
const ours = (leading: () => Promise<void> = () => Promise.resolve()): AppliedStore => createAppliedStore(fleet.pool, leading);
const entry = (name: string, shard: string, kind = 'StatefulSet'): DesiredEntry => ({
  ref: { apiVersion: kind === 'StatefulSet' ? 'apps/v1' : 'v1', kind, namespace: 'default', name }, path: `clusters/test/processors/${shard}/${name}.yaml`,
  digest: `of ${name}` as Digest, processorId: cam, epoch: 1 as Epoch, revision: 1 as RevisionId, blob: 'b', place: 0,
});
const treeOf = (commit: string, ...entries: readonly DesiredEntry[]): DesiredTree => ({ commit, revision: 1 as RevisionId, objects: new Map(entries.map((each) => [keyOf(each.ref), each])) });
const inPlace = (tree: DesiredTree): ReadonlyMap<string, Synced> => new Map([...tree.objects].map(([key, { digest }]) => [key, { desired: digest, owned: `owned ${digest}` as Digest, resourceVersion: 1, at: millis(0) }]));
const ended = (tree: DesiredTree, problems: readonly Problem[] = []) => ({ tree, problems, synced: inPlace(tree), touched: new Set(tree.objects.keys()) });
const problem = (object: string, reason: string, detail = 'helm owns .spec.replicas'): Problem => ({ object, processorId: cam, outcome: 'failed', reason, detail });
const rows = async (table: 'applied' | 'applied_commit' | 'apply_problems' | 'events'): Promise<readonly Readonly<Record<string, unknown>>[]> =>
  (await fleet.pool.query<Record<string, unknown>>(`select *, xmin::text as version from dory.${table} order by 1`)).rows;
const shards = async (): Promise<readonly string[]> => (await rows('applied')).map(({ shard, kinds }) => `${String(shard).split('/').at(-1) ?? ''}: ${(kinds as string[]).join(' ')}`);
const a = entry('a', '1f');
const b = entry('b', '2e');
const live = (name: string): LiveObject => ({ ref: { ...a.ref, name }, uid: `uid-${name}`, resourceVersion: '1', processorId: cam, epoch: null, revision: null, owned: null, managers: [], trackedBy: null, terminating: false });

test('a folder is written when all of it is in place, and not again while that is so', async () => {
  const [store, tree] = [ours(), treeOf('c1', a, b)];
  await store.record(ended(tree, [problem(keyOf(b.ref), 'conflict')]));
  expect([await shards(), await rows('applied_commit')]).toEqual([['1f: apps/v1/StatefulSet'], []]);
  await store.record(ended(tree));
  expect(await shards()).toEqual(['1f: apps/v1/StatefulSet', '2e: apps/v1/StatefulSet']);
  expect(await rows('applied_commit')).toMatchObject([{ commit_sha: 'c1', revision: '1' }]);
  const before = [await rows('applied'), await rows('applied_commit'), await rows('apply_problems')];
  await store.record(ended(tree));
  await ours().record(ended(tree));
  expect([await rows('applied'), await rows('applied_commit'), await rows('apply_problems')]).toEqual(before);
});

test('one is not in place while what our fields amount to is not known of each of its objects', async () => {
  const tree = treeOf('c1', a, entry('c', '1f'));
  await ours().record({ ...ended(tree), synced: inPlace(treeOf('c1', a)) });
  expect(await shards()).toEqual([]);
});

test('a folder that is gone is forgotten, with its kinds; but not while something is left that could not be deleted', async () => {
  const [store, other] = [ours(), entry('m', '1f', 'ConfigMap')];
  await store.record(ended(treeOf('c1', a, b, other)));
  expect(await shards()).toEqual(['1f: apps/v1/StatefulSet v1/ConfigMap', '2e: apps/v1/StatefulSet']);
  await store.record(ended(treeOf('c2', a), [problem(keyOf(other.ref), 'delete-budget')]));
  expect(await shards()).toEqual(['1f: apps/v1/StatefulSet v1/ConfigMap', '2e: apps/v1/StatefulSet']);
  await store.record(ended(treeOf('c2', a)));
  expect(await shards()).toEqual(['1f: apps/v1/StatefulSet']);
});

test('what another instance wrote meanwhile is known after forgetting, and goes when it is over', async () => {
  const [one, two] = [ours(), ours()];
  await one.record(ended(treeOf('c1', a)));
  await two.record(ended(treeOf('c1', a), [problem(keyOf(b.ref), 'conflict')]));
  one.forget();
  await one.record(ended(treeOf('c1', a)));
  expect(await rows('apply_problems')).toEqual([]);
});

test('whoever leads no more writes nothing', async () => {
  const store = ours(() => Promise.reject(new Failure('not-leader', 'deposed')));
  const drift = { ref: a.ref, processorId: cam, deleted: false, action: 'corrected', fields: ['spec.replicas'], who: [] } as const;
  const before = await rows('events');
  for (const write of [() => store.record(ended(treeOf('c1', a))), () => store.record(ended(treeOf('c1', a), [problem('x', 'conflict')])), () => store.recordDrift([drift], null), () => store.spend([live('a')], null)]) {
    await expect(write()).rejects.toMatchObject({ code: 'not-leader' });
  }
  expect([await rows('applied'), await rows('apply_problems'), await rows('events')]).toEqual([[], [], before]);
  // Nothing to write is nothing to ask for.
  await store.recordDrift([], null);
  await store.spend([], null);
});

test('deletions are in the budget for whoever comes next, until the window is over', async () => {
  await ours().spend([live('a'), live('b')], 'cycle-1');
  await ours().spend([live('a')], null);
  expect(await ours().spent(seconds(300))).toEqual(new Set([keyOf(live('a').ref), keyOf(live('b').ref)]));
  await fleet.pool.query(`update dory.events set at = at - interval '10 minutes' where kind = 'prune' and cycle is not null`);
  expect(await ours().spent(seconds(300))).toEqual(new Set([keyOf(live('a').ref)]));
});

test('labels that are no ids of processors are of none of ours', async () => {
  expect(await ours().known([cam, 'nobody' as ProcessorId, "'; drop table processors; --" as ProcessorId])).toEqual(new Set([cam]));
  await ours().spend([{ ...live('a'), processorId: 'nobody' as ProcessorId }], null);
  expect(await ours().spent(seconds(300))).toEqual(new Set([keyOf(live('a').ref)]));
});

test('status and explain tell what is on the cluster, what differs, and who changed what and when', async () => {
  const context = operatorContext(fleet.runtime, fleet.engine.repository);
  const seen = async () => ({ status: await status.run(context, {}, { name: 'test' }), explain: await explain.run(context, { subject: cam }, { name: 'test' }) });
  expect((await seen()).status.applied).toMatchObject({ revision: null, commit: null, differing: 0, problems: [], drift: [] });
  const store = ours();
  await store.record(ended(treeOf('c1', a)));
  await store.record(ended(treeOf('c1', a), [problem(keyOf(a.ref), 'conflict')]));
  const who = [{ manager: 'kubectl-edit', operation: 'Update', when: '2026-01-01T00:00:00Z' }] as const;
  await store.recordDrift([{ ref: a.ref, processorId: cam, deleted: false, action: 'corrected', fields: ['spec.replicas', 'spec.template'], who }], 'cycle-1');
  const told = await seen();
  expect(status.output.parse(told.status).applied).toMatchObject({
    revision: 1, commit: 'c1', differing: 1,
    problems: [{ object: keyOf(a.ref), processorId: cam, processor: expect.stringMatching(/^camera-/) as unknown, outcome: 'failed', reason: 'conflict', detail: 'helm owns .spec.replicas', mend: expect.stringContaining('ssa.drift') as unknown }],
    drift: [{ object: keyOf(a.ref), action: 'corrected', deleted: false, fields: ['spec.replicas', 'spec.template'], who, why: 'kubectl-edit (Update, 2026-01-01T00:00:00Z) changed spec.replicas, spec.template: put back' }],
  });
  expect(told.status.commits).toMatchObject([{ revision: 1, state: 'unknown', liveMs: null }]);
  const { processor } = explain.output.parse(told.explain);
  expect(processor?.applied).toMatchObject({ problems: [{ reason: 'conflict' }], drift: [{ fields: ['spec.replicas', 'spec.template'] }] });
  expect(processor?.commit).toMatchObject({ revision: 1, state: 'unknown' });
  const { items } = await eventsList.run(context, { limit: 10, kind: 'drift' }, { name: 'test' });
  expect(items).toMatchObject([{ why: expect.stringContaining('kubectl-edit') as unknown, cycle: 'cycle-1' }]);
  expect((await explain.run(context, { subject: '00000000-0000-4000-8000-0000000000c2' }, { name: 'test' })).processor?.applied).toEqual({ problems: [], drift: [] });
});

test('a revision says how long it took from the commit to the cluster, or for how long it has been under way', async () => {
  const context = operatorContext(fleet.runtime, fleet.engine.repository);
  const commits = async () => (await status.run(context, {}, { name: 'test' })).commits.map(({ state, liveMs }) => [state, liveMs === null ? null : Math.round(liveMs / 1000)]);
  await fleet.pool.query('update dory.state set rollouts_since = now()');
  await fleet.pool.query(`update dory.revisions set committed_at = now() - interval '20 seconds', settled = false`);
  expect(await commits()).toEqual([['progressing', 20]]);
  await fleet.pool.query(`update dory.revisions set live_at = committed_at + interval '4 seconds', settled = true`);
  expect(await commits()).toEqual([['live', 4]]);
});

test('the pages show it, and what differs is worth an exit code', async () => {
  const store = ours();
  await store.record(ended(treeOf('c1', a)));
  const page = async (...args: readonly string[]): Promise<{ readonly code: number; readonly out: string }> => {
    let out = '';
    const env = { PATH: process.env['PATH'], DORY_DATABASE_URL: fleet.runtime.databaseUrl, DORY_DATA_DIR: fleet.folder, DORY_CLUSTER: 'test', DORY_APPLY: 'ssa', DORY_HEARTBEATS_RECEIVER: 'external' };
    const code = await runCli(args, { env, cwd: fleet.folder, signal: new AbortController().signal, self: { execPath: '', args: [] }, terminal: { out: (text) => { out += text; }, err: () => undefined, color: false } });
    return { code, out };
  };
  const well = await page('status');
  expect(well).toMatchObject({ code: 0, out: expect.stringMatching(/^Applied +revision 1, c1 at /m) as unknown });
  await store.record(ended(treeOf('c1', a), [problem(keyOf(a.ref), 'conflict', 'helm\u001b[2J owns .spec.replicas')]));
  const differing = await page('status');
  expect(differing.code).toBe(4);
  expect(differing.out).toMatch(/^Not as committed \(1\)\n {2}apps\/v1\/StatefulSet\/default\/a: conflict for .*: helm\\u001b\[2J owns \.spec\.replicas$/m);
  expect((await page('explain', cam)).out).toMatch(/^Cluster: +apps\/v1\/StatefulSet\/default\/a: conflict for /m);
});

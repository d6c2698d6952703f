import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Action } from '../../../src/apply/actions.ts';
import type { Executor } from '../../../src/apply/execute.ts';
import { markerOf, type LiveSecret } from '../../../src/apply/secrets-live.ts';
import { createPass } from '../../../src/apply/secrets-pass.ts';
import { readVersions } from '../../../src/apply/secrets-versions.ts';
import { Concealed, type Credentials } from '../../../src/model/credentials.ts';
import type { Fleet } from '../../../src/model/fleet.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { acquire } from '../../../src/platform/leadership.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics, type Metrics } from '../../../src/platform/metrics.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

const name = 'dory-sensor-00000000-0000-4000-8000-0000000000f1';
const fleet = { workloads: [], quarantined: [], processors: [{ namespace: 'plant', workload: 'w', sensor: { env: [{ name: 'P', secret: { key: 'P', name } }] } }] } as unknown as Fleet;
const unused = (): never => { throw new Error('nobody asks'); };

let database: TestDatabase;
beforeEach(async () => { database = await testDatabase(); });
afterEach(() => database.close());

/** One Secret whose copy shows what it is told to; what is sent to it is counted. */
async function stage() {
  const metrics = createMetrics();
  const [mark, live, sent] = [markerOf(systemRandom), new Map<string, LiveSecret>(), [] as Action[]];
  let [now, value, fails, asked] = [0, 'old', false, 0];
  /** One without our label. */
  const foreign = { kind: 'answered', status: 200, retryAfter: null, body: { metadata: { name, namespace: 'plant', uid: 'x', resourceVersion: '1' } } } as const;
  const executor: Executor = {
    retryAt: () => null,
    execute: (given) => {
      const actions = given as readonly Action[];
      sent.push(...actions);
      const outcomes = actions.flatMap((action) => (action.kind === 'apply' ? [fails ? { kind: 'unknown' as const, ref: action.desired.ref, detail: 'cut' } : { kind: 'configured' as const, ref: action.desired.ref, live: null }] : []));
      return Promise.resolve({ outcomes, requests: actions.length });
    },
  };
  const credentials = async function* (): AsyncGenerator<readonly [string, Credentials], void> {
    yield await Promise.resolve([name, new Map([['P', new Concealed(value)]])] as const);
  };
  const pass = createPass({
    client: { get: unused, lines: unused, close: unused }, writer: { send: () => Promise.resolve((asked += 1, foreign)) }, pool: database.pool, credentials, credentialRows: () => Promise.resolve(new Map([[name, value]])), metrics, mark, live, executor,
    clock: { ...systemClock, monotonic: () => millis(now) }, random: systemRandom, log: silentLog, onChange: () => undefined,
  });
  const lease = await acquire(database.pool, 'ann');
  return {
    sent, metrics,
    asked: () => asked,
    shows: (shown: string, version: number, resourceVersion: string, namespace = 'plant') => live.set(`${namespace}/${name}`, { namespace, name, uid: 'u', resourceVersion, version, managed: true, owned: new Map([['P', mark(Buffer.from(shown))]]) }),
    rotate: (to: string) => { value = to; },
    fail: (yes: boolean) => { fails = yes; },
    later: (ms: number) => { now += ms; },
    look: (of = fleet) => pass(of, value, { epoch: lease?.epoch ?? 0, assertLeading: () => Promise.resolve() }),
  };
}

const versionOf = async () => (await readVersions(database.pool)).get(name);

test('what was written a moment ago, and is not seen yet, is not written again under another version', async () => {
  const { shows, rotate, look, sent } = await stage();
  shows('old', 1, '1');
  expect(await look()).toEqual({ raised: false, failed: false, waiting: false });
  rotate('new');
  expect(await look()).toEqual({ raised: true, failed: false, waiting: false });
  expect(await look()).toEqual({ raised: false, failed: false, waiting: true });
  expect(sent).toHaveLength(1);
  shows('new', 2, '2');
  expect(await look()).toEqual({ raised: false, failed: false, waiting: false });
  expect(await versionOf()).toEqual({ version: 2, begun: 2 });
});

test('a write of which nobody knows the end raises no version that manifests show, until the cluster shows it', async () => {
  const { shows, rotate, look, fail } = await stage();
  shows('old', 1, '1');
  rotate('new');
  fail(true);
  expect(await look()).toMatchObject({ raised: false, failed: true });
  expect(await versionOf()).toEqual({ version: 1, begun: 2 });
  shows('new', 2, '2');
  expect(await look()).toMatchObject({ raised: true, failed: false });
  expect(await versionOf()).toEqual({ version: 2, begun: 2 });
});

test('somebody who keeps changing a Secret is met once a minute', async () => {
  const { shows, look, sent, later } = await stage();
  const steal = (live: ReturnType<typeof shows>) => (live.get(`plant/${name}`)?.owned as Map<string, string>).clear();
  steal(shows('old', 1, '1'));
  await look();
  expect(sent).toHaveLength(1);
  steal(shows('old', 1, '2'));
  expect(await look()).toEqual({ raised: false, failed: false, waiting: true });
  later(59_000);
  await look();
  expect(sent).toHaveLength(1);
  later(1_000);
  await look();
  expect(sent).toHaveLength(2);
});

test('what the watch never shows is written again after a while', async () => {
  const { shows, look, sent, rotate, later } = await stage();
  shows('old', 1, '1');
  rotate('new');
  await look();
  later(30_000);
  await look();
  expect(sent).toHaveLength(1);
  later(1);
  await look();
  expect(sent).toHaveLength(2);
});

test('a Secret of somebody else is looked at ever more seldom', async () => {
  const { look, asked, later, sent } = await stage();
  for (const [ms, times] of [[0, 1], [1_999, 1], [1, 2], [3_999, 2], [1, 3], [7_999, 3], [1, 4]] as const) {
    later(ms);
    expect(await look()).toMatchObject({ raised: false, failed: true });
    expect(asked(), String(ms)).toBe(times);
  }
  expect(sent).toEqual([]);
  expect(await events()).toMatchObject([{ evidence: { reason: 'not-ours' } }]);
});

test('a version is not raised while a namespace that needs it has a Secret of somebody else', async () => {
  const { look, shows, rotate, asked, sent, later } = await stage();
  const [spec] = fleet.processors;
  const both = { ...fleet, processors: [spec, { ...spec, namespace: 'dock' }] } as unknown as Fleet;
  shows('old', 1, '1', 'dock');
  rotate('new');
  expect(await look(both)).toMatchObject({ raised: false, failed: true });
  expect(sent, 'in the other namespace').toHaveLength(1);
  shows('new', 2, '2', 'dock');
  expect(await look(both)).toMatchObject({ raised: false, failed: true });
  expect([asked(), await versionOf()]).toEqual([1, { version: 1, begun: 2 }]);
  later(2_000);
  shows('new', 2, '3', 'plant');
  expect(await look(both)).toMatchObject({ raised: true, failed: false });
});

const events = async () => (await database.pool.query<{ kind: string; evidence: Record<string, unknown> }>(`select kind, evidence from dory.events where kind like 'secret-%' or kind like 'credentials-%' order by id`)).rows;
const problems = async ({ secretProblems }: Metrics) => (await secretProblems.get()).values.map(({ labels, value }) => [labels.reason, value]);
const place = `plant/${name}`;

test('what becomes of Secrets is counted, and told in events: each trouble once, until it is over', async () => {
  const { shows, rotate, look, fail, metrics } = await stage();
  shows('old', 1, '1');
  rotate('new');
  fail(true);
  for (let n = 0; n < 3; n += 1) await look();
  expect(await events()).toEqual([{ kind: 'secret-refused', evidence: { object: place, reason: 'unknown', detail: 'cut' } }]);
  expect(await problems(metrics)).toEqual([['unknown', 1]]);
  shows('new', 2, '2');
  await look();
  expect((await events()).at(-1)).toEqual({ kind: 'credentials-replaced', evidence: { object: name, version: 2 } });
  expect(await problems(metrics)).toEqual([]);
  rotate('newer');
  await look();
  expect(await events(), 'once more').toHaveLength(3);
  expect((await metrics.secretWrites.get()).values.map(({ labels, value }) => [labels.outcome, value])).toEqual([['unknown', 4]]);
});

test('a Secret that another database wrote later is told of with what to do, and not touched', async () => {
  const { shows, look, sent, metrics } = await stage();
  shows('newer', 7, '1');
  await look();
  await look();
  expect(sent).toEqual([]);
  expect(await events()).toMatchObject([{ kind: 'secret-refused', evidence: { object: place, reason: 'newer-on-cluster' } }]);
  expect(await problems(metrics)).toEqual([['newer-on-cluster', 1]]);
  // A person took the annotation away.
  shows('newer', 0, '2');
  expect(await look()).toMatchObject({ raised: true });
  expect(sent).toHaveLength(1);
  expect(await versionOf()).toEqual({ version: 2, begun: 2 });
  expect(await problems(metrics)).toEqual([]);
});

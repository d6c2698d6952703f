import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ApplicationState } from '../../../src/apply/argocd-applications.ts';
import { recordArgocd, recordedApplications, type ArgocdNews } from '../../../src/apply/argocd-record.ts';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { runCli } from '../../../src/cli/program.ts';
import { status, type Status } from '../../../src/operator/status-view.ts';
import { testFleet, type TestFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

let database: TestDatabase;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let fleet: TestFleet;

beforeAll(async () => {
  database = await testDatabase();
  folder = await temporaryFolder();
  fleet = await testFleet({ ...database, folder: folder.path, flags: { apply: 'argocd', 'argocd-repo-url': 'https://git.example.com/fleet.git', layout: 'flat' } });
});
afterAll(async () => {
  await fleet.close();
  await database.close();
  await folder.remove();
});
beforeEach(async () => {
  await database.pool.query("delete from dory.argocd_applications; delete from dory.argocd; update dory.state set layout = null; delete from dory.revisions; delete from dory.events where kind = 'argocd-sync-failed'");
});

const application = (name: string, changes: Partial<ApplicationState> = {}): ApplicationState => ({
  name, path: `clusters/test/processors/${name}`, commit: 'c1', sync: 'Synced', health: 'Healthy', problem: null, automatic: true, prunes: true,
  operation: { phase: 'Succeeded', failing: false, commit: 'c1', message: '' }, ...changes,
});
const failing = (commit: string, phase = 'Running'): Partial<ApplicationState> => ({ sync: 'OutOfSync', operation: { phase, failing: true, commit, message: 'quota exceeded' } });
const record = (news: Partial<ArgocdNews>): Promise<void> => recordArgocd(database.pool, { changed: [], removed: [], awaited: new Map(), ...news });
const shown = async (): Promise<Status['argocd']> => (await status.run(operatorContext(fleet.runtime, fleet.engine.repository), {}, { name: 'test' })).argocd;
const versions = async (): Promise<unknown> => (await database.pool.query('select name, xmin::text from dory.argocd_applications order by name')).rows;
const failures = async (): Promise<unknown> => (await database.pool.query("select evidence from dory.events where kind = 'argocd-sync-failed' order by id")).rows.map(({ evidence }: { evidence: unknown }) => evidence);

test('nothing is shown before anything is known', async () => {
  expect(await shown()).toBeNull();
});

const none = { missing: [], untold: null, mend: null };

test('what is not synced, fails or is not well is shown, with why', async () => {
  await record({ changed: [
    application('a'), application('b', failing('c1')), application('c', { health: 'Degraded' }), application('d', { problem: 'ComparisonError: no such path' }), application('e', { health: 'Progressing' }),
    application('f', { health: 'Missing' }), application('g', { health: 'Unknown' }),
  ] });
  expect(await shown()).toEqual({
    ...none, applications: 7, synced: 6,
    problems: [
      { application: 'b', sync: 'OutOfSync', health: 'Healthy', message: 'quota exceeded', mend: null },
      { application: 'c', sync: 'Synced', health: 'Degraded', message: null, mend: null },
      { application: 'd', sync: 'Synced', health: 'Healthy', message: 'ComparisonError: no such path', mend: null },
      { application: 'f', sync: 'Synced', health: 'Missing', message: null, mend: null },
      { application: 'g', sync: 'Synced', health: 'Unknown', message: null, mend: null },
    ],
  });
});

const problems = async (): Promise<readonly string[] | undefined> => (await shown())?.problems.map(({ application: name, message, mend }) => `${name} ${String(message)} ${String(mend)}`);
const again = 'kubectl apply -f clusters/test/argocd/';

test('what a person switched off is shown, with how to make it as it was', async () => {
  const system = { path: 'clusters/test/system' };
  await record({ changed: [application('a', { automatic: false }), application('b', { prunes: false }), application('c', { ...system, prunes: false }), application('d', { ...system, automatic: false })] });
  expect(await problems()).toEqual([
    expect.stringMatching(/^a automatic sync is switched off .* kubectl apply -f clusters.test.argocd.$/), expect.stringMatching(/^b prune is switched off.* kubectl apply/), expect.stringMatching(/^d automatic/),
  ]);
  await record({ changed: [application('a'), application('b'), application('d', system)] });
  expect(await problems()).toEqual([]);
});

test('folders that no Application syncs are missing', async () => {
  await database.pool.query("update dory.state set layout = 'flat'");
  expect(await shown()).toBeNull();
  await record({});
  expect(await shown()).toEqual({ ...none, applications: 0, synced: 0, problems: [], missing: [{ path: 'clusters/test/processors' }, { path: 'clusters/test/system' }], mend: again });
  await record({ changed: [application('a', { path: 'clusters/test/processors' })] });
  expect((await shown())?.missing).toEqual([{ path: 'clusters/test/system' }]);
  await record({ changed: [application('b', { path: 'clusters/test/system' })] });
  expect(await shown()).toMatchObject({ missing: [], mend: null });
  await record({ removed: ['a'] });
  expect((await shown())?.missing).toEqual([{ path: 'clusters/test/processors' }]);
});

describe('a commit that is not on the cluster', () => {
  const pushed = async (...commits: string[]): Promise<void> => {
    for (const [n, commit] of commits.entries()) {
      await database.pool.query("insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer, commit_sha, committed_at) values ($1, now(), 1, 't', 'd', 'r', $2, now())", [n + 1, commit]);
    }
  };
  const lagging = async (): Promise<readonly string[]> => (await shown())?.problems.map(({ application: name, message }) => `${name} ${/^commit (\S+)/.exec(message ?? '')?.[1] ?? ''}`) ?? [];
  const since = async (): Promise<unknown> => (await database.pool.query('select awaited_since::text from dory.argocd_applications')).rows;

  test('is shown until the Application has it, or a newer one', async () => {
    await pushed('c1', 'c2', 'c3');
    await record({ changed: [application('a'), application('b')], awaited: new Map([['a', 'c2']]) });
    expect(await shown()).toMatchObject({ applications: 2, synced: 1 });
    expect(await lagging()).toEqual(['a c2']);
    for (const arrived of ['c2', 'c3', 'of-somebody']) {
      await record({ changed: [application('a', { commit: arrived })] });
      expect([arrived, await shown()]).toMatchObject([arrived, { synced: 2, problems: [] }]);
      await record({ changed: [application('a')] });
    }
    expect(await lagging()).toEqual(['a c2']);
  });

  test('is what the last sync brought, where the cluster has changed since', async () => {
    await pushed('c1', 'c2');
    const synced = { phase: 'Succeeded', failing: false, commit: 'c2', message: '' };
    await record({ changed: [application('a', { sync: 'OutOfSync', commit: 'c2', operation: synced })], awaited: new Map([['a', 'c2']]) });
    expect(await lagging()).toEqual(['a ']);
    await record({ changed: [application('a', { sync: 'OutOfSync', commit: 'c2', operation: null })] });
    expect(await lagging()).toEqual(['a c2']);
  });

  test('lags since the first one that did not come; and a commit that came is no lag', async () => {
    await pushed('c1', 'c2', 'c3', 'c4');
    await record({ changed: [application('a')], awaited: new Map([['a', 'c2']]) });
    const first = await since();
    await record({ awaited: new Map([['a', 'c3']]) });
    expect(await since()).toEqual(first);
    expect(await lagging()).toEqual(['a c3']);
    await record({ changed: [application('a', { commit: 'c3' })], awaited: new Map([['a', 'c4']]) });
    expect(await since()).not.toEqual(first);
  });
});

test('what Argo CD could not be told of is shown until it is told of a push', async () => {
  const trouble = { why: 'answered 400', mend: 'check the secret', fellBack: true };
  const untold = async (): Promise<unknown> => (await shown())?.untold;
  await record({ telling: { commit: 'c1', trouble } });
  expect(await untold()).toEqual({ commit: 'c1', since: expect.any(String) as string, why: 'answered 400', mend: 'check the secret', fellBack: true });
  const version = async (): Promise<unknown> => (await database.pool.query('select xmin::text, untold_since::text as since from dory.argocd')).rows[0];
  const before = await version();
  await record({ telling: { commit: 'c1', trouble } });
  expect(await version()).toEqual(before);
  await record({ telling: { commit: 'c2', trouble: { ...trouble, fellBack: false } } });
  expect(await untold()).toMatchObject({ commit: 'c2', fellBack: false });
  expect(await version()).toMatchObject({ since: (before as { since: string }).since });
  await record({ telling: { commit: 'c3', trouble: null } });
  expect(await untold()).toBeNull();
});

test('the same again writes nothing', async () => {
  await record({ changed: [application('a'), application('b', { operation: null, commit: null })], removed: [] });
  const before = await versions();
  await record({ changed: [application('a'), application('b', { operation: null, commit: null })], removed: [] });
  expect(await versions()).toEqual(before);
});

test('a failure is an event once for each commit, however often it is tried', async () => {
  for (const state of [failing('c1'), failing('c1', 'Failed'), failing('c1'), {}, failing('c2'), failing('c3')]) await record({ changed: [application('a', state)], removed: [] });
  expect(await failures()).toEqual([
    { application: 'a', phase: 'Running', commit: 'c1', message: 'quota exceeded' },
    { application: 'a', phase: 'Running', commit: 'c2', message: 'quota exceeded' },
    { application: 'a', phase: 'Running', commit: 'c3', message: 'quota exceeded' },
  ]);
});

test('what is gone is forgotten', async () => {
  await record({ changed: [application('a'), application('b')], removed: [] });
  await record({ changed: [], removed: ['a'] });
  expect(await recordedApplications(database.pool)).toEqual(['b']);
});

test('a person reads all of it on one page, whatever Argo CD says', async () => {
  await database.pool.query("update dory.state set layout = 'flat'");
  await record({
    changed: [application('a', { path: 'clusters/test/processors', problem: 'SyncError: \u001b[2J' }), application('b', { automatic: false })],
    telling: { commit: 'c'.repeat(40), trouble: { why: 'answered 400', mend: 'check the secret', fellBack: true } },
  });
  let out = '';
  const env = { PATH: process.env['PATH'], DORY_DATABASE_URL: database.url, DORY_DATA_DIR: folder.path, DORY_CLUSTER: 'test', DORY_APPLY: 'argocd', DORY_ARGOCD_REPO_URL: 'https://git.example.com/fleet.git', DORY_HEARTBEATS_RECEIVER: 'external' };
  await runCli(['status'], { env, cwd: folder.path, signal: new AbortController().signal, self: { execPath: '', args: [] }, terminal: { out: (text) => { out += text; }, err: () => undefined, color: false } });
  const lines = out.split('\n');
  const begin = lines.findIndex((line) => line.startsWith('Argo CD'));
  expect(lines.slice(begin, begin + 8).map((line) => line.replace(/\d{4}-\S+Z/, 'T'))).toEqual([
    'Argo CD     2 of 2 Applications synced, 1 missing',
    '            no Application syncs clusters/test/system',
    `              ${again}`,
    '            told in another way since T, last of commit cccccccccccc: answered 400',
    '              check the secret',
    '            a: Synced, Healthy: SyncError: \\u001b[2J',
    expect.stringMatching(/^ {12}b: Synced, Healthy: automatic sync is switched off/),
    `              ${again}`,
  ]);
});

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ApplicationState } from '../../../src/apply/argocd-applications.ts';
import { recordApplications, recordedApplications } from '../../../src/apply/argocd-record.ts';
import { operatorContext } from '../../../src/cli/operator-context.ts';
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
  fleet = await testFleet({ ...database, folder: folder.path, flags: { apply: 'argocd' } });
});
afterAll(async () => {
  await fleet.close();
  await database.close();
  await folder.remove();
});
beforeEach(async () => {
  await database.pool.query("delete from dory.argocd_applications; delete from dory.events where kind = 'argocd-sync-failed'");
});

const application = (name: string, changes: Partial<ApplicationState> = {}): ApplicationState => ({
  name, path: `clusters/test/processors/${name}`, commit: 'c1', sync: 'Synced', health: 'Healthy', problem: null,
  operation: { phase: 'Succeeded', failing: false, commit: 'c1', message: '' }, ...changes,
});
const failing = (commit: string, phase = 'Running'): Partial<ApplicationState> => ({ sync: 'OutOfSync', operation: { phase, failing: true, commit, message: 'quota exceeded' } });
const shown = async (): Promise<Status['argocd']> => (await status.run(operatorContext(fleet.runtime, fleet.engine.repository), {}, { name: 'test' })).argocd;
const versions = async (): Promise<unknown> => (await database.pool.query('select name, xmin::text from dory.argocd_applications order by name')).rows;
const failures = async (): Promise<unknown> => (await database.pool.query("select evidence from dory.events where kind = 'argocd-sync-failed' order by id")).rows.map(({ evidence }: { evidence: unknown }) => evidence);

test('nothing is shown before anything is known', async () => {
  expect(await shown()).toBeNull();
});

test('what is not synced, fails or is degraded is shown, with why', async () => {
  await recordApplications(database.pool, [application('a'), application('b', failing('c1')), application('c', { health: 'Degraded' }), application('d', { problem: 'ComparisonError: no such path' })], []);
  expect(await shown()).toEqual({
    applications: 4, synced: 3,
    problems: [
      { application: 'b', sync: 'OutOfSync', health: 'Healthy', message: 'quota exceeded' },
      { application: 'c', sync: 'Synced', health: 'Degraded', message: null },
      { application: 'd', sync: 'Synced', health: 'Healthy', message: 'ComparisonError: no such path' },
    ],
  });
});

test('the same again writes nothing', async () => {
  await recordApplications(database.pool, [application('a'), application('b', { operation: null, commit: null })], []);
  const before = await versions();
  await recordApplications(database.pool, [application('a'), application('b', { operation: null, commit: null })], []);
  expect(await versions()).toEqual(before);
});

test('a failure is an event once for each commit, however often it is tried', async () => {
  for (const state of [failing('c1'), failing('c1', 'Failed'), failing('c1'), {}, failing('c2'), failing('c3')]) await recordApplications(database.pool, [application('a', state)], []);
  expect(await failures()).toEqual([
    { application: 'a', phase: 'Running', commit: 'c1', message: 'quota exceeded' },
    { application: 'a', phase: 'Running', commit: 'c2', message: 'quota exceeded' },
    { application: 'a', phase: 'Running', commit: 'c3', message: 'quota exceeded' },
  ]);
});

test('what is gone is forgotten', async () => {
  await recordApplications(database.pool, [application('a'), application('b')], []);
  await recordApplications(database.pool, [], ['a']);
  expect(await recordedApplications(database.pool)).toEqual(['b']);
});

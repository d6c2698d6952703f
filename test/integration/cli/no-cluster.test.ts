import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { serve } from '../../../src/cli/run.ts';
import { openRuntime } from '../../../src/cli/runtime.ts';
import type { CycleReport } from '../../../src/cycle.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { until } from '../../support/until.ts';

let database: TestDatabase;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  database = await testDatabase();
  folder = await temporaryFolder();
});
afterEach(async () => {
  await database.close();
  await folder.remove();
});

const open = (kubeconfig: string) =>
  openRuntime({ env: { PATH: process.env['PATH'] }, flags: { 'config-db': database.url, 'data-dir': folder.path, kubeconfig, 'http-host': '127.0.0.1', 'http-port': '0', 'log-level': 'silent' } }, 'dory-test', 'require');

test('a cluster that can\'t be reached stops no service: it knows nothing of nodes, says so, and ends when it is told to', async () => {
  const kubeconfig = join(folder.path, 'kubeconfig');
  const config = { apiVersion: 'v1', kind: 'Config', 'current-context': 'a', clusters: [{ name: 'a', cluster: { server: 'https://127.0.0.1:1' } }], users: [{ name: 'a', user: { token: 'a' } }], contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }] };
  await writeFile(kubeconfig, JSON.stringify(config));
  await seedSmallFleet(database.pool);
  const runtime = await open(kubeconfig);
  const stop = new AbortController();
  try {
    const reports: CycleReport[] = [];
    const { url, ended } = await serve(runtime, stop.signal, (report) => reports.push(report));
    await until(() => reports.length > 0, 'it cycles');
    expect(reports[0]?.snapshot.nodes.map(({ kubernetes }) => kubernetes)).toEqual([{ known: false, because: 'watch-down' }, { known: false, because: 'watch-down' }]);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('dory_component_healthy{component="kubernetes"} 0');
    stop.abort();
    await ended;
  } finally {
    await runtime.close();
  }
});

test('a kubeconfig that can\'t be read is the person\'s to mend', async () => {
  const runtime = await open(join(folder.path, 'absent'));
  try {
    await expect(serve(runtime, new AbortController().signal, () => undefined)).rejects.toMatchObject({ code: 'settings-invalid' });
  } finally {
    await runtime.close();
  }
});

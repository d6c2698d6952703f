import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import { createAccess, type KubeAccess } from '../../../src/platform/kube/access.ts';
import { manualClock } from '../../support/clock.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { until } from '../../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => { folder = await temporaryFolder(); });
afterAll(() => folder.remove());

/** A kubeconfig whose user's credentials come from this script. */
async function accessBy(name: string, script: string, { patience = 20_000, clock = manualClock() } = {}): Promise<KubeAccess> {
  const plugin = join(folder.path, name);
  await writeFile(plugin, `#!/bin/sh\n${script}\n`);
  await chmod(plugin, 0o700);
  const path = `${plugin}.json`;
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: plugin, interactiveMode: 'Never' };
  await writeFile(path, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: 'https://c.example' } }], users: [{ name: 'u', user: { exec } }], contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  }));
  const access = createAccess({ kind: 'file', path }, clock, millis(patience));
  onTestFinished(() => { access.close(); });
  return access;
}

const pids = async (name: string): Promise<readonly number[]> => (await readFile(join(folder.path, name), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '').map(Number);
function lives(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a credential plugin that says nothing is given up and ended, with all that it started, and is there once at most', async () => {
  const clock = manualClock();
  const access = await accessBy('silent', `sleep 600 &\necho $! >> "${folder.path}/started"\necho $$ >> "${folder.path}/started"\nwait`, { patience: 2_000, clock });
  const asked = [access.connect()];
  const answer = expect(asked[0]).rejects.toMatchObject({ code: 'kubernetes-unreachable' });
  await until(async () => (await pids('started')).length === 2, 'it runs');
  clock.advance(millis(1_001));
  expect(access.connect()).toBe(asked[0]);
  await answer;
  const started = await pids('started');
  await until(() => !started.some(lives), 'they are gone');
});

test('one that answers is believed', async () => {
  const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status: { token: 'from-the-plugin', expirationTimestamp: '2100-01-01T00:00:00Z' } };
  const access = await accessBy('talking', `echo '${JSON.stringify(credential)}'`);
  expect((await access.connect()).headers).toEqual({ Authorization: 'Bearer from-the-plugin' });
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import { createAccess } from '../../../src/platform/kube/access.ts';
import { manualClock } from '../../support/clock.ts';
import { temporaryFolder } from '../../support/temp.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => { folder = await temporaryFolder(); });
afterAll(() => folder.remove());

async function kubeconfig(name: string, token: string, cluster = 'c'): Promise<string> {
  const path = join(folder.path, name);
  await writeFile(path, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server: 'https://c.example' } }], users: [{ name: 'u', user: { token } }], contexts: [{ name: 'c', context: { cluster, user: 'u' } }],
  }));
  return path;
}

test('credentials that are given up while they are read disturb nobody who waits for them', async () => {
  const path = await kubeconfig('race', 'good');
  for (let turns = 0; turns < 20; turns += 1) {
    const access = createAccess({ kind: 'file', path });
    const connected = access.connect();
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
    access.renew();
    expect((await connected).headers).toEqual({ Authorization: 'Bearer good' });
    access.close();
  }
});

test('what a request needs is put together once a second, not for each of them', async () => {
  const clock = manualClock();
  const access = createAccess({ kind: 'file', path: await kubeconfig('often', 'good') }, clock);
  const [first, second] = await Promise.all([access.connect(), access.connect()]);
  expect(second).toBe(first);
  clock.advance(millis(1_001));
  const later = await access.connect();
  expect(later).not.toBe(first);
  expect(later.agent).toBe(first.agent);
  access.close();
});

test('a file that was of no use is read again', async () => {
  const access = createAccess({ kind: 'file', path: await kubeconfig('late', 'x', 'nothing') });
  await expect(access.connect()).rejects.toMatchObject({ code: 'settings-invalid' });
  await kubeconfig('late', 'good');
  expect((await access.connect()).headers).toEqual({ Authorization: 'Bearer good' });
  access.close();
});

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { kubeSource } from '../../../src/cli/cluster.ts';
import { createAccess } from '../../../src/platform/kube/access.ts';
import { loadSettings } from '../../../src/platform/settings.ts';
import { temporaryFolder } from '../../support/temp.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => { folder = await temporaryFolder(); });
afterEach(() => folder.remove());

const inPod = { KUBERNETES_SERVICE_HOST: '10.0.0.1', KUBERNETES_SERVICE_PORT: '443' };
const source = async (env: Readonly<Record<string, string>>, flags = {}) => kubeSource(await loadSettings({ env, flags }), env, folder.path);

test('none is configured: heartbeats alone decide', async () => {
  expect(await source({})).toBeNull();
  // A pod that was given no ServiceAccount.
  expect(await source(inPod)).toBeNull();
});

test('the cluster of its own pod, where nothing else is named', async () => {
  await writeFile(join(folder.path, 'token'), 'secret');
  expect(await source(inPod)).toEqual({ kind: 'pod', host: '10.0.0.1', port: '443', folder: folder.path });
  expect(await source({ ...inPod, KUBECONFIG: '/etc/kube' })).toEqual({ kind: 'file', path: '/etc/kube' });
  expect(await source({ KUBECONFIG: '/etc/kube' }, { kubeconfig: '/flag' })).toEqual({ kind: 'file', path: '/flag' });
});

test('in a pod, with the token as the kubelet writes it', async () => {
  await writeFile(join(folder.path, 'token'), 'first');
  await writeFile(join(folder.path, 'ca.crt'), '');
  const access = createAccess({ kind: 'pod', host: 'fd00::1', port: '443', folder: folder.path });
  expect(await access.connect()).toMatchObject({ url: 'https://[fd00::1]:443', headers: { Authorization: 'Bearer first' } });
  await writeFile(join(folder.path, 'token'), 'second');
  // A refusal is when it is looked at again at once.
  access.renew();
  expect((await access.connect()).headers).toEqual({ Authorization: 'Bearer second' });
  access.close();
});

test('several files: the first one\'s context, and a file that is missing is none', async () => {
  const config = (name: string): string => JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': name,
    clusters: [{ name, cluster: { server: `https://${name}.example.com` } }], users: [{ name, user: { token: name } }], contexts: [{ name, context: { cluster: name, user: name } }],
  });
  await writeFile(join(folder.path, 'a'), config('a'));
  await writeFile(join(folder.path, 'b'), config('b'));
  const access = createAccess({ kind: 'file', path: ['a', 'missing', 'b'].map((name) => join(folder.path, name)).join(':') });
  expect(await access.connect()).toMatchObject({ url: 'https://a.example.com', headers: { Authorization: 'Bearer a' } });
  const agent = (await access.connect()).agent;
  access.renew();
  // The same credentials keep the same connections.
  expect((await access.connect()).agent).toBe(agent);
  access.close();
});

import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { kubeSource, withCluster } from '../../../src/cli/cluster.ts';
import { createAccess } from '../../../src/platform/kube/access.ts';
import type { Runtime } from '../../../src/cli/runtime.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { systemRandom } from '../../../src/platform/random.ts';
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

test('a command that looked says that how long a node is as it is counts from there', async () => {
  const server = createServer((request, response) => {
    const watched = new URL(request.url ?? '', 'http://server').searchParams.has('watch');
    response.writeHead(200, { 'content-type': 'application/json' });
    // A watch on which nothing happens.
    if (watched) response.flushHeaders();
    else response.end('{"metadata":{"resourceVersion":"1"},"items":[]}');
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise((resolve) => { server.close(() => { resolve(); }); server.closeAllConnections(); }));
  const { port } = server.address() as AddressInfo;
  await writeFile(join(folder.path, 'config'), JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'a',
    clusters: [{ name: 'a', cluster: { server: `http://127.0.0.1:${String(port)}`, 'insecure-skip-tls-verify': true } }], users: [{ name: 'a', user: {} }], contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
  }));
  const told: string[] = [];
  const runtime = { kubernetes: null, clock: systemClock, random: systemRandom, log: silentLog, settings: await loadSettings({ env: {}, flags: {} }), tell: (text: string) => { told.push(text); } } as unknown as Runtime;
  await withCluster(runtime, () => Promise.resolve());
  expect(told).toHaveLength(0);
  await withCluster({ ...runtime, kubernetes: { kind: 'file', path: join(folder.path, 'config') } }, () => Promise.resolve());
  expect(told).toHaveLength(1);
});

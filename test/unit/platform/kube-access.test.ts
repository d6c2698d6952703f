import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import { createAccess } from '../../../src/platform/kube/access.ts';
import { createKubeClient } from '../../../src/platform/kube/client.ts';
import { createKubeWriter } from '../../../src/platform/kube/write.ts';
import { certificate } from '../../support/certificate.ts';
import { manualClock } from '../../support/clock.ts';
import { temporaryFolder } from '../../support/temp.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => { folder = await temporaryFolder(); });
afterAll(() => folder.remove());

async function kubeconfig(name: string, token: string, cluster = 'c', server = 'https://c.example', more: object = { 'insecure-skip-tls-verify': server.startsWith('http:') }): Promise<string> {
  const path = join(folder.path, name);
  await writeFile(path, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server, ...more } }], users: [{ name: 'u', user: { token } }], contexts: [{ name: 'c', context: { cluster, user: 'u' } }],
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

test('a server below a path, and one by an address of IPv6, is asked there', async () => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(request.url ?? '');
    response.end('{}');
  });
  await new Promise<void>((resolve) => { server.listen(0, '::1', resolve); });
  onTestFinished(() => new Promise<void>((resolve) => {
    server.close(() => { resolve(); });
    server.closeAllConnections();
  }));
  const { port } = server.address() as AddressInfo;
  for (const path of ['', '/', '/k8s/clusters/c1', '/k8s/clusters/c1/']) {
    const access = createAccess({ kind: 'file', path: await kubeconfig('below', 'good', 'c', `http://[::1]:${String(port)}${path}`) });
    expect(await createKubeWriter(access).send({ method: 'GET', path: '/api/v1?x=1' })).toMatchObject({ kind: 'answered', status: 200 });
    expect(await createKubeClient(access).get('/api/v1', { x: '1' })).toMatchObject({ body: {} });
    access.close();
  }
  expect(seen.filter((_, n) => n % 2 === 1)).toEqual(seen.filter((_, n) => n % 2 === 0));
  expect(seen.filter((_, n) => n % 2 === 0)).toEqual(['/api/v1?x=1', '/api/v1?x=1', '/k8s/clusters/c1/api/v1?x=1', '/k8s/clusters/c1/api/v1?x=1']);
});

test('a server is believed by the certificates of the kubeconfig only, unless that says to believe any', async () => {
  const [its, another] = await Promise.all([certificate(folder.path, 'its'), certificate(folder.path, 'another')]);
  const server = createTlsServer({ key: await readFile(its.keyFile), cert: await readFile(its.certFile) }, (_, response) => { response.end('{}'); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise<void>((resolve) => {
    server.close(() => { resolve(); });
    server.closeAllConnections();
  }));
  const url = `https://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const ask = async (cluster: object): Promise<string> => {
    const path = await kubeconfig('tls', 'good', 'c', url, cluster);
    const access = createAccess({ kind: 'file', path });
    const { kind } = await createKubeWriter(access).send({ method: 'GET', path: '/api' });
    access.close();
    return kind;
  };
  expect(await ask({ 'certificate-authority': its.certFile })).toBe('answered');
  expect(await ask({ 'certificate-authority': another.certFile })).toBe('unsent');
  expect(await ask({})).toBe('unsent');
  expect(await ask({ 'insecure-skip-tls-verify': true })).toBe('answered');
});

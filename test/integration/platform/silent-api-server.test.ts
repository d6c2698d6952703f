import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { millis } from '../../../src/model/time.ts';
import { createAccess, type KubeAccess } from '../../../src/platform/kube/access.ts';
import { createKubeClient } from '../../../src/platform/kube/client.ts';
import { createKubeWriter } from '../../../src/platform/kube/write.ts';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { until } from '../../support/until.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => { folder = await temporaryFolder(); });
afterAll(() => folder.remove());

const patience = millis(500);
const get = { method: 'GET', path: '/version' } as const;

async function accessTo(server: string): Promise<KubeAccess> {
  const path = join(folder.path, `config-${new URL(server).port}`);
  await writeFile(path, JSON.stringify({
    apiVersion: 'v1', kind: 'Config', 'current-context': 'c',
    clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }], users: [{ name: 'u', user: { token: 't' } }], contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
  }));
  const access = createAccess({ kind: 'file', path });
  onTestFinished(() => { access.close(); });
  return access;
}

interface Stopped {
  readonly url: string;
  /** Paths that it was asked for. */
  readonly asked: readonly string[];
  goOn(): void;
}

const program = `const server = require('node:http').createServer((request, response) => { console.log(request.url); response.end('{}'); });
server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => { console.log(server.address().port); });`;

/** A server in a process that is stopped, and whose queue is full: to connect to it takes for ever, as to a machine that is gone. */
async function stoppedServer(): Promise<Stopped> {
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await until(() => lines.length > 0, 'it listens');
  child.kill('SIGSTOP');
  const port = Number(lines.shift());
  const queue: Socket[] = Array.from({ length: 8 }, () => connect(port, '127.0.0.1').on('error', () => undefined));
  onTestFinished(async () => {
    for (const socket of queue) socket.destroy();
    await new Promise((resolve) => {
      child.once('close', resolve);
      child.kill('SIGKILL');
    });
  });
  await until(() => queue.some(({ connecting }) => !connecting), 'the first of the queue are connected');
  return {
    url: `http://127.0.0.1:${String(port)}`,
    asked: lines,
    goOn: () => {
      for (const socket of queue) socket.destroy();
      child.kill('SIGCONT');
    },
  };
}

test('a server to which no connection comes about is given up as soon as one that says nothing', { timeout: 30_000 }, async () => {
  const access = await accessTo((await stoppedServer()).url);
  expect(await createKubeWriter(access, patience).send(get)).toMatchObject({ kind: 'unsent' });
  await expect(createKubeClient(access, patience).get('/version', {})).rejects.toMatchObject({ code: 'kubernetes-unreachable' });
});

test('what may not be done any more when the connection is there at last is not sent', { timeout: 60_000 }, async () => {
  const server = await stoppedServer();
  const writer = createKubeWriter(await accessTo(server.url));
  let leads = true;
  const asking = (): Promise<void> => (leads ? Promise.resolve() : Promise.reject(new Failure('not-leader', 'Another instance leads.')));
  const late = writer.send({ method: 'GET', path: '/late' }, asking);
  leads = false;
  server.goOn();
  await expect(late).rejects.toMatchObject({ code: 'not-leader' });
  expect(await writer.send(get)).toMatchObject({ kind: 'answered' });
  await until(() => server.asked.length > 0, 'it was asked');
  expect(server.asked).toEqual(['/version']);
});

test('where one connection has lost its other end, idle ones are not tried one after the other', async () => {
  const server: Server = createServer((_request, response) => { response.end('{}'); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => new Promise<void>((resolve) => {
    server.close(() => { resolve(); });
    server.closeAllConnections();
  }));
  const proxy = await halfOpenProxy(`http://127.0.0.1:${String((server.address() as AddressInfo).port)}`);
  onTestFinished(() => proxy.close());
  const writer = createKubeWriter(await accessTo(proxy.url.replace(/\/$/, '')), patience);
  const answers = await Promise.all(Array.from({ length: 8 }, () => writer.send(get)));
  expect(answers.map(({ kind }) => kind)).toEqual(Array.from({ length: 8 }, () => 'answered'));
  proxy.freeze();
  expect(await writer.send(get)).toMatchObject({ kind: 'lost' });
  expect(await writer.send(get)).toMatchObject({ kind: 'answered' });
});

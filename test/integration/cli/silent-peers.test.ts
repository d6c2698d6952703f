import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
import { until } from '../../support/until.ts';
import { small, startProgram } from './program.ts';

const flags = (url: string): readonly string[] => ['run', '--config-db', url, '--http-host', '127.0.0.1', '--http-port', '0', '--poll-interval', '1s'];
/** What the program waits for at its end is over within some ten seconds each. */
const patienceMs = 90_000;

test('a PostgreSQL that is gone without a word does not keep the program from its end', { timeout: patienceMs }, async ({ onTestFinished }) => {
  const shop = await small(onTestFinished);
  const proxy = await halfOpenProxy(shop.url);
  onTestFinished(() => proxy.close());
  const program = shop.start(flags(proxy.url));
  await program.logged(({ msg }) => msg === 'pushed');
  proxy.freeze();
  program.signal('SIGTERM');
  expect(await program.ended).toEqual({ code: 0, signal: null });
});

test('nor does a client that has sent half a heartbeat', { timeout: patienceMs }, async ({ onTestFinished }) => {
  const shop = await small(onTestFinished);
  const program = shop.start(flags(shop.url));
  const { url } = await program.logged(({ msg }) => msg === 'listening');
  const client = connect(Number(new URL(String(url)).port), '127.0.0.1').on('error', () => undefined);
  onTestFinished(() => { client.destroy(); return Promise.resolve(); });
  await once(client, 'connect');
  client.write('POST /api/v1/edge/heartbeat HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"proc');
  await program.logged(({ msg }) => msg === 'pushed');
  program.signal('SIGTERM');
  expect(await program.ended).toEqual({ code: 0, signal: null });
});

test('while a git remote that says nothing keeps it from its end, another instance may lead', { timeout: patienceMs }, async ({ onTestFinished }) => {
  const shop = await small(onTestFinished);
  let asked = false;
  const remote = createServer((socket) => { socket.on('error', () => undefined).on('data', () => { asked = true; }); });
  await new Promise<void>((resolve) => { remote.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => { remote.close(); return Promise.resolve(); });
  const program = startProgram(flags(shop.url), shop.folder, { ...shop.env, DORY_GIT_URL: `http://127.0.0.1:${String((remote.address() as AddressInfo).port)}/fleet.git` });
  onTestFinished(async () => {
    program.signal('SIGKILL');
    await program.ended;
  });
  await until(() => asked, 'the remote is asked');
  program.signal('SIGTERM');
  await program.logged(({ msg }) => msg.startsWith('something under way does not end'));
  await until(async () => (await shop.pool.query('select from dory.leader where holder is null')).rowCount === 1, 'nobody leads');
});

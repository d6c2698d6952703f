import { createServer, type AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { seconds } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { listen, type Listener } from '../../../src/platform/listen.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, manualClock } from '../../support/clock.ts';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeEach(async () => {
  db = await testDatabase();
});
afterEach(async () => {
  await db.close();
});

/** A listener whose notifications can be awaited one by one. */
function listening(url: string): Listener & { readonly next: () => Promise<string | null> } {
  const queue: (string | null)[] = [];
  const waiting: ((payload: string | null) => void)[] = [];
  const onNotify = (payload: string | null): void => {
    const waiter = waiting.shift();
    if (waiter === undefined) queue.push(payload);
    else waiter(payload);
  };
  const listener = listen({ url, channel: 'dory', onNotify, clock: systemClock, random: fixedRandom(0), log: silentLog });
  const next = (): Promise<string | null> => {
    const payload = queue.shift();
    return payload === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(payload);
  };
  return { ...listener, next };
}

test('says that it listens, then each notification; our own tables send them', async () => {
  const listener = listening(db.url);
  expect(await listener.next()).toBeNull();
  await db.pool.query("notify dory, 'hello'");
  expect(await listener.next()).toBe('hello');
  await db.pool.query("insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'ops', 'moving', now())");
  expect(await listener.next()).toBe('approvals');
  await listener.close();
});

test('a connection that is killed is opened again, and says that it may have missed something', async () => {
  const listener = listening(db.url);
  expect(await listener.next()).toBeNull();
  await db.pool.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'dory-listen' and datname = current_database()");
  expect(await listener.next()).toBeNull();
  await db.pool.query("notify dory, 'again'");
  expect(await listener.next()).toBe('again');
  await listener.close();
});

test('closing leaves no connection', async () => {
  const listener = listening(db.url);
  await listener.next();
  await listener.close();
  // The server's process ends a moment after the goodbye.
  await vi.waitFor(async () => {
    const { rows } = await db.pool.query("select pid from pg_stat_activity where application_name = 'dory-listen' and datname = current_database()");
    expect(rows).toEqual([]);
  }, { timeout: 10_000 });
});

test('closing ends the wait for a server that can not be reached', async () => {
  const clock = manualClock();
  const url = new URL(db.url);
  url.port = '1';
  const listener = listen({ url: url.href, channel: 'dory', onNotify: () => expect.unreachable(), clock, random: fixedRandom(1), log: silentLog });
  await clock.asleep();
  await listener.close();
});

test('a connection whose other end is gone without a word is noticed and opened again', async () => {
  const proxy = await halfOpenProxy(db.url);
  // It asks when this clock says so, and waits for the answer by the driver's.
  const clock = manualClock();
  const told: unknown[] = [];
  const listener = listen({ url: proxy.url, channel: 'dory', onNotify: (payload) => told.push(payload), onBreak: (failure) => told.push(failure), clock, random: fixedRandom(0), log: silentLog });
  await clock.asleep();
  expect(told).toEqual([null]);
  proxy.freeze();
  clock.advance(seconds(15));
  await vi.waitFor(() => { expect(told).toHaveLength(2); }, { timeout: 20_000 });
  expect(told[1]).toMatchObject({ code: 'database-unreachable' });
  // What no server answers: the goodbye; and the pause before the next attempt, which is none here.
  await vi.waitFor(() => {
    clock.advance(seconds(1));
    expect(told).toHaveLength(3);
  }, { timeout: 20_000 });
  expect(told[2]).toBeNull();
  await listener.close();
  await proxy.close();
});

test('a server that takes the connection and says nothing after that is given up, too', async () => {
  /** Lets everybody in, and is ready; what it is asked then it does not answer. */
  const welcome = Buffer.from([...Buffer.from('R'), 0, 0, 0, 8, 0, 0, 0, 0, ...Buffer.from('Z'), 0, 0, 0, 5, ...Buffer.from('I')]);
  const server = createServer((socket) => { socket.on('error', () => undefined).once('data', () => socket.write(welcome)); });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address() as AddressInfo;
  const broken = vi.fn();
  const listener = listen({ url: `postgresql://u:p@127.0.0.1:${String(port)}/d`, channel: 'dory', onNotify: () => expect.unreachable(), onBreak: broken, clock: systemClock, random: fixedRandom(1), log: silentLog });
  await vi.waitFor(() => { expect(broken).toHaveBeenCalledWith(expect.objectContaining({ code: 'database-unreachable' })); }, { timeout: 20_000 });
  await listener.close();
  await new Promise((resolve) => server.close(resolve));
});

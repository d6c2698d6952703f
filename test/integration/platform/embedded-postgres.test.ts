import { lstat, mkdir, readFile, readdir, realpath, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { removeEmbeddedPostgres, startEmbeddedPostgres, type EmbeddedPostgres } from '../../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { startChild } from '../../support/child.ts';
import { temporaryFolder } from '../../support/temp.ts';

const childProgram = 'embedded-postgres-child';
const isRoot = process.getuid?.() === 0;

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
/** Used by all: each test finds the server stopped, and leaves it so. */
let dataDir: string;
const running: EmbeddedPostgres[] = [];
beforeAll(async () => {
  folder = await temporaryFolder();
  dataDir = join(folder.path, '.dory');
});
afterEach(async () => {
  for (const server of running.splice(0)) await server.stop();
});
afterAll(async () => {
  await folder.remove();
});

async function start(more: { readonly dataDir?: string; readonly sharedFolder?: string } = {}): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog, ...more });
  running.push(server);
  return server;
}

async function query(url: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

/** The process number of the server in this place; null if there is none. */
async function serverProcess(): Promise<number | null> {
  try {
    return Number.parseInt(await readFile(join(dataDir, 'postgres', 'data', 'postmaster.pid'), 'utf8'), 10);
  } catch {
    return null;
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('a server on 127.0.0.1 alone, with a password; its data outlives it', async () => {
  const first = await start();
  expect(new URL(first.url)).toMatchObject({ hostname: '127.0.0.1', pathname: '/dory' });
  await query(first.url, 'create table first (n int); insert into first values (7)');
  expect(await query(first.url, "select current_setting('listen_addresses') as on, current_setting('unix_socket_directories') as socket")).toEqual([{ on: '127.0.0.1', socket: '' }]);
  const wrong = new URL(first.url);
  wrong.password = 'wrong';
  await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  await first.stop();
  await first.stop();
  expect(await serverProcess()).toBeNull();
  const second = await start();
  expect(await query(second.url, 'select n from first')).toEqual([{ n: 7 }]);
});

test('nobody else can read data or password', async () => {
  await start();
  const place = join(dataDir, 'postgres');
  for (const path of [place, join(place, 'password'), join(place, 'data')]) expect((await stat(path)).mode & 0o077).toBe(0);
  expect((await readdir(place)).sort()).toEqual(['data', 'password']);
});

test('stopping ends open connections, without an error for those that wait', async () => {
  const server = await start();
  const client = new pg.Client({ connectionString: server.url });
  const broken = new Promise((resolve) => client.on('error', resolve));
  await client.connect();
  await server.stop();
  expect(await broken).toMatchObject({ code: '57P01' });
});

test('a second process on the same folder is refused, and the first goes on', async () => {
  const first = await start();
  await expect(start()).rejects.toMatchObject({ code: 'embedded-postgres-failed', message: expect.stringContaining('Another process') as string });
  expect(await query(first.url, 'select 1 as one')).toEqual([{ one: 1 }]);
});

test('two that start at once on a new folder: one gets it', async () => {
  const fresh = { dataDir: join(folder.path, 'fresh') };
  const results = await Promise.allSettled([start(fresh), start(fresh)]);
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
});

test('the server ends when its owner is killed, and the next start takes its data over', async () => {
  const child = startChild(childProgram, [dataDir]);
  await query(await child.line(), 'create table second (n int)');
  child.process.kill('SIGKILL');
  await child.ended;
  const next = await start();
  expect(await query(next.url, 'select n from second')).toEqual([]);
});

test('the data of an ephemeral server goes with its owner, but not with a stop', async () => {
  const place = join(folder.path, 'ephemeral');
  const first = startChild(childProgram, [place, 'ephemeral']);
  await first.line();
  first.process.kill('SIGINT');
  await first.ended;
  expect(await readdir(join(place, 'postgres'))).toContain('data');
  const second = startChild(childProgram, [place, 'ephemeral']);
  await second.line();
  second.process.kill('SIGKILL');
  await vi.waitUntil(async () => (await readdir(join(place, 'postgres'))).length === 0, { timeout: 20_000 });
});

test('Ctrl-C reaches the owner alone: the server is there until the owner stops it', async () => {
  const child = startChild(childProgram, [dataDir], { detached: true });
  await child.line();
  const server = await serverProcess();
  if (server === null || child.process.pid === undefined) return expect.unreachable();
  // As a terminal does it: to all of the process group.
  process.kill(-child.process.pid, 'SIGINT');
  expect(await child.ended).toEqual({ code: 0, signal: null });
  expect(isAlive(server)).toBe(false);
  expect(await serverProcess()).toBeNull();
});

test('after a crash of the server its lock file is no obstacle, even when another process has its number', async () => {
  const first = await start();
  await first.stop();
  const lock = join(dataDir, 'postgres', 'data', 'postmaster.pid');
  const { uid, gid } = await stat(join(dataDir, 'postgres', 'data', 'PG_VERSION'));
  // A process of the server's user that is no server: PostgreSQL alone would take it for one.
  const stranger = startChild('idle-child', [String(uid), String(gid)]);
  await stranger.line();
  await writeFile(lock, `${String(stranger.process.pid)}\n${join(dataDir, 'postgres', 'data')}\n1\n1\n\n127.0.0.1\n`);
  const second = await start();
  expect(await query(second.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  stranger.process.kill('SIGKILL');
  await stranger.ended;
});

test('a folder that can not be made is a failure that says what to do', async () => {
  await writeFile(join(folder.path, 'file'), '');
  await expect(start({ dataDir: join(folder.path, 'file', 'x') })).rejects.toMatchObject({ code: 'embedded-postgres-failed', mend: expect.stringContaining('DORY_DATA_DIR') as string });
});

test.runIf(isRoot)("as root, data that the server's account could not reach goes to a shared folder", async () => {
  const hidden = join(folder.path, 'hidden');
  await mkdir(hidden, { mode: 0o700 });
  const place = { dataDir: join(hidden, '.dory'), sharedFolder: join(folder.path, 'shared') };
  const first = await start(place);
  await query(first.url, 'create table kept (n int)');
  await first.stop();
  const link = join(place.dataDir, 'postgres');
  expect(await realpath(link)).toContain(place.sharedFolder);
  expect((await lstat(link)).isSymbolicLink()).toBe(true);
  const second = await start(place);
  expect(await query(second.url, 'select n from kept')).toEqual([]);
  await second.stop();
  await removeEmbeddedPostgres(place.dataDir);
  expect(await readdir(place.sharedFolder)).toEqual([]);
  expect(await readdir(place.dataDir)).toEqual([]);
});

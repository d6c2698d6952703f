import { execFile, spawn, type ChildProcessByStdio } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { promisify } from 'node:util';
import { Failure } from '../../model/failure.ts';
import { millis } from '../../model/time.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import { isSystemError } from './files.ts';
import type { Home } from './home.ts';

export interface Server {
  readonly port: number;
  /** Ends all connections and waits until the server is gone. May be called again. */
  readonly stop: () => Promise<void>;
}

export interface ServerContext {
  readonly home: Home;
  readonly log: Log;
  readonly clock: Clock;
  /** Settings of `postgresql.conf` for this run. */
  readonly parameters: Readonly<Record<string, string>>;
  /** The data is for this run only: should we be killed, it is removed. */
  readonly ephemeral: boolean;
}

/**
 * Starts the server, and stops it when we say so on standard input or when that closes because we were killed; then what is only
 * for this run is removed. It runs in a session of its own, so that Ctrl-C reaches us alone and we can end our work before the
 * database goes.
 */
const supervisor = `
trap '' HUP INT QUIT TERM
exec 3<&0
lifetime=$1; shift
"$@" 3<&- </dev/null & server=$!
( read -r _ <&3 || [ "$lifetime" = lasting ] || : >orphaned; kill -INT "$server" ) & watcher=$!
wait "$server"; status=$?
kill -KILL "$watcher" 2>/dev/null
[ ! -e orphaned ] || rm -rf ./*
exit "$status"
`;

/** A server that is not ready by then is broken. Recovery after a crash comes first; it is bounded by `max_wal_size`, 1 GB. */
const startPatience = millis(60_000);
/** A fast shutdown writes a checkpoint: as long as the disk takes for at most `shared_buffers`, 128 MB. */
const stopPatience = millis(30_000);
/** The port is free when we choose it and may be taken when the server does. */
const portAttempts = 5;
/** What the server said last is kept for the error message. */
const keptLines = 20;

/** A server whose owner was killed learns it as soon as the machine lets it; one that is still at work after this has an owner. */
const takeoverPatience = millis(3_000);
const takeoverPause = millis(50);

/** @throws Failure `embedded-postgres-failed` */
export async function startServer(context: ServerContext): Promise<Server> {
  const { home, clock } = context;
  const start = clock.monotonic();
  for (let attempt = 1; ; attempt++) {
    const outcome = await tryStart(context, await freePort());
    if ('port' in outcome) return outcome;
    if (/could not bind .*Address already in use/.test(outcome.output) && attempt < portAttempts) continue;
    if (!/lock file ".*" already exists|pre-existing shared memory block/.test(outcome.output)) throw startFailed(home, outcome.output);
    const patience = (await predecessor(dataFolder(home))) === 'ending' ? stopPatience : takeoverPatience;
    if (clock.monotonic() - start > patience) throw inUse(home);
    await clock.sleep(takeoverPause);
  }
}

function startFailed(home: Home, output: string): Failure {
  return new Failure('embedded-postgres-failed', `The embedded PostgreSQL in ${home.directory} did not start:\n${output}`, {
    mend: 'Mend what it names, or set DORY_DATABASE_URL to a server of your own.',
  });
}

function inUse(home: Home): Failure {
  return new Failure('embedded-postgres-failed', `Another process runs the embedded PostgreSQL in ${home.directory}.`, {
    mend: 'Stop the other process, set DORY_DATA_DIR to another folder, or share a server by DORY_DATABASE_URL.',
  });
}

/**
 * The server that holds the folder's lock file. PostgreSQL takes that for valid as long as any process of the same user has the
 * number in it, as happens after a restart of a machine or a container: if it is no server of this folder, the file is removed.
 */
async function predecessor(folder: string): Promise<'none' | 'at work' | 'ending'> {
  const lock = join(folder, 'postmaster.pid');
  const content = await textIfThere(lock);
  if (content === null) return 'none';
  if ((await commandLine(Number.parseInt(content, 10))).includes(folder)) return content.trimEnd().endsWith('stopping') ? 'ending' : 'at work';
  await rm(lock, { force: true });
  return 'none';
}

async function textIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return null;
    throw error;
  }
}

async function commandLine(pid: number): Promise<string> {
  try {
    if (process.platform === 'linux') return await readFile(`/proc/${String(pid)}/cmdline`, 'utf8');
    return (await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)])).stdout;
  } catch {
    // There is no such process any more.
    return '';
  }
}

export const dataFolder = (home: Home): string => join(home.directory, 'data');

/** Nothing of our environment: it holds credentials, and variables that the server would obey. */
export const serverEnvironment = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };

async function tryStart(context: ServerContext, port: number): Promise<Server | { readonly output: string }> {
  const { home, log, clock } = context;
  const parameters = {
    ...context.parameters,
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    logging_collector: 'off',
    log_destination: 'stderr',
  };
  const settings = Object.entries(parameters).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const command = [join(home.programs, 'bin', 'postgres'), '-D', dataFolder(home), ...settings];
  const child = spawn('/bin/sh', ['-c', supervisor, 'dory-postgres', context.ephemeral ? 'ephemeral' : 'lasting', ...command], {
    ...home.account,
    cwd: home.directory,
    env: serverEnvironment,
    detached: true,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const output: string[] = [];
  const running = watch(child, (line) => {
    log.debug({ line }, 'embedded PostgreSQL');
    output.push(line);
    if (output.length > keptLines) output.shift();
  });
  const late = new AbortController();
  const ready = await Promise.race([running.ready, running.ended.then(() => false), clock.sleep(startPatience, late.signal).then(() => false)]);
  late.abort();
  if (ready) return { port, stop: () => stop(child, running.ended, clock) };
  await stop(child, running.ended, clock);
  return { output: output.join('\n') };
}

interface Running {
  /** Resolves to true when connections are accepted; never if they are not. */
  readonly ready: Promise<boolean>;
  /** Resolves when the server is gone. */
  readonly ended: Promise<void>;
}

function watch(child: ChildProcessByStdio<Writable, null, Readable>, onLine: (line: string) => void): Running {
  const lines = createInterface({ input: child.stderr });
  const ready = new Promise<boolean>((resolve) => {
    lines.on('line', (line) => {
      onLine(line);
      if (line.includes('database system is ready to accept connections')) resolve(true);
    });
  });
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      onLine(error.message);
      resolve();
    });
    child.once('close', () => {
      resolve();
    });
  });
  // Writing to a supervisor that is gone is no news: `ended` tells.
  child.stdin.on('error', () => undefined);
  return { ready, ended };
}

async function stop(child: ChildProcessByStdio<Writable, null, Readable>, ended: Promise<void>, clock: Clock): Promise<void> {
  child.stdin.end('stop\n');
  const inTime = new AbortController();
  const gone = await Promise.race([ended.then(() => true), clock.sleep(stopPatience, inTime.signal).then(() => false)]);
  inTime.abort();
  if (gone || child.pid === undefined) return;
  // The whole session: the server and its supervisor. What was committed is in the write-ahead log.
  process.kill(-child.pid, 'SIGKILL');
  await ended;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  return new Promise((resolve, reject) => {
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('a TCP server without a port'));
        else resolve(address.port);
      });
    });
  });
}

import { execFile } from 'node:child_process';
import { chown, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { Failure } from '../model/failure.ts';
import { systemClock, type Clock } from './clock.ts';
import { exists } from './embedded-postgres/files.ts';
import { prepareHome, removeHome, sharedFolder, type Home } from './embedded-postgres/home.ts';
import { dataFolder, serverEnvironment, startServer } from './embedded-postgres/server.ts';
import type { Log } from './log.ts';
import { systemRandom, type Random } from './random.ts';

export interface EmbeddedPostgres {
  /** The superuser's URL of the database `dory`, with its password. */
  readonly url: string;
  /** Ends all connections and the server; its data stays. May be called again. */
  readonly stop: () => Promise<void>;
}

export interface EmbeddedPostgresOptions {
  /** The data goes to `postgres` in this folder, which is made if it is not there. */
  readonly dataDir: string;
  readonly log: Log;
  /** Settings of `postgresql.conf` for this run. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** The data is for this run only: should this process be killed, it is removed. Otherwise that is up to `removeEmbeddedPostgres`. */
  readonly ephemeral?: boolean;
  /** Where root puts the data if the server's account can't reach `dataDir`. */
  readonly sharedFolder?: string;
  readonly clock?: Clock;
  readonly random?: Random;
}

const user = 'dory';

/**
 * Starts a PostgreSQL server of our own on a free port of 127.0.0.1, and makes its database `dory` if it is not there. It ends
 * with `stop`, or when this process ends, however that happens.
 * @throws Failure `embedded-postgres-failed`
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { dataDir, log, parameters = {}, ephemeral = false, clock = systemClock, random = systemRandom } = options;
  if (process.platform === 'win32') throw unsupported();
  const home = await prepareHome(dataDir, options.sharedFolder ?? sharedFolder);
  const password = await ensurePassword(home, random);
  await ensureCluster(home);
  const server = await startServer({ home, log, clock, parameters, ephemeral });
  try {
    const url = (database: string): string => `postgresql://${user}:${password}@127.0.0.1:${String(server.port)}/${database}`;
    await ensureDatabase(url('postgres'));
    log.info({ directory: home.directory, port: server.port }, 'embedded PostgreSQL is ready');
    return { url: url('dory'), stop: server.stop };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** Removes the data of a stopped server, wherever it was put. */
export async function removeEmbeddedPostgres(dataDir: string): Promise<void> {
  await removeHome(dataDir);
}

function unsupported(): Failure {
  return new Failure('embedded-postgres-failed', 'The embedded PostgreSQL does not run on Windows.', {
    mend: 'Set DORY_DATABASE_URL to a PostgreSQL server.',
  });
}

const passwordFile = (home: Home): string => join(home.directory, 'password');

/** One random password a data directory, readable by the server's account and root alone. */
async function ensurePassword(home: Home, random: Random): Promise<string> {
  const file = passwordFile(home);
  if (!(await exists(file))) {
    const draft = `${file}.${random.hex(4)}`;
    await writeFile(draft, random.hex(24), { mode: 0o600, flag: 'wx' });
    if (home.account !== null) await chown(draft, home.account.uid, home.account.gid);
    await rename(draft, file);
  }
  return (await readFile(file, 'utf8')).trim();
}

/** Makes the data folder once, in one step: a crash or a second process in between leaves nothing half made. */
async function ensureCluster(home: Home): Promise<void> {
  if (await exists(join(dataFolder(home), 'PG_VERSION'))) return;
  const draft = await mkdtemp(`${dataFolder(home)}.`);
  try {
    if (home.account !== null) await chown(draft, home.account.uid, home.account.gid);
    await initialise(home, draft);
    await rename(draft, dataFolder(home));
  } catch (error) {
    // Another process was faster.
    if (!(await exists(join(dataFolder(home), 'PG_VERSION')))) throw error;
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

async function initialise(home: Home, folder: string): Promise<void> {
  const flags = [
    `--pgdata=${folder}`,
    `--username=${user}`,
    `--pwfile=${passwordFile(home)}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // Needs no locale of the operating system, and sorts alike everywhere.
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  ];
  try {
    await promisify(execFile)(join(home.programs, 'bin', 'initdb'), flags, { ...home.account, cwd: home.directory, env: serverEnvironment });
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Failure('embedded-postgres-failed', `The embedded PostgreSQL can't make its data folder: ${said}`, {
      mend: 'Mend what it names, or set DORY_DATABASE_URL to a server of your own.',
      cause: error,
    });
  }
}

async function ensureDatabase(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  try {
    await client.connect();
    const { rowCount } = await client.query("select from pg_database where datname = 'dory'");
    if (rowCount === 0) await client.query('create database dory');
  } finally {
    await client.end();
  }
}

import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pool, PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import { digestText } from './digest.ts';
import { existingSchemaMigration } from './migrate-existing.ts';
import { packageRoot } from './package-root.ts';
import { inTransaction, withClient } from './pg.ts';

export interface MigrationReport {
  /** Names of the migrations that were applied now, in order: `0002_dory`. */
  readonly applied: readonly string[];
  /** Names of tables of the existing schema that were absent and were created. */
  readonly created: readonly string[];
}

interface Migration {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

/** Numbers the lock under which one process at a time migrates: `dory` in ASCII. */
const lockKey = 0x646f7279;
const oldestServer = 150_000;

/**
 * Brings the database to the schema of this program, in one transaction. Does nothing if it is there already; may run
 * in several processes at once.
 * @throws Failure `schema-newer`, `schema-incompatible`, `database-*`
 */
export async function migrate(pool: Pool, directory: string = join(packageRoot(), 'config', 'migrations')): Promise<MigrationReport> {
  const migrations = await readMigrations(directory);
  const missing = await withClient(pool, async (client) => pending(client, migrations));
  if (missing.length === 0) return { applied: [], created: [] };
  return inTransaction(pool, {}, async (client) => {
    await client.query('set local statement_timeout = 0');
    await client.query('select pg_advisory_xact_lock($1)', [lockKey]);
    await ensureSchema(client);
    const created: string[] = [];
    const applied: string[] = [];
    // Another process may have migrated while we waited for the lock.
    for (const migration of await pending(client, migrations)) {
      if (migration.number === 1) created.push(...(await existingSchemaMigration(client, migration.sql)));
      else await client.query(migration.sql);
      await client.query('insert into dory.migrations (number, name, sha256) values ($1, $2, $3)', [migration.number, migration.name, migration.sha256]);
      applied.push(migration.name);
    }
    return { applied, created };
  });
}

/**
 * For programs that do not migrate.
 * @throws Failure `schema-missing` if this program's migrations are not applied, and as `migrate`
 */
export async function requireMigrated(pool: Pool, directory: string = join(packageRoot(), 'config', 'migrations')): Promise<void> {
  const migrations = await readMigrations(directory);
  const missing = await withClient(pool, async (client) => pending(client, migrations));
  if (missing.length === 0) return;
  throw new Failure('schema-missing', `The database lacks ${missing.map(({ name }) => name).join(', ')}.`, { mend: 'Run `dory migrate`.' });
}

async function readMigrations(directory: string): Promise<readonly Migration[]> {
  const files = (await readdir(directory)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).sort();
  return Promise.all(
    files.map(async (file) => {
      const sql = await readFile(join(directory, file), 'utf8');
      return { number: Number(file.slice(0, 4)), name: file.slice(0, -'.sql'.length), sql, sha256: digestText(sql) };
    }),
  );
}

/** What is not applied yet, after a look whether what is applied is ours. */
async function pending(client: PoolClient, migrations: readonly Migration[]): Promise<readonly Migration[]> {
  await requireServerVersion(client);
  const applied = await appliedMigrations(client);
  const last = migrations.at(-1)?.number ?? 0;
  for (const { number, name, sha256 } of applied) {
    if (number > last) {
      throw new Failure('schema-newer', `The database has migration ${name}, which this program does not know.`, { mend: 'Run a newer dory.' });
    }
    const ours = migrations.find((migration) => migration.number === number);
    if (ours?.sha256 !== sha256) {
      throw new Failure('schema-incompatible', `Migration ${name} was applied with another text (SHA-256 ${sha256.slice(0, 12)}, ours ${ours?.sha256.slice(0, 12) ?? 'none'}).`, {
        mend: 'Run the dory that applied it, or restore the file: applied migrations are never edited.',
      });
    }
  }
  return migrations.filter((migration) => !applied.some(({ number }) => number === migration.number));
}

async function appliedMigrations(client: PoolClient): Promise<readonly Omit<Migration, 'sql'>[]> {
  const there = await client.query<{ there: boolean }>("select to_regclass('dory.migrations') is not null as there");
  if (there.rows[0]?.there !== true) return [];
  return (await client.query<Omit<Migration, 'sql'>>('select number, name, sha256 from dory.migrations order by number')).rows;
}

async function requireServerVersion(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ number: number; text: string }>(
    "select current_setting('server_version_num')::int as number, current_setting('server_version') as text",
  );
  const version = rows[0];
  if (version !== undefined && version.number >= oldestServer) return;
  throw new Failure('database-refused', `The server is PostgreSQL ${version?.text ?? 'of an unknown version'}; dory needs 15 or newer.`, {
    mend: 'Upgrade the server.',
  });
}

async function ensureSchema(client: PoolClient): Promise<void> {
  const there = await client.query<{ there: boolean; role: string; database: string; allowed: boolean }>(
    `select to_regnamespace('dory') is not null as there, quote_ident(current_user) as role, quote_ident(current_database()) as database,
       has_database_privilege(current_database(), 'create') as allowed`,
  );
  const found = there.rows[0];
  if (found?.there === false && !found.allowed) {
    throw new Failure('database-refused', `The role ${found.role} may not create the schema dory.`, {
      mend: `Let a superuser run: create schema dory authorization ${found.role};`,
    });
  }
  // Each only if it is absent: `if not exists` asks for the privilege to create even where there is nothing to do.
  if (found?.there === false) await client.query('create schema dory');
  await client.query(`create table if not exists dory.migrations (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamptz not null default now()
  )`);
}

import pg, { type Pool } from 'pg';
import { inject } from 'vitest';
import { createPool } from '../../src/platform/pg.ts';
import { systemRandom } from '../../src/platform/random.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** A URL of the run's server, and the name of the migrated database to clone. */
    postgres: { readonly url: string; readonly template: string };
  }
}

export interface TestDatabase {
  readonly url: string;
  readonly pool: Pool;
  /** Drops the database, with the connections that are left. */
  close(): Promise<void>;
}

/** A new database for one test or one file: migrated unless `migrated` is false. For tests under `test/integration`. */
export async function testDatabase(options: { readonly migrated?: boolean } = {}): Promise<TestDatabase> {
  const server = inject('postgres');
  const name = `dory_test_${systemRandom.hex(8)}`;
  await onServer(`create database ${name}${options.migrated === false ? '' : ` template ${server.template}`}`);
  const url = databaseUrl(server.url, name);
  const pool = createPool(url, { max: 5, statementTimeoutMs: 0, applicationName: 'dory-test' });
  return {
    url,
    pool,
    close: async () => {
      await pool.end();
      await onServer(`drop database ${name} with (force)`);
    },
  };
}

/** Runs one statement as the run's role, on no particular database. */
export async function onServer(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: inject('postgres').url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** The same server and role, another database. */
export function databaseUrl(url: string, database: string): string {
  const other = new URL(url);
  other.pathname = `/${database}`;
  return other.href;
}

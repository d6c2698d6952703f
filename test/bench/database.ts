import type { Pool } from 'pg';
import { removeEmbeddedPostgres, startEmbeddedPostgres } from '../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../src/platform/log.ts';
import { migrate } from '../../src/platform/migrate.ts';
import { createPool } from '../../src/platform/pg.ts';
import { temporaryFolder } from '../support/temp.ts';

export interface BenchServer {
  /** A new migrated database, for one benchmark. */
  create(name: string): Promise<string>;
  drop(name: string): Promise<void>;
  stop(): Promise<void>;
}

/** A PostgreSQL of the benchmarks' own, with its usual settings: a commit waits for the disk. */
export async function startBenchServer(): Promise<BenchServer> {
  const folder = await temporaryFolder();
  const server = await startEmbeddedPostgres({ dataDir: folder.path, log: silentLog, ephemeral: true });
  const urlOf = (name: string): string => Object.assign(new URL(server.url), { pathname: `/${name}` }).href;
  const command = (sql: string): Promise<unknown> => withPool(server.url, (pool) => pool.query(sql));
  return {
    create: async (name) => {
      await command(`create database ${name}`);
      await withPool(urlOf(name), migrate);
      return urlOf(name);
    },
    drop: async (name) => {
      await command(`drop database ${name} with (force)`);
    },
    stop: async () => {
      await server.stop();
      await removeEmbeddedPostgres(folder.path);
      await folder.remove();
    },
  };
}

export async function withPool<T>(url: string, use: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = createPool(url, { max: 12, statementTimeoutMs: 0, applicationName: 'dory-bench' });
  try {
    return await use(pool);
  } finally {
    await pool.end();
  }
}

import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { removeEmbeddedPostgres, startEmbeddedPostgres } from '../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../src/platform/log.ts';
import { migrate } from '../../src/platform/migrate.ts';
import { createPool } from '../../src/platform/pg.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { databaseUrl } from './postgres.ts';
import { temporaryFolder } from './temp.ts';

interface Server {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Before the integration tests: one server for the run, or the one that `DORY_TEST_DATABASE_URL` names (its role must be allowed to
 * create databases), and in it a migrated database from which those of the tests are cloned.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env['DORY_TEST_DATABASE_URL'];
  const server = given === undefined ? await ownServer() : { url: given, stop: () => Promise.resolve() };
  const template = `dory_template_${systemRandom.hex(6)}`;
  try {
    await command(server.url, `create database ${template}`);
    await migrateTemplate(databaseUrl(server.url, template));
  } catch (error) {
    await server.stop();
    throw error;
  }
  project.provide('postgres', { url: server.url, template });
  return async () => {
    await command(server.url, `drop database if exists ${template} with (force)`);
    await server.stop();
  };
}

async function ownServer(): Promise<Server> {
  const folder = await temporaryFolder();
  try {
    // Nothing here must outlive a crash, so nothing waits for the disk.
    const parameters = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' };
    const server = await startEmbeddedPostgres({ dataDir: folder.path, log: silentLog, parameters, ephemeral: true });
    const stop = async (): Promise<void> => {
      await server.stop();
      await removeEmbeddedPostgres(folder.path);
      await folder.remove();
    };
    return { url: server.url, stop };
  } catch (error) {
    await removeEmbeddedPostgres(folder.path);
    await folder.remove();
    throw error;
  }
}

async function command(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function migrateTemplate(url: string): Promise<void> {
  const pool = createPool(url, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  try {
    await migrate(pool);
  } finally {
    await pool.end();
  }
}

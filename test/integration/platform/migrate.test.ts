import { cp, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { afterEach, expect, test } from 'vitest';
import { migrate, requireMigrated } from '../../../src/platform/migrate.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { onServer, testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

const migrations = join(packageRoot(), 'config', 'migrations');
const tables = ['processor_templates', 'processor_template_versions', 'sensors', 'edge_nodes', 'processors', 'edge_node_apps', 'edge_node_events'];

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function emptyDatabase(sql = ''): Promise<TestDatabase> {
  const db = await testDatabase({ migrated: false });
  cleanups.push(() => db.close());
  if (sql !== '') await db.pool.query(sql);
  return db;
}

/** A copy of the migrations, to be changed. */
async function copiedMigrations(): Promise<string> {
  const folder = await temporaryFolder();
  cleanups.push(() => folder.remove());
  await cp(migrations, folder.path, { recursive: true });
  return folder.path;
}

/** The running system's tables as somebody may have them: unknown columns, optional ones missing, triggers, an odd constraint. */
const grownSchema = `
  create type processor_status as enum ('pending', 'starting', 'running', 'terminated', 'failed', 'failover');
  create table processor_templates (id uuid constraint processing_applications_pkey primary key, slug text not null, name text, owner text default 'ops');
  create table processor_template_versions (processor_template_id uuid references processor_templates (id) on delete cascade, image_uri text, digest text,
    version text, runtime_config_template json, is_active bool, extra int generated always as (1) stored);
  create table sensors (id uuid primary key, sensor_type text, connection_config jsonb);
  create table edge_nodes (id uuid primary key, organization_id uuid, name text, status text, failover_enabled bool, failover_target_node_id uuid,
    last_heartbeat_at timestamptz, site text);
  create unique index one_name on edge_nodes (organization_id, lower(name)) where status <> 'decommissioned';
  create table processors (id uuid primary key, processor_template_id uuid references processor_templates (id), node_type text, node_id uuid references edge_nodes (id),
    k8s_namespace text, k8s_pod_name text, node_ip varchar(45) constraint looks_like_ip check (node_ip <> 'x'), sensor_id uuid references sensors (id),
    status processor_status, health_status jsonb, last_health_check_at timestamptz, consecutive_failures int, created_at timestamptz, updated_at timestamptz);
  create table edge_node_apps (id uuid, edge_node_id uuid, processor_config_id uuid, failover_enabled bool, status text, current_processor_id uuid);
  create table edge_node_events (id uuid, edge_node_id uuid, processor_config_id uuid, event_type text, details jsonb, created_at timestamptz);
  create function touch() returns trigger language plpgsql as $$ begin new.updated_at = now(); return new; end $$;
  create trigger touch before update on processors for each row execute function touch();
  alter table processors disable trigger touch;
  create view running as select * from processors where status = 'running';
`;

/** All that belongs to the tables of schema public, as text. */
async function catalog(pool: Pool): Promise<unknown> {
  const { rows } = await pool.query(`
    with t as (select oid, relname, relkind, relhastriggers, relchecks, relrowsecurity, reloptions, relacl::text from pg_class where relnamespace = 'public'::regnamespace)
    select t.*,
      (select jsonb_agg(to_jsonb(a) - 'attrelid' order by attnum) from pg_attribute a where attrelid = t.oid) as columns,
      (select jsonb_agg(pg_get_expr(adbin, adrelid) order by adnum) from pg_attrdef where adrelid = t.oid) as defaults,
      (select jsonb_agg(jsonb_build_array(conname, pg_get_constraintdef(oid)) order by conname) from pg_constraint where conrelid = t.oid or confrelid = t.oid) as constraints,
      (select jsonb_agg(pg_get_indexdef(indexrelid) order by indexrelid) from pg_index where indrelid = t.oid) as indexes,
      (select jsonb_agg(jsonb_build_array(tgname, tgenabled, pg_get_triggerdef(oid)) order by tgname) from pg_trigger where tgrelid = t.oid) as triggers
    from t order by relname`);
  return rows;
}

async function publicTables(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ name: string }>("select tablename as name from pg_tables where schemaname = 'public' order by name");
  return rows.map(({ name }) => name);
}

test('a fresh database gets both parts, and the second time nothing', async () => {
  const db = await emptyDatabase();
  const first = await migrate(db.pool);
  expect(first).toEqual({ applied: (await readdir(migrations)).sort().map((file) => file.replace('.sql', '')), created: tables });
  expect(await publicTables(db.pool)).toEqual([...tables].sort());
  const { rows } = await db.pool.query<{ name: string; sha256: string }>('select name, sha256 from dory.migrations order by number');
  expect(rows.map(({ name }) => name)).toEqual(first.applied);
  expect(rows.every(({ sha256 }) => /^[0-9a-f]{64}$/.test(sha256))).toBe(true);
  expect(await migrate(db.pool)).toEqual({ applied: [], created: [] });
});

test('the created schema is that of the seed', async () => {
  const db = await emptyDatabase();
  await migrate(db.pool);
  const { rows } = await db.pool.query("select conname from pg_constraint where conrelid = 'processor_templates'::regclass and contype = 'p'");
  expect(rows).toEqual([{ conname: 'processing_applications_pkey' }]);
  const references = await db.pool.query<{ definition: string }>(
    "select conrelid::regclass || ' ' || pg_get_constraintdef(oid) as definition from pg_constraint where contype = 'f' and connamespace = 'public'::regnamespace order by 1",
  );
  expect(references.rows.map(({ definition }) => definition)).toEqual([
    'edge_node_apps FOREIGN KEY (current_processor_id) REFERENCES processors(id)',
    'edge_node_apps FOREIGN KEY (edge_node_id) REFERENCES edge_nodes(id)',
    'edge_node_apps FOREIGN KEY (processor_config_id) REFERENCES processor_templates(id)',
    'edge_node_events FOREIGN KEY (edge_node_id) REFERENCES edge_nodes(id)',
    'edge_node_events FOREIGN KEY (processor_config_id) REFERENCES processor_templates(id)',
    'edge_nodes FOREIGN KEY (failover_target_node_id) REFERENCES edge_nodes(id)',
    'processor_template_versions FOREIGN KEY (processor_template_id) REFERENCES processor_templates(id)',
    'processors FOREIGN KEY (node_id) REFERENCES edge_nodes(id)',
    'processors FOREIGN KEY (processor_template_id) REFERENCES processor_templates(id)',
    'processors FOREIGN KEY (sensor_id) REFERENCES sensors(id)',
  ]);
});

test('of an existing database no table, column, constraint, index or trigger changes', async () => {
  const db = await emptyDatabase(grownSchema);
  const before = await catalog(db.pool);
  expect(await migrate(db.pool)).toMatchObject({ created: [] });
  expect(await catalog(db.pool)).toEqual(before);
});

test('what is absent is created without a change to what is there', async () => {
  const db = await emptyDatabase(`${grownSchema} drop table edge_node_apps, edge_node_events; drop view running; drop table processors;`);
  const before = await catalog(db.pool);
  expect(await migrate(db.pool)).toMatchObject({ created: ['processors', 'edge_node_apps', 'edge_node_events'] });
  const after = await catalog(db.pool);
  expect(after).toEqual(expect.arrayContaining(before as unknown[]));
  const { rows } = await db.pool.query<{ to: string }>("select distinct confrelid::regclass::text as to from pg_constraint where contype = 'f' and conrelid in ('processors'::regclass, 'edge_node_apps'::regclass)");
  expect(rows).toEqual([{ to: 'processors' }]);
});

test('two at once migrate once', async () => {
  const db = await emptyDatabase();
  const other = createPool(db.url, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  cleanups.push(() => other.end());
  const reports = await Promise.all([migrate(db.pool), migrate(other), migrate(db.pool)]);
  expect(reports.filter(({ applied }) => applied.length > 0)).toHaveLength(1);
});

test('a failure in the middle leaves nothing behind', async () => {
  const db = await emptyDatabase();
  const directory = await copiedMigrations();
  await writeFile(join(directory, '9999_broken.sql'), 'create table dory.last (id int); select 1 / 0;');
  await expect(migrate(db.pool, directory)).rejects.toMatchObject({ code: '22012' });
  expect(await publicTables(db.pool)).toEqual([]);
  expect((await db.pool.query("select to_regnamespace('dory')::text as dory")).rows).toEqual([{ dory: null }]);
});

test('later migrations are applied alone', async () => {
  const db = await emptyDatabase();
  await migrate(db.pool);
  const directory = await copiedMigrations();
  await writeFile(join(directory, '9999_more.sql'), 'create table dory.more (id int);');
  await expect(requireMigrated(db.pool, directory)).rejects.toMatchObject({ code: 'schema-missing' });
  expect(await migrate(db.pool, directory)).toEqual({ applied: ['9999_more'], created: [] });
  await requireMigrated(db.pool, directory);
});

test('a database that is newer than the program is refused', async () => {
  const db = await emptyDatabase();
  await migrate(db.pool);
  await db.pool.query("insert into dory.migrations (number, name, sha256) values (9999, '9999_future', repeat('0', 64))");
  await expect(migrate(db.pool)).rejects.toMatchObject({ code: 'schema-newer' });
  await expect(requireMigrated(db.pool)).rejects.toMatchObject({ code: 'schema-newer' });
});

test('a migration that was edited after it was applied is refused', async () => {
  const db = await emptyDatabase();
  await migrate(db.pool);
  const directory = await copiedMigrations();
  const [first = ''] = (await readdir(directory)).sort();
  await writeFile(join(directory, first), `${await readFile(join(directory, first), 'utf8')}-- one more line\n`);
  await expect(migrate(db.pool, directory)).rejects.toMatchObject({ code: 'schema-incompatible' });
});

test('a table of the running system without a needed column is named, and nothing is written', async () => {
  const db = await emptyDatabase(`${grownSchema} alter table edge_nodes drop column last_heartbeat_at; alter table edge_node_apps rename processor_config_id to processor_template_id;`);
  await expect(migrate(db.pool)).rejects.toMatchObject({
    code: 'schema-incompatible',
    message: expect.stringMatching(/edge_nodes\.last_heartbeat_at.*edge_node_apps\.processor_config_id/) as string,
  });
  expect((await db.pool.query("select to_regnamespace('dory')::text as dory")).rows).toEqual([{ dory: null }]);
});

test('tables in another schema of the search path are found', async () => {
  const db = await emptyDatabase(`create schema fleet; set search_path = fleet; ${grownSchema}`);
  const url = new URL(db.url);
  url.searchParams.set('options', '-c search_path=fleet');
  const pool = createPool(url.href, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  cleanups.push(() => pool.end());
  expect(await migrate(pool)).toMatchObject({ created: [] });
  expect(await publicTables(pool)).toEqual([]);
});

/** A role without any privilege but those that `grants` gives it. */
async function roleOn(db: TestDatabase, grants: (role: string) => string): Promise<Pool> {
  const role = `dory_test_role_${systemRandom.hex(6)}`;
  const password = systemRandom.hex(8);
  await onServer(`create role ${role} login password '${password}'`);
  cleanups.push(() => onServer(`drop role ${role}`));
  // Before the role goes, the database with its grants must be gone: cleanups run from the last to the first.
  cleanups.push(async () => {
    await db.pool.query(`drop owned by ${role} cascade`);
  });
  await db.pool.query(grants(role));
  const url = new URL(db.url);
  [url.username, url.password] = [role, password];
  const pool = createPool(url.href, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  cleanups.push(() => pool.end());
  return pool;
}

test('a role that may not create in public migrates a database whose tables are all there', async () => {
  const db = await emptyDatabase(grownSchema);
  const pool = await roleOn(db, (role) => `revoke create on schema public from public; create schema dory authorization ${role}; grant select on all tables in schema public to ${role}`);
  expect(await migrate(pool)).toMatchObject({ created: [] });
  expect(await migrate(pool)).toEqual({ applied: [], created: [] });
});

test('a role that may not create our schema is told what to ask for', async () => {
  const db = await emptyDatabase(grownSchema);
  const pool = await roleOn(db, (role) => `grant select on all tables in schema public to ${role}`);
  await expect(migrate(pool)).rejects.toMatchObject({ code: 'database-refused', mend: expect.stringMatching(/create schema dory authorization dory_test_role_\w+;/) as string });
});

test('with PostGIS in the database, sensors get their place', async (context) => {
  const db = await emptyDatabase();
  const { rowCount } = await db.pool.query("select from pg_available_extensions where name = 'postgis'");
  if (rowCount === 0) return context.skip('this server has no PostGIS');
  await db.pool.query('create schema gis; create extension postgis schema gis');
  await migrate(db.pool);
  const { rows } = await db.pool.query("select format_type(atttypid, atttypmod) as type from pg_attribute where attrelid = 'sensors'::regclass and attname = 'location_point'");
  expect(rows).toEqual([{ type: 'gis.geometry(Point,4326)' }]);
});

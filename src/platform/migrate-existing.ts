import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';

/** The columns of the running system's tables that the program can't do without. The others that its schema names may be missing. */
const requiredColumns: Readonly<Record<string, readonly string[]>> = {
  processor_templates: ['id', 'slug', 'name'],
  processor_template_versions: ['processor_template_id', 'image_uri', 'version', 'runtime_config_template', 'is_active'],
  sensors: ['id', 'sensor_type', 'connection_config'],
  edge_nodes: ['id', 'name', 'status', 'last_heartbeat_at'],
  processors: ['id', 'processor_template_id', 'node_type', 'node_id', 'status', 'health_status', 'last_health_check_at', 'consecutive_failures'],
  edge_node_apps: ['edge_node_id', 'processor_config_id', 'status', 'current_processor_id'],
  edge_node_events: ['edge_node_id', 'processor_config_id', 'event_type', 'details', 'created_at'],
};

/**
 * Creates those tables of the running system that are absent, and leaves those that are there as they are. Part of a migration's
 * transaction.
 * @returns the names of the tables that were created
 * @throws Failure `schema-incompatible` if a table that is there lacks a column that the program needs
 */
export async function existingSchemaMigration(client: PoolClient, sql: string): Promise<readonly string[]> {
  const present = await presentTables(client);
  await requireColumns(client, present);
  const absent = createStatements(sql).filter(({ table }) => !present.has(table));
  if (absent.length === 0) return [];
  const searchPath = await leaveOurSchema(client);
  for (const { text } of absent) await client.query(withoutReferencesTo(present, text));
  if (!present.has('sensors')) await addLocationPoint(client);
  await client.query("select set_config('search_path', $1, true)", [searchPath]);
  return absent.map(({ table }) => table);
}

/**
 * A search path starts with the schema that is named like the role, and both may be `dory`: the running system's tables would land
 * among our own.
 * @returns the search path before
 */
async function leaveOurSchema(client: PoolClient): Promise<string> {
  const { rows } = await client.query<{ before: string; without: string }>(
    `select current_setting('search_path') as before, string_agg(quote_ident(name), ', ' order by place) as without
     from unnest(current_schemas(false)) with ordinality as s (name, place) where name <> 'dory'`,
  );
  await client.query("select set_config('search_path', $1, true)", [rows[0]?.without ?? 'public']);
  return rows[0]?.before ?? '';
}

interface CreateStatement {
  readonly table: string;
  readonly text: string;
}

/** One at a time, since `create table if not exists` asks for the privilege to create tables even where there is nothing to do. */
function createStatements(sql: string): readonly CreateStatement[] {
  return [...sql.matchAll(/^create table if not exists (\w+) \($.*?^\);$/gms)].map(([text, table = '']) => ({ table, text }));
}

/** A foreign key puts triggers on the table that it points to: none may point to a table that was there before. */
function withoutReferencesTo(present: ReadonlySet<string>, text: string): string {
  return text.replaceAll(/ references (\w+) \(\w+\)/g, (clause, table: string) => (present.has(table) ? '' : clause));
}

async function presentTables(client: PoolClient): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>(
    'select name from unnest($1::text[]) as name where to_regclass(quote_ident(name)) is not null',
    [Object.keys(requiredColumns)],
  );
  return new Set(rows.map(({ name }) => name));
}

async function requireColumns(client: PoolClient, present: ReadonlySet<string>): Promise<void> {
  const needed = Object.entries(requiredColumns).filter(([table]) => present.has(table));
  const pairs = needed.flatMap(([table, columns]) => columns.map((column) => ({ table, column })));
  const { rows } = await client.query<{ column: string }>(
    `select n.table_name || '.' || n.column_name as column
     from unnest($1::text[], $2::text[]) with ordinality as n (table_name, column_name, place)
     where not exists (
       select from pg_attribute a
       where a.attrelid = to_regclass(quote_ident(n.table_name)) and a.attname = n.column_name and a.attnum > 0 and not a.attisdropped
     )
     order by n.place`,
    [pairs.map(({ table }) => table), pairs.map(({ column }) => column)],
  );
  if (rows.length === 0) return;
  const missing = rows.map(({ column }) => column).join(', ');
  throw new Failure('schema-incompatible', `The database has tables of the running system without columns that dory needs: ${missing}.`, {
    mend: 'Add the columns, or check that the URL and search_path lead to the right database and schema.',
  });
}

/** The type belongs to PostGIS, which is an extension of the database or is not there. */
async function addLocationPoint(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ schema: string }>(
    "select quote_ident(n.nspname) as schema from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'postgis'",
  );
  const schema = rows[0]?.schema;
  if (schema !== undefined) await client.query(`alter table sensors add column location_point ${schema}.geometry(Point, 4326)`);
}

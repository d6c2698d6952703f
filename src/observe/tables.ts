import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { NodeRow, ProcessorRow, SensorRow, SwitchRow, Tables, TemplateRow, VersionRow } from './rows.ts';

/** One desired column: never one that we write ourselves, or our own writes would wake us. */
interface Column {
  readonly name: string;
  /** Only identifiers are checked: everything else is read as text, whatever it is. */
  readonly uuid?: true;
  /** May be missing, and is NULL then. */
  readonly optional?: true;
  /** What of it is read; the column itself where absent. */
  readonly expression?: string;
  /** The setting that names it. */
  readonly setting?: string;
}

interface Definition<Row> {
  readonly table: string;
  readonly columns: readonly Column[];
  /** The rows that count. */
  readonly where: string;
  /** An index has the order that sorting here would take long to find. */
  readonly orderBy?: string;
  readonly toRow: (hash: string, cells: readonly (string | null)[]) => Row;
}

const id: Column = { name: 'id', uuid: true };
/** NULL means that failover is on. */
const failoverEnabled: Column = { name: 'failover_enabled', optional: true, expression: 'coalesce(failover_enabled, true)' };

const definitions: { readonly [Name in keyof Tables]: Definition<Tables[Name][number]> } = {
  processors: {
    table: 'processors',
    columns: [id, { name: 'processor_template_id', uuid: true }, { name: 'node_type' }, { name: 'node_id', uuid: true }, { name: 'k8s_namespace', optional: true }, { name: 'sensor_id', uuid: true, optional: true }],
    where: "status::text not in ('terminated', 'failed')",
    orderBy: 'id',
    toRow: (hash, [id = null, templateId = null, nodeType = null, nodeId = null, namespace = null, sensorId = null]): ProcessorRow => ({ hash, id: id ?? '', templateId, nodeType, nodeId, namespace, sensorId }),
  },
  templates: {
    table: 'processor_templates',
    columns: [id, { name: 'slug' }, { name: 'name' }],
    where: 'true',
    toRow: (hash, [id = null, slug = null, name = null]): TemplateRow => ({ hash, id: id ?? '', slug, name }),
  },
  versions: {
    table: 'processor_template_versions',
    columns: [{ name: 'processor_template_id', uuid: true }, { name: 'image_uri' }, { name: 'digest', optional: true }, { name: 'version' }, { name: 'runtime_config_template' }, { name: 'build_config', optional: true }],
    where: 'is_active',
    toRow: (hash, [templateId = null, imageUri = null, digest = null, version = null, runtimeConfig = null, buildConfig = null]): VersionRow => ({ hash, templateId, imageUri, digest, version, runtimeConfig, buildConfig }),
  },
  sensors: {
    table: 'sensors',
    columns: [id, { name: 'sensor_type' }, { name: 'connection_config' }],
    where: 'true',
    toRow: (hash, [id = null, type = null, connectionConfig = null]): SensorRow => ({ hash, id: id ?? '', type, connectionConfig }),
  },
  nodes: {
    table: 'edge_nodes',
    columns: [
      id,
      { name: 'organization_id', uuid: true, optional: true },
      { name: 'name' },
      // Online and offline are ours to write.
      { name: 'status', expression: "coalesce(status::text = 'decommissioned', false)" },
      failoverEnabled,
      { name: 'failover_target_node_id', uuid: true, optional: true },
    ],
    where: 'true',
    toRow: (hash, [id = null, organizationId = null, name = null, decommissioned = null, failover = null, failoverTarget = null, site = null]): NodeRow => ({
      hash, id: id ?? '', organizationId, name, decommissioned: decommissioned === 'true', failoverEnabled: failover !== 'false', failoverTarget, architecture: null, gpu: null, site,
    }),
  },
  switches: {
    table: 'edge_node_apps',
    columns: [{ name: 'edge_node_id', uuid: true }, { name: 'processor_config_id', uuid: true }, failoverEnabled],
    where: 'true',
    toRow: (hash, [nodeId = null, templateId = null, failover = null]): SwitchRow => ({ hash, nodeId: nodeId ?? '', templateId: templateId ?? '', failoverEnabled: failover !== 'false' }),
  },
};

export type TableName = keyof Tables;
export const tableNames = Object.keys(definitions) as readonly TableName[];

/** Columns that are read by name elsewhere: to choose rows, and signs of life. */
const alsoNeeded: Readonly<Record<string, readonly string[]>> = {
  processors: ['status'],
  processor_template_versions: ['is_active'],
  edge_nodes: ['last_heartbeat_at'],
};

/** How to read each table of this database: the columns that it has, as text. */
export type Catalog = Readonly<Record<TableName, { readonly from: string; readonly cells: readonly string[]; readonly hash: string }>>;

/**
 * Looks which tables and columns there are.
 * @param siteColumn of `edge_nodes`, a plain lower-case identifier; null: none is read
 * @throws Failure `schema-missing` or `schema-incompatible`, naming what is missing.
 */
export async function readCatalog(client: PoolClient, siteColumn: string | null): Promise<Catalog> {
  const { rows } = await client.query<{ table: string; column: string; type: string }>(
    `select t.name as table, a.attname as column, a.atttypid::regtype::text as type
       from unnest($1::text[]) as t (name)
       join pg_attribute a on a.attrelid = to_regclass(t.name) and a.attnum > 0 and not a.attisdropped`,
    [[...tableNames.map((name) => definitions[name].table), 'dory.state']],
  );
  const columnsOf = new Map<string, Map<string, string>>();
  for (const { table, column, type } of rows) {
    const known = columnsOf.get(table) ?? new Map<string, string>();
    columnsOf.set(table, known.set(column, type));
  }
  if (!columnsOf.has('dory.state')) {
    throw new Failure('schema-missing', "The database has no schema 'dory'.", { mend: 'Run `dory migrate`.' });
  }
  return Object.fromEntries(tableNames.map((name) => [name, describe(definitionOf(name, siteColumn), columnsOf)])) as Catalog;
}

type Shape = Pick<Definition<unknown>, 'table' | 'columns' | 'where'>;

/** The site is the last column of a node, where the settings name one. */
function definitionOf(name: TableName, siteColumn: string | null): Shape {
  const { table, columns, where } = definitions[name];
  if (name !== 'nodes' || siteColumn === null) return { table, columns, where };
  const site: Column = { name: siteColumn, expression: `"${siteColumn}"`, setting: 'sites.column' };
  return { table, where, columns: [...columns, site] };
}

function describe({ table, columns, where }: Shape, columnsOf: ReadonlyMap<string, ReadonlyMap<string, string>>): Catalog[TableName] {
  const types = columnsOf.get(table);
  if (types === undefined) {
    throw new Failure('schema-missing', `The database has no table ${table}.`, { mend: 'Run `dory migrate`, or check that the URL names the right database and search_path.' });
  }
  for (const column of alsoNeeded[table] ?? []) {
    if (!types.has(column)) throw incompatible(table, column, 'is missing');
  }
  const values = columns.map((column) => value(table, column, types.get(column.name)));
  return {
    from: `${table} where ${where}`,
    cells: values.map((each) => `(${each})::text`),
    hash: `hash_record_extended(row(${values.map((each, i) => hashable(each, types.get(columns[i]?.name ?? ''))).join(', ')}), 0)`,
  };
}

function value(table: string, { name, uuid, optional, expression, setting }: Column, type: string | undefined): string {
  if (type === undefined) {
    if (optional === true) return 'null::text';
    throw incompatible(table, name, 'is missing', setting);
  }
  if (uuid === true && type !== 'uuid') throw incompatible(table, name, `is of type ${type}, not uuid`);
  return expression ?? name;
}

/** Types whose own hash is quicker than that of their text. `json` has none, and `jsonb` has one for 1 and 1.0. */
const hashed = new Set(['uuid', 'text', 'character varying']);

function hashable(expression: string, type: string | undefined): string {
  return type === undefined || hashed.has(type) ? expression : `(${expression})::text`;
}

function incompatible(table: string, column: string, what: string, setting?: string): Failure {
  const mend = setting === undefined ? 'Compare the table with the schema in the documentation.' : `The setting ${setting} names it: name a column that there is, or null.`;
  return new Failure('schema-incompatible', `Column ${table}.${column} ${what}.`, { mend });
}

/** An expression for the digest of all rows that count. */
export function fingerprintSql({ from, hash }: Catalog[TableName]): string {
  return `(select count(*)::text || ' ' || coalesce(sum(h), 0)::text from (select ${hash} as h from ${from}) as rows)`;
}

/** Raw text: the driver's own parsing of a hundred thousand cells takes longer than the query. */
export const rawText = { getTypeParser: () => (text: string) => text };

export async function readTable<Name extends TableName>(client: PoolClient, name: Name, { from, cells, hash }: Catalog[Name]): Promise<readonly Tables[Name][number][]> {
  const { toRow, orderBy } = definitions[name];
  const text = `select ${hash}, ${cells.join(', ')} from ${from}${orderBy === undefined ? '' : ` order by ${orderBy}`}`;
  const { rows } = await client.query<(string | null)[]>({ text, rowMode: 'array', types: rawText });
  const share = sharedTexts();
  return rows.map(([hash, ...rest]) => toRow(hash ?? '', rest.map(share)));
}

/** Longer texts are seldom equal. */
const longestShared = 64;

/** Rows that name the same node each come with a copy of its id: this keeps one of them, which halves the memory of a fleet. */
function sharedTexts(): (text: string | null) => string | null {
  const texts = new Map<string, string>();
  return (text) => {
    if (text === null || text.length > longestShared) return text;
    const known = texts.get(text);
    if (known === undefined) texts.set(text, text);
    return known ?? text;
  };
}

import type { Pool, PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { NodeId, ProcessorId, TemplateId } from '../model/ids.ts';

/** A pool, or the connection of a transaction. */
export type Database = Pick<Pool | PoolClient, 'query'>;

export interface KnownProcessor {
  readonly id: ProcessorId;
  /** `<slug>-<id12>`, as its file is named. */
  readonly name: string;
}

export interface KnownNode {
  readonly id: NodeId;
  readonly name: string;
}

/** What can be locked. */
export type Subject =
  | { readonly scope: 'node'; readonly id: NodeId; readonly name: string }
  | { readonly scope: 'processor'; readonly id: ProcessorId; readonly name: string }
  | { readonly scope: 'template'; readonly id: TemplateId; readonly name: string };

/**
 * Finds one processor by its id, the beginning of its id, or the name of its file.
 * @throws Failure `not-found` if none matches, or more than one
 */
export async function findProcessor(database: Database, text: string): Promise<KnownProcessor> {
  const { rows } = await database.query<KnownProcessor>(
    `with known as (
       select p.id, t.slug from processors p join processor_templates t on t.id = p.processor_template_id
       union
       select c.processor_id, w.body ->> 'slug' from dory.changes c join dory.workloads w on w.digest = c.workload
     ), named as (
       select id, rtrim(left(slug, 30), '-') || '-' || left(encode(sha256(id::text::bytea), 'hex'), 12) as name from known
     )
     select distinct on (id) id, name from named
      where starts_with(id::text, lower($1)) or starts_with(name, $1)
      order by id, name limit 20`,
    [text.trim()],
  );
  const exact = rows.find(({ id, name }) => id === text || name === text);
  const found = exact ?? (rows.length === 1 ? rows[0] : undefined);
  if (found !== undefined) return found;
  if (rows.length === 0) throw notFound(`No processor matches ${quoted(text)}.`, 'Give its id, the beginning of its id, or its name as in `dory processors`.');
  throw notFound(`${quoted(text)} matches more than one processor: ${listed(rows.map(({ name }) => name))}.`, 'Give more of it.');
}

/** Finds one node by its name or its id. @throws Failure `not-found` if none matches, or more than one */
export async function findNode(database: Database, text: string): Promise<KnownNode> {
  const { rows } = await database.query<KnownNode & { status: string }>(
    'select id, name, status from edge_nodes where name = $1 or id::text = lower($1) order by id limit 20',
    [text.trim()],
  );
  // A node that left keeps its row; its name may be in use again.
  const inService = rows.filter(({ status }) => status !== 'decommissioned');
  const [found, ...others] = inService.length > 0 ? inService : rows;
  if (found === undefined) throw notFound(`No node matches ${quoted(text)}.`, 'Give its name or its id, as in `dory nodes`.');
  if (others.length > 0) throw notFound(`${quoted(text)} is the name of more than one node: ${listed([found, ...others].map(({ id }) => id))}.`, 'Give the id.');
  return { id: found.id, name: found.name };
}

/**
 * Finds what `node/NAME`, `processor/ID` or `template/SLUG` names.
 * @throws Failure `not-found`
 */
export async function findSubject(database: Database, text: string): Promise<Subject> {
  const [scope = '', ...rest] = text.split('/');
  const name = rest.join('/');
  if (scope === 'node') return { scope, ...(await findNode(database, name)) };
  if (scope === 'processor') return { scope, ...(await findProcessor(database, name)) };
  const { rows } = await database.query<{ id: TemplateId; name: string }>('select id, slug as name from processor_templates where slug = $1', [name]);
  const [found] = rows;
  if (found === undefined) throw notFound(`No template has the slug ${quoted(name)}.`, 'Give it as in the column TEMPLATE of `dory processors`.');
  return { scope: 'template', ...found };
}

function notFound(message: string, mend: string): Failure {
  return new Failure('not-found', message, { mend });
}

const quoted = (text: string): string => `"${text.slice(0, 80)}"`;
const listed = (names: readonly string[]): string => `${names.slice(0, 5).join(', ')}${names.length > 5 ? ', …' : ''}`;

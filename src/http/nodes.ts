import { DatabaseError, type Pool, type PoolClient } from 'pg';
import { z } from 'zod';
import { isNodeName } from '../model/kubernetes-names.ts';
import { inTransaction } from '../platform/pg.ts';
import { problemsOf, text, type FieldProblem, type Parsed } from './heartbeat.ts';

/** A row of `edge_nodes`, as it is shown to people and machines. */
interface NodeRow {
  readonly id: string;
  readonly organization_id: string | null;
  readonly name: string;
  readonly status: string;
  readonly failover_enabled: boolean | null;
  readonly failover_target_node_id: string | null;
  readonly last_heartbeat_at: Date | null;
}

interface Registration {
  readonly name: string;
  readonly organizationId: string | null;
  /** Null: not said; true for a new node. */
  readonly failoverEnabled: boolean | null;
}

type NodeReference =
  | { readonly by: 'id'; readonly id: string }
  | { readonly by: 'name'; readonly name: string; readonly organizationId: string | null };

/** `created`: also a decommissioned node that is taken into service again. `unchanged`: it was as asked before. */
export type NodeOutcome =
  | { readonly kind: 'created' | 'changed' | 'unchanged'; readonly node: NodeRow }
  | { readonly kind: 'conflict' | 'invalid'; readonly problem: FieldProblem }
  | { readonly kind: 'missing' };

export interface NodeRegistry {
  /**
   * Puts a node into service. A node that is there already is answered as it is, since machines register at each start;
   * one with another switch is a conflict, since a registration must not undo what an operator set. A decommissioned one
   * keeps its id, which processors refer to, and returns to service: the one way back, since no heartbeat is one.
   * @throws Failure as `databaseFailure` maps it
   */
  register(registration: Registration, word?: Word | null): Promise<NodeOutcome>;
  /**
   * Takes a node out of service for good; the reconciler moves its processors.
   * @throws Failure as `databaseFailure` maps it, and what `mayLeave` throws
   */
  decommission(reference: NodeReference, word?: Word | null): Promise<NodeOutcome>;
}

/** Who did it and why, for the record; those who send no token are not known. */
export interface Word {
  readonly by: string;
  readonly reason: string;
}

/** Throws where a node must not leave now; in the transaction in which it would. */
export type MayLeave = (client: PoolClient, node: { readonly id: string; readonly name: string }, word: Word | null) => Promise<void>;

const uuid = z.uuid({ error: 'Send a uuid, or leave it out.' }).transform((id) => id.toLowerCase());
export const registrationSchema = z.object(
  {
    name: z.string({ error: 'Send the name of the Kubernetes node.' }).refine(isNodeName, {
      error: 'Send the name of the Kubernetes node: lower-case letters, digits, - and ., at most 63.',
    }),
    organization_id: uuid.nullish(),
    failover_enabled: z.boolean({ error: 'Send true or false, or leave it out.' }).nullish(),
  },
  { error: 'Send a JSON object.' },
);
export const referenceSchema = z
  .object({ id: uuid.nullish(), node_id: uuid.nullish(), name: text(253).nullish(), organization_id: uuid.nullish() }, { error: 'Send a JSON object.' })
  .refine(({ id, node_id, name }) => (id ?? node_id ?? name ?? '') !== '', { error: 'Send the id of the node, or its name.', path: ['id'] });

export function parseRegistration(body: unknown): Parsed<Registration> {
  const parsed = registrationSchema.safeParse(body);
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error, body) };
  const { name, organization_id, failover_enabled } = parsed.data;
  return { ok: true, value: { name, organizationId: organization_id ?? null, failoverEnabled: failover_enabled ?? null } };
}

export function parseReference(body: unknown): Parsed<NodeReference> {
  const parsed = referenceSchema.safeParse(body);
  if (!parsed.success) return { ok: false, problems: problemsOf(parsed.error, body) };
  const { id, node_id, name, organization_id } = parsed.data;
  const key = id ?? node_id ?? null;
  if (key !== null) return { ok: true, value: { by: 'id', id: key } };
  return { ok: true, value: { by: 'name', name: name ?? '', organizationId: organization_id ?? null } };
}

export function createNodeRegistry(pool: Pool, mayLeave: MayLeave = () => Promise.resolve()): NodeRegistry {
  return {
    register: async (registration, word = null) => {
      try {
        return await inTransaction(pool, {}, (client) => register(client, registration, word));
      } catch (error) {
        return refusedByTable(error, registration);
      }
    },
    decommission: (reference, word = null) => inTransaction(pool, {}, (client) => decommission(client, reference, word, mayLeave)),
  };
}

const columns = 'id, organization_id, name, status, failover_enabled, failover_target_node_id, last_heartbeat_at';
const decommissioned = 'decommissioned';

async function register(client: PoolClient, registration: Registration, word: Word | null): Promise<NodeOutcome> {
  const { name, organizationId, failoverEnabled } = registration;
  // The table has no unique constraint of ours: two registrations of one node at once must not make two.
  await client.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`dory.edge_nodes ${organizationId ?? ''} ${name}`]);
  const existing = await find(client, 'name = $1 and organization_id is not distinct from $2::uuid', [name, organizationId]);
  const there = existing.find(({ status }) => status !== decommissioned) ?? existing[0];
  if (there === undefined) {
    const { rows } = await client.query<NodeRow>(
      `insert into edge_nodes (organization_id, name, status, failover_enabled) values ($1, $2, 'offline', coalesce($3::boolean, true)) returning ${columns}`,
      [organizationId, name, failoverEnabled],
    );
    return registered(client, rows, word);
  }
  if (there.status === decommissioned) {
    // What it said before it left says nothing about the node that comes back.
    const { rows } = await client.query<NodeRow>(
      `update edge_nodes set status = 'offline', last_heartbeat_at = null, failover_enabled = coalesce($2::boolean, failover_enabled)
        where id = $1 returning ${columns}`,
      [there.id, failoverEnabled],
    );
    return registered(client, rows, word);
  }
  if (failoverEnabled === null || failoverEnabled === (there.failover_enabled ?? true)) return { kind: 'unchanged', node: there };
  const mend = `The node is registered with ${String(there.failover_enabled ?? true)}: leave the field out, or change edge_nodes.failover_enabled.`;
  return { kind: 'conflict', problem: { field: 'failover_enabled', value: String(failoverEnabled), mend } };
}

async function registered(client: PoolClient, rows: readonly NodeRow[], word: Word | null): Promise<NodeOutcome> {
  const node = only(rows);
  await record(client, node, 'registered', word);
  return { kind: 'created', node };
}

async function decommission(client: PoolClient, reference: NodeReference, word: Word | null, mayLeave: MayLeave): Promise<NodeOutcome> {
  const found =
    reference.by === 'id'
      ? await find(client, 'id = $1', [reference.id])
      : await find(client, 'name = $1 and ($2::uuid is null or organization_id = $2)', [reference.name, reference.organizationId]);
  const inService = found.filter(({ status }) => status !== decommissioned);
  const [node] = inService;
  if (node === undefined) return found[0] === undefined ? { kind: 'missing' } : { kind: 'unchanged', node: found[0] };
  if (inService.length > 1) {
    return { kind: 'conflict', problem: { field: 'name', value: JSON.stringify(node.name), mend: 'Several nodes have this name: send the id.' } };
  }
  await mayLeave(client, node, word);
  const { rows } = await client.query<NodeRow>(`update edge_nodes set status = $2 where id = $1 returning ${columns}`, [node.id, decommissioned]);
  const after = only(rows);
  await record(client, after, 'decommissioned', word);
  return { kind: 'changed', node: after };
}

/** In a fixed order, and locked until the end of the transaction. */
async function find(client: PoolClient, condition: string, values: readonly (string | null)[]): Promise<NodeRow[]> {
  const { rows } = await client.query<NodeRow>(`select ${columns} from edge_nodes where ${condition} order by id for no key update`, [...values]);
  return rows;
}

/** In both logs, and the loop is woken. */
async function record(client: PoolClient, node: NodeRow, what: 'registered' | 'decommissioned', word: Word | null): Promise<void> {
  const details = JSON.stringify({ name: node.name, organization_id: node.organization_id, failover_enabled: node.failover_enabled, ...word });
  await client.query(`insert into edge_node_events (edge_node_id, event_type, details) values ($1, $2, $3)`, [node.id, `node_${what}`, details]);
  await client.query(`insert into dory.events (kind, node_id, evidence) values ($1, $2, $3)`, [`node-${what}`, node.id, details]);
  await client.query(`select pg_notify('dory', 'edge_nodes')`);
}

const notNullViolation = '23502';
const foreignKeyViolation = '23503';
const uniqueViolation = '23505';

/** An existing table may ask for more than ours does: an organisation that exists, or one at all. */
function refusedByTable(error: unknown, { name, organizationId }: Registration): NodeOutcome {
  if (!(error instanceof DatabaseError)) throw error;
  const organization = { field: 'organization_id', value: JSON.stringify(organizationId) };
  const { code, column = 'body' } = error;
  if (code === notNullViolation) return { kind: 'invalid', problem: { field: column, value: 'null', mend: 'The table edge_nodes needs a value here.' } };
  if (code === foreignKeyViolation) {
    return { kind: 'invalid', problem: { ...organization, mend: 'Send the id of an organisation that exists.' } };
  }
  if (code === uniqueViolation) {
    return { kind: 'conflict', problem: { field: 'name', value: JSON.stringify(name), mend: 'Another node has this name: choose another one.' } };
  }
  throw error;
}

function only<T>(rows: readonly T[]): T {
  const [row] = rows;
  if (row === undefined) throw new Error('a statement on a locked row returned none');
  return row;
}

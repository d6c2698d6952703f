import type { PoolClient } from 'pg';
import type { Caller } from './operation.ts';

/** What a person did. */
interface Act {
  /** `maintenance-begun` */
  readonly kind: string;
  readonly nodeId?: string;
  readonly processorId?: string;
  /** Beside `by`. No secret. */
  readonly evidence: Readonly<Record<string, unknown>>;
}

/** Writes it into the events, those of the node as well if it is about one, and wakes the loop. In the transaction of the act itself. */
export async function recordAct(client: PoolClient, { name }: Caller, { kind, nodeId, processorId, evidence }: Act): Promise<void> {
  const details = JSON.stringify({ ...evidence, by: name });
  await client.query('insert into dory.events (kind, node_id, processor_id, evidence) values ($1, $2, $3, $4)', [kind, nodeId ?? null, processorId ?? null, details]);
  if (nodeId !== undefined) await client.query('insert into edge_node_events (edge_node_id, event_type, details) values ($1, $2, $3)', [nodeId, kind.replaceAll('-', '_'), details]);
  await client.query(`select pg_notify('dory', 'operator')`);
}

import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { NodeId } from '../model/ids.ts';
import type { Plan } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';

/**
 * The last look before the irreversible step: the nodes that are being left as lost must not have spoken since the
 * snapshot. One that did makes the whole decision stale; the next plan sees its beat. With them all nodes whose rows this
 * transaction writes are locked, in the order in which heartbeats lock them, so that neither waits for the other in a circle.
 */
export async function lockNodes(client: PoolClient, snapshot: Snapshot, plan: Plan): Promise<void> {
  const left = lostSources(plan);
  const nodes = [...new Set([...left, ...plan.transitions.map(({ nodeId }) => nodeId)])].sort();
  if (nodes.length === 0) return;
  const { rows } = await client.query<{ id: NodeId; name: string; at: string | null }>(
    `select id, name, floor(extract(epoch from last_heartbeat_at) * 1000)::bigint as at
       from edge_nodes where id = any($1::uuid[]) order by id for no key update`,
    [nodes],
  );
  const seen = new Map(snapshot.nodes.map(({ nodeId, heartbeat }) => [nodeId, heartbeat.known ? heartbeat.at : null]));
  for (const { id, name, at } of rows) {
    if (left.has(id) && at !== null && Number(at) > (seen.get(id) ?? 0)) {
      throw new Failure('database-conflict', `node ${name} sent a heartbeat while its loss was being decided`);
    }
  }
}

function lostSources(plan: Plan): ReadonlySet<NodeId> {
  const lost = new Set(plan.verdicts.filter(({ verdict }) => verdict === 'lost').map(({ nodeId }) => nodeId));
  const left = new Set<NodeId>();
  for (const { kind, before } of plan.changes) {
    if (kind === 'move' && before?.target.kind === 'edge' && lost.has(before.target.nodeId)) left.add(before.target.nodeId);
  }
  return left;
}

import type { PoolClient } from 'pg';
import type { NodeId } from '../model/ids.ts';
import type { Placement } from '../model/placement.ts';
import type { AgentSignals } from '../model/snapshot.ts';
import type { Instant } from '../model/time.ts';
import type { ClusterLook } from './cluster.ts';

/**
 * Each agent, with what a person's word proves who said that its node has no power. It holds until anything there shows life; and
 * where there is a cluster, it proves an end only when that node could be on again at once and nothing would start: it is tainted, and
 * whatever pods there were are told to end. What a kubelet still finds to run when it is back would be a second writer.
 */
export async function withPowerOffs(client: PoolClient, agents: readonly AgentSignals[], placements: readonly Placement[], { cluster, at }: Look): Promise<readonly AgentSignals[]> {
  if (agents.length === 0) return agents;
  const { rows } = await client.query<{ id: NodeId; by: string }>(
    `select o.node_id as id, o.confirmed_by as by from dory.power_offs o
      where not exists (select from edge_nodes n where n.id = o.node_id and n.last_heartbeat_at > o.confirmed_at)`,
  );
  if (rows.length === 0) return agents;
  const off = new Map(rows.map(({ id, by }) => [id, by]));
  const placed = new Map(placements.map((placement) => [placement.processorId, placement]));
  return agents.map((agent) => {
    const placement = placed.get(agent.processorId);
    const by = placement?.target.kind === 'edge' ? off.get(placement.target.nodeId) : undefined;
    if (placement === undefined || by === undefined || agent.confirmed !== null) return agent;
    return cluster === null || cluster.sealed(placement) ? { ...agent, confirmed: { at, by } } : agent;
  });
}

interface Look {
  readonly cluster: Pick<ClusterLook, 'sealed'> | null;
  readonly at: Instant;
}

import type { PoolClient } from 'pg';
import type { EdgeNode } from '../model/fleet.ts';
import type { NodeId } from '../model/ids.ts';
import { known, unknown } from '../model/observed.ts';
import type { Placement } from '../model/placement.ts';
import type { AgentSignals, Intake, NodeSignals, Policy, Verdict } from '../model/snapshot.ts';
import { elapsed, formatMillis, instant, latest, type Instant } from '../model/time.ts';
import { ms, msBefore } from '../platform/pg.ts';

/** Who takes the agents' heartbeats: our own server, or another program that writes `edge_nodes.last_heartbeat_at`. */
export type Receiver = 'dory' | 'external';

/** A beat from the future is from a writer with another clock, and one from before 1970 from nobody: `infinity` is a timestamp too. */
const beatMs = (column: string): string => msBefore(`greatest(least(${column}, now()), 'epoch')`);

/** Signs of life of each node, in the order of `nodes`. */
export async function readNodeSignals(client: PoolClient, nodes: readonly EdgeNode[]): Promise<readonly NodeSignals[]> {
  const { rows } = await client.query<{ id: string; beat: string | null; verdict: Verdict | null; since: string | null; flaps: number | null }>(
    `select n.id, case when n.last_heartbeat_at is not null then ${beatMs('n.last_heartbeat_at')} end as beat,
            v.verdict, ${ms('v.since')} as since, v.flaps
       from edge_nodes n left join dory.node_verdicts v on v.node_id = n.id`,
  );
  const byId = new Map(rows.map((row) => [row.id, row]));
  return nodes.map(({ id }) => {
    const { beat = null, verdict = null, since = null, flaps = null } = byId.get(id) ?? {};
    return {
      nodeId: id,
      heartbeat: beat === null ? unknown('never-reported') : known(null, instant(Number(beat))),
      kubernetes: unknown('not-configured'),
      recorded: verdict === null ? null : { verdict, since: instant(Number(since)), flaps: flaps ?? 0 },
    };
  });
}

/** Nodes whose processors may soon have to leave: what is known of their agents is read too. */
export function inDoubt(nodes: readonly NodeSignals[], at: Instant, { heartbeatGap }: Pick<Policy, 'heartbeatGap'>): ReadonlySet<NodeId> {
  const doubtful = nodes.filter(({ heartbeat, kubernetes, recorded }) => {
    const silent = heartbeat.known && elapsed(heartbeat.at, at) > heartbeatGap;
    const notReady = kubernetes.known && kubernetes.value.ready !== 'true';
    return silent || notReady || (recorded !== null && recorded.verdict !== 'healthy');
  });
  return new Set(doubtful.map(({ nodeId }) => nodeId));
}

/**
 * Another program that takes the heartbeats tells the node's only: a beat of the node since a placement was decided then stands
 * for its agent's, which is as late as the node's last agent and so proves no silence too early.
 */
export function withNodeBeats(agents: readonly AgentSignals[], placements: readonly Placement[], nodes: readonly NodeSignals[]): readonly AgentSignals[] {
  if (agents.length === 0) return agents;
  const asked = new Set(agents.map(({ processorId }) => processorId));
  const placed = new Map(placements.filter(({ processorId }) => asked.has(processorId)).map((placement) => [placement.processorId, placement]));
  const beats = new Map(nodes.flatMap(({ nodeId, heartbeat }) => (heartbeat.known ? [[nodeId, heartbeat.at] as const] : [])));
  return agents.map((agent) => {
    const placement = placed.get(agent.processorId);
    const beat = placement?.target.kind === 'edge' ? (beats.get(placement.target.nodeId) ?? null) : null;
    if (placement === undefined || beat === null || beat < placement.since) return agent;
    return { ...agent, lastBeatAt: latest(beat, agent.lastBeatAt ?? beat) };
  });
}

export interface IntakeFacts {
  readonly at: Instant;
  readonly receiver: Receiver;
  /** The row of `dory.intake`; null if no server of ours ever ran here. */
  readonly recorded: { readonly since: Instant; readonly until: Instant } | null;
  readonly nodes: readonly NodeSignals[];
}

/** Since when silence of a node is evidence. */
export function intakeOf({ at, receiver, recorded, nodes }: IntakeFacts, { intakeFresh }: Pick<Policy, 'intakeFresh'>): Intake {
  const always = { covered: true, since: instant(0), until: at } as const;
  if (receiver === 'external') return always;
  if (recorded !== null) {
    const silent = elapsed(recorded.until, at);
    if (silent > intakeFresh) return { covered: false, detail: `the last heartbeat receiver reported ${formatMillis(silent)} ago` };
    return { covered: true, since: recorded.since, until: instant(Math.min(recorded.until, at)) };
  }
  // Before our first server runs, another one may be at work: its writes are the proof.
  const fresh = nodes.some(({ heartbeat }) => heartbeat.known && elapsed(heartbeat.at, at) <= intakeFresh);
  return fresh ? always : { covered: false, detail: 'no heartbeat receiver has reported yet, and no node beats' };
}

import type { EdgeNode, ProcessorSpec, Workload } from '../model/fleet.ts';
import type { Digest, NodeId, ProcessorId } from '../model/ids.ts';
import type { AgentSignals, Foreign, NodeVerdict, PolicyOverride, Snapshot } from '../model/snapshot.ts';
import { approvedIn, type Approved } from './approvals.ts';
import { isTransition, nodeHealth, type NodeHealth } from './health.ts';
import type { Occupant } from './signals.ts';

/** The snapshot with its lists indexed and every node judged: what the placement rules ask. */
export interface World {
  readonly snapshot: Snapshot;
  readonly health: ReadonlyMap<NodeId, NodeHealth>;
  readonly transitions: readonly NodeVerdict[];
  readonly agents: ReadonlyMap<ProcessorId, AgentSignals>;
  readonly renamed: ReadonlySet<ProcessorId>;
  readonly foreign: ReadonlyMap<ProcessorId, Foreign>;
  /** By `match`. */
  readonly overrides: ReadonlyMap<string, PolicyOverride['policy']>;
  readonly approved: Approved;
  workloadOf(spec: ProcessorSpec): Workload;
  /** Whether the switches of the processor's home let it fail over, and if not, which one is off. */
  failoverSwitch(home: EdgeNode, workload: Workload): 'on' | 'off-node' | 'off-app';
}

export function indexWorld(snapshot: Snapshot): World {
  const { fleet, intake, policy, at } = snapshot;
  const agents = new Map(snapshot.agents.map((agent) => [agent.processorId, agent]));
  const occupantsOf = occupancy(snapshot, agents);
  const signals = new Map(snapshot.nodes.map((node) => [node.nodeId, node]));
  const health = new Map<NodeId, NodeHealth>();
  const transitions: NodeVerdict[] = [];
  for (const node of fleet.nodes) {
    const own = signals.get(node.id);
    if (own === undefined) throw new Error(`snapshot has no signals for node ${node.id}`);
    const judged = nodeHealth({ node, signals: own, occupants: () => occupantsOf(node.id), intake, policy, at });
    health.set(node.id, judged);
    if (isTransition(judged, own)) transitions.push(toVerdict(judged));
  }
  const workloads = new Map<Digest, Workload>(fleet.workloads.map((workload) => [workload.digest, workload]));
  const off = new Set(fleet.switches.filter((s) => !s.failoverEnabled).map((s) => `${s.nodeId}/${s.templateId}`));
  return {
    snapshot,
    health,
    transitions,
    agents,
    renamed: new Set(snapshot.renamed),
    foreign: new Map(snapshot.foreign.map((each) => [each.processorId, each])),
    overrides: new Map(snapshot.policies.map(({ match, policy: own }) => [match, own])),
    approved: approvedIn(snapshot),
    workloadOf(spec) {
      const workload = workloads.get(spec.workload);
      if (workload === undefined) throw new Error(`snapshot has no workload ${spec.workload} of processor ${spec.id}`);
      return workload;
    },
    failoverSwitch(home, workload) {
      if (!home.failoverEnabled) return 'off-node';
      return off.has(`${home.id}/${workload.templateId}`) ? 'off-app' : 'on';
    },
  };
}

/** What is placed on a node. All placements are gone through once, when the first silent node asks. */
function occupancy({ placements }: Snapshot, agents: ReadonlyMap<ProcessorId, AgentSignals>): (nodeId: NodeId) => readonly Occupant[] {
  let byNode: Map<NodeId, Occupant[]> | null = null;
  return (nodeId) => {
    byNode ??= groupByNode(placements, agents);
    return byNode.get(nodeId) ?? [];
  };
}

function groupByNode(placements: Snapshot['placements'], agents: ReadonlyMap<ProcessorId, AgentSignals>): Map<NodeId, Occupant[]> {
  const byNode = new Map<NodeId, Occupant[]>();
  for (const placement of placements) {
    const { target, processorId, epoch } = placement;
    if (target.kind !== 'edge') continue;
    const agent = agents.get(processorId);
    const occupant = { placement, agent: agent?.epoch === epoch ? agent : null };
    const present = byNode.get(target.nodeId);
    if (present === undefined) byNode.set(target.nodeId, [occupant]);
    else present.push(occupant);
  }
  return byNode;
}

/** A node's health without what only this stage needs. */
export function toVerdict({ nodeId, verdict, since, flaps, reason, evidence }: NodeHealth): NodeVerdict {
  return { nodeId, verdict, since, flaps, reason, evidence };
}

import type { ProcessorSpec, Workload } from '../model/fleet.ts';
import type { NodeId, NodeName } from '../model/ids.ts';
import { sameTarget, targetName, type Placement, type Target } from '../model/placement.ts';
import type { Evidence, ReasonCode, Rejection } from '../model/reasons.ts';
import type { ProcessorPolicy } from '../model/snapshot.ts';
import type { World } from './world.ts';
import { isFailed } from './flaps.ts';
import type { NodeHealth } from './health.ts';
import { lockOfNode } from './locks.ts';

/**
 * May this processor run there? An ordered list of rules, each answering null or the reason against it; the first
 * reason counts. A candidate's `role` says why it is asked: as the processor's home, or as its refuge.
 */
export interface Candidate {
  readonly target: Target;
  readonly role: 'home' | 'refuge';
  /** Null for the managed pool, and for a node that is not in the fleet. */
  readonly health: NodeHealth | null;
}

export interface Subject {
  readonly world: World;
  readonly spec: ProcessorSpec;
  readonly workload: Workload;
  readonly current: Placement | null;
  /** The health of its home node; null for a managed home. */
  readonly home: NodeHealth | null;
  readonly policy: ProcessorPolicy;
}

type Objection = readonly [ReasonCode, Evidence] | null;
type Rule = (subject: Subject, candidate: Candidate) => Objection;

const rules: readonly Rule[] = [nodeExists, nodeFit, nodeLocked, nodeTakesPods, switchesOn, statePortable, hasGpu, hasArchitecture];

export function objectionTo(subject: Subject, candidate: Candidate): Rejection | null {
  for (const rule of rules) {
    const objection = rule(subject, candidate);
    if (objection !== null) return { target: candidate.target, reason: objection[0], evidence: objection[1] };
  }
  return null;
}

/** In order of preference: home, then as the policy orders them. */
export function candidates({ world, spec, home, policy }: Subject): readonly Candidate[] {
  const managed: Target = { kind: 'managed' };
  if (spec.home.kind === 'managed') return [{ target: managed, role: 'home', health: null }];
  const list = [edgeCandidate(world, spec.home.nodeId, 'home')];
  const failoverTarget = home?.node.failoverTarget ?? null;
  for (const kind of policy.targets) {
    if (kind === 'managed') list.push({ target: managed, role: 'refuge', health: null });
    else if (failoverTarget !== null) list.push(edgeCandidate(world, failoverTarget, 'refuge'));
  }
  return list;
}

/** A node that is not in the fleet is named by its id, so that its rejection can be read. */
function edgeCandidate(world: World, nodeId: NodeId, role: Candidate['role']): Candidate {
  const health = world.health.get(nodeId) ?? null;
  const target = health === null ? { kind: 'edge' as const, nodeId, nodeName: nodeId as string as NodeName } : edgeTarget(health);
  return { target, role, health };
}

export function edgeTarget({ node }: NodeHealth): Target {
  return { kind: 'edge', nodeId: node.id, nodeName: node.name };
}

function nodeExists(_: Subject, { target, health }: Candidate): Objection {
  return target.kind === 'edge' && health === null ? ['node-missing', { node: target.nodeId }] : null;
}

/**
 * A refuge must be known to be well, and so must a home to return to: by both signals, where there are two. A first
 * placement waits for nothing but a failed node.
 */
function nodeFit({ current }: Subject, { role, health, target }: Candidate): Objection {
  if (health === null || (health.verdict === 'healthy' && health.sure)) return null;
  const stays = current !== null && sameTarget(current.target, target);
  const mayBeUnknown = role === 'home' && (current === null || stays);
  if (mayBeUnknown && !isFailed(health.verdict) && health.verdict !== 'decommissioned') return null;
  return [health.reason, health.evidence];
}

/** A node that a person works on is no refuge, nor the end of a way home that is under way. The way home is held at its beginning. */
function nodeLocked({ world, current }: Subject, { role, health, target }: Candidate): Objection {
  if (health === null || (current !== null && sameTarget(current.target, target))) return null;
  if (role === 'home' && current?.phase !== 'stopping') return null;
  const lock = lockOfNode(world.snapshot, health.node.id);
  return lock === null ? null : ['node-locked', { node: health.node.name, owner: lock.owner }];
}

/** What the manifests of edge pods tolerate. */
const toleratedTaint = 'edge-node=true';
const gpuTaint = 'nvidia.com/gpu';

/** A cordoned or tainted node keeps what it has. A first placement waits there for its node, as it would without Dory. */
function nodeTakesPods({ current, workload }: Subject, { role, health, target }: Candidate): Objection {
  if (health === null || (current === null ? role === 'home' : sameTarget(current.target, target))) return null;
  const wantsGpu = workload.resources.gpuLimit !== null;
  const taint = health.condition?.taints.find((each) => each !== toleratedTaint && !(wantsGpu && each.split('=')[0] === gpuTaint));
  return taint === undefined ? null : ['node-tainted', { node: health.node.name, taint }];
}

function switchesOn({ world, workload, home }: Subject, { role }: Candidate): Objection {
  // An operator who decommissions a node wants its processors to leave, whatever the switches for failures say.
  if (role === 'home' || home === null || home.verdict === 'decommissioned') return null;
  const evidence = { node: home.node.name, slug: workload.slug };
  switch (world.failoverSwitch(home.node, workload)) {
    case 'on': return null;
    case 'off-node': return ['failover-off-node', evidence];
    case 'off-app': return ['failover-off-app', evidence];
  }
}

function statePortable({ workload, current, policy }: Subject, { target, role }: Candidate): Objection {
  if (!staysOnNode(workload) || policy.stateLoss === 'accept') return null;
  const stays = current === null ? role === 'home' : sameTarget(current.target, target);
  return stays ? null : ['state-not-portable', { backend: workload.stateBackend }];
}

/** Its state is where its pod is, and nowhere else. */
export function staysOnNode({ stateBackend }: Workload): boolean {
  return stateBackend === 'local' || stateBackend === 'pvc';
}

function hasGpu({ workload, world }: Subject, { target, role, health }: Candidate): Objection {
  if (workload.resources.gpuLimit === null || role === 'home') return null;
  const has = target.kind === 'managed' ? world.snapshot.policy.managedPool.gpu : (health?.node.gpu ?? health?.condition?.gpu);
  // Unknown is not "none": the operator named this failover target.
  return has === false ? ['gpu-missing', { target: targetName(target) }] : null;
}

function hasArchitecture({ workload, world }: Subject, { target, role, health }: Candidate): Objection {
  if (workload.architectures.length === 0 || role === 'home') return null;
  const own = health?.node.architecture ?? health?.condition?.architecture ?? null;
  const has = target.kind === 'managed' ? world.snapshot.policy.managedPool.architectures : own === null ? null : [own];
  if (has === null || workload.architectures.some((name) => has.includes(name))) return null;
  return ['architecture-missing', { needs: workload.architectures.join(' or '), target: targetName(target), has: has.join(', ') || 'none' }];
}

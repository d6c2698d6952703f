import type { ProcessorSpec, Quarantined } from '../model/fleet.ts';
import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Change, Hold, Plan } from '../model/plan.ts';
import { isHome, sameTarget, type Placement } from '../model/placement.ts';
import type { Rejection } from '../model/reasons.ts';
import type { AgentSignals, MaintenanceLock, NodeSignals, ProcessorPolicy, Snapshot } from '../model/snapshot.ts';
import { candidates, objectionTo, type Candidate, type Subject } from './eligible.ts';
import type { Proof } from './fence.ts';
import { flapsAt } from './flaps.ts';
import type { NodeHealth } from './health.ts';
import { endOf } from './locks.ts';
import { endOfPlacement, subjectOf } from './placement.ts';
import { policyLayers, type PolicyLayer } from './policy.ts';
import { indexWorld, type World } from './world.ts';

/**
 * What `plan` saw of one node or one processor, as a value: each part is asked of the rules that decided, none is told a second
 * time. What was decided is taken from the plan itself.
 */
export interface NodeExplanation {
  readonly health: NodeHealth;
  readonly signals: NodeSignals;
  /** How often it failed lately, by what counts now. */
  readonly flaps: number;
  /** Sorted: placed there now. */
  readonly placed: readonly Placement[];
  /** Processors of which it is the home. */
  readonly home: number;
  /** That hold on it. */
  readonly locks: readonly MaintenanceLock[];
  /** Of what is placed there, or at home there. */
  readonly holds: readonly Hold[];
  readonly changes: readonly Change[];
}

export interface ProcessorExplanation {
  readonly spec: ProcessorSpec;
  readonly subject: Subject;
  readonly current: Placement | null;
  readonly isAtHome: boolean;
  /** Of the current placement, where the snapshot has them: while it is stopping, or its node's signals are in doubt. */
  readonly agent: AgentSignals | null;
  readonly policy: readonly PolicyField[];
  /** In the order of preference. */
  readonly candidates: readonly ExplainedCandidate[];
  /** What is known of the end of a placement that has to end; null while it may stay. */
  readonly end: Proof | null;
  readonly change: Change | null;
  readonly hold: Hold | null;
  /** That hold on it, its template, its home or its node. */
  readonly locks: readonly MaintenanceLock[];
  readonly quarantined: Quarantined | null;
}

export interface PolicyField {
  readonly field: keyof ProcessorPolicy;
  readonly value: ProcessorPolicy[keyof ProcessorPolicy];
  readonly origin: PolicyLayer['origin'];
}

interface ExplainedCandidate {
  readonly candidate: Candidate;
  /** Null: nothing speaks against it. */
  readonly objection: Rejection | null;
  /** The first without an objection. */
  readonly chosen: boolean;
}

/** Null: there is no such node. */
export function explainNode(snapshot: Snapshot, planned: Plan, nodeId: NodeId): NodeExplanation | null {
  const world = indexWorld(snapshot);
  const health = world.health.get(nodeId);
  const signals = snapshot.nodes.find((node) => node.nodeId === nodeId);
  if (health === undefined || signals === undefined) return null;
  const placed = snapshot.placements.filter(({ target }) => target.kind === 'edge' && target.nodeId === nodeId);
  const atHome = specsOf(snapshot).filter(({ home }) => home.kind === 'edge' && home.nodeId === nodeId).map(({ id }) => id);
  const there = new Set<ProcessorId>([...placed.map(({ processorId }) => processorId), ...atHome]);
  return {
    health,
    signals,
    flaps: flapsAt(signals.recorded, snapshot.at, snapshot.policy),
    placed,
    home: atHome.length,
    locks: heldLocks(snapshot, new Set([nodeId])),
    holds: planned.holds.filter(({ processorId }) => there.has(processorId)),
    changes: planned.changes.filter(({ processorId, after }) => there.has(processorId) || (after?.target.kind === 'edge' && after.target.nodeId === nodeId)),
  };
}

/** Null: there is no such processor, or its row was never one that can be rendered. */
export function explainProcessor(snapshot: Snapshot, planned: Plan, id: ProcessorId): ProcessorExplanation | null {
  const spec = specsOf(snapshot).find((each) => each.id === id);
  if (spec === undefined) return null;
  const world = indexWorld(snapshot);
  const current = snapshot.placements.find(({ processorId }) => processorId === id) ?? null;
  const subject = subjectOf(world, spec, current);
  return {
    spec,
    subject,
    current,
    isAtHome: current !== null && isHome(spec.home, current.target),
    agent: agentOf(world, current),
    policy: policyFields(world, spec),
    candidates: explainCandidates(subject),
    end: current === null ? null : endOfPlacement(subject, current),
    change: planned.changes.find(({ processorId }) => processorId === id) ?? null,
    hold: planned.holds.find(({ processorId }) => processorId === id) ?? null,
    locks: heldLocks(snapshot, lockable(subject)),
    quarantined: snapshot.fleet.quarantined.find((row) => row.id === id) ?? null,
  };
}

/** Those that have, or could have, a placement. */
function specsOf({ fleet }: Snapshot): readonly ProcessorSpec[] {
  return [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])];
}

function agentOf({ agents }: World, current: Placement | null): AgentSignals | null {
  const agent = current === null ? undefined : agents.get(current.processorId);
  return agent !== undefined && agent.epoch === current?.epoch ? agent : null;
}

function policyFields(world: World, spec: ProcessorSpec): readonly PolicyField[] {
  const [base, ...others] = policyLayers(world, spec);
  return (Object.keys(base.policy) as (keyof ProcessorPolicy)[]).map((field) => {
    const layer = others.findLast(({ policy }) => policy[field] !== undefined);
    return { field, value: layer?.policy[field] ?? base.policy[field], origin: layer?.origin ?? base.origin };
  });
}

function explainCandidates(subject: Subject): readonly ExplainedCandidate[] {
  const asked = candidates(subject).map((candidate) => ({ candidate, objection: objectionTo(subject, candidate) }));
  const chosen = asked.find(({ objection }) => objection === null)?.candidate.target ?? null;
  return asked.map((each) => ({ ...each, chosen: chosen !== null && each.objection === null && sameTarget(chosen, each.candidate.target) }));
}

function lockable({ spec, workload, current }: Subject): ReadonlySet<string> {
  const nodes = [spec.home, current?.target].flatMap((place) => (place?.kind === 'edge' ? [place.nodeId] : []));
  return new Set<string>([spec.id, workload.templateId, ...nodes]);
}

function heldLocks({ locks, at }: Snapshot, subjects: ReadonlySet<string>): readonly MaintenanceLock[] {
  return locks.filter((lock) => subjects.has(lock.subject) && endOf(lock, at) === null);
}

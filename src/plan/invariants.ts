import type { ProcessorSpec } from '../model/fleet.ts';
import type { ProcessorId } from '../model/ids.ts';
import { specsOf, type Change, type Plan } from '../model/plan.ts';
import { isHome, sameTarget, type Placement, type Target } from '../model/placement.ts';
import { agentOf, leaseEnd } from './fence.ts';
import { isFailed } from './flaps.ts';
import type { NodeHealth } from './health.ts';
import type { World } from './world.ts';

/**
 * What must hold of every plan, whatever the rules above it say. A breach is a bug in this program, so it throws
 * before anything is written: better no decision than a wrong one.
 */
export function assertPlan(world: World, plan: Plan): void {
  const specs = specsOf(world.snapshot.fleet, plan.changes);
  let last: ProcessorId | null = null;
  for (const change of plan.changes) {
    if (last !== null && last >= change.processorId) fail(change, 'changes are not sorted, or a processor changes twice');
    last = change.processorId;
    assertKind(change);
    assertEpoch(change);
    const spec = specs.get(change.processorId) ?? null;
    if (!isOrdered(world, change)) assertReason(world, change, spec);
    assertName(world, change);
    assertFence(world, change, spec);
    assertTarget(world, change);
  }
  if (plan.refusals.length > 0 && plan.changes.length > 0) throw new Error('invariant: changes beside a refusal');
  if (plan.wakeAt !== null && plan.wakeAt <= plan.at) throw new Error('invariant: a plan that wakes itself at once');
}

function assertKind(change: Change): void {
  const { kind, before, after } = change;
  const shape = { place: [false, true], move: [true, true], stop: [true, true], resume: [true, true], update: [true, true], remove: [true, false] } as const;
  const [hasBefore, hasAfter] = shape[kind];
  if ((before !== null) !== hasBefore || (after !== null) !== hasAfter) fail(change, 'kind and placements contradict each other');
  if (after?.phase === 'stopping' && kind !== 'stop' && change.reason !== 'added-again') fail(change, 'only a stop stops');
  if (before === null || after === null) return;
  const stays = sameTarget(before.target, after.target);
  if (stays === (kind === 'move')) fail(change, 'a move goes elsewhere, and nothing else does');
  const phases = { move: null, stop: ['active', 'stopping'], resume: ['stopping', 'active'], update: ['active', 'active'] } as const;
  const expected = kind === 'place' || kind === 'remove' ? null : phases[kind];
  if (expected !== null && (before.phase !== expected[0] || after.phase !== expected[1])) fail(change, 'wrong phase');
}

/** Invariant 1: the epoch only rises, by one, and exactly when the placement moves, or takes another name. */
function assertEpoch(change: Change): void {
  const { kind, before, after, reason } = change;
  if (after === null) return;
  const rises = kind === 'move' || (kind === 'resume' && reason === 'renamed');
  const expected = before === null ? null : rises ? before.epoch + 1 : before.epoch;
  if (expected !== null && after.epoch !== expected) fail(change, `epoch ${String(after.epoch)} where ${String(expected)} is due`);
  if (after.epoch < 1) fail(change, 'epoch below 1');
}

/** A person's word, or new name, is reason enough to stop, wherever it is. */
function isOrdered({ renamed }: World, { kind, reason, processorId }: Change): boolean {
  return kind === 'stop' && (reason === 'handed-back' || (reason === 'renamed' && renamed.has(processorId)));
}

/** Invariants 4 and 5: what leaves, leaves a node that failed for certain or is decommissioned, goes home, or should not run there any more. */
function assertReason(world: World, change: Change, spec: ProcessorSpec | null): void {
  const { kind, before, after } = change;
  if ((kind !== 'stop' && kind !== 'move') || before === null || after === null || spec === null) return;
  const source = healthOf(world, before.target);
  if (source?.verdict === 'decommissioned') return;
  if (source !== null && isFailed(source.verdict)) {
    if (kind === 'stop' && !source.sure) fail(change, `leaves a node of which it is not sure that it is ${source.verdict}`);
    return;
  }
  if (before.reason === 'added-again') return;
  const home = kind === 'stop' ? !isHome(spec.home, before.target) : isHome(spec.home, after.target);
  if (!home) fail(change, 'leaves a node that did not fail, and does not go home');
}

/** What is renamed never runs under two names at once, and never under one epoch. */
function assertName({ renamed }: World, change: Change): void {
  const { kind, after, evidence, processorId, reason } = change;
  if (!renamed.has(processorId) || after?.phase !== 'active' || kind === 'move') return;
  if (kind !== 'resume' || reason !== 'renamed' || typeof evidence['fence'] !== 'string') fail(change, 'starts under another name without a fence');
}

/** Nothing starts elsewhere without proof; without one, only off a node that is lost for certain, when no lease is good any more. */
function assertFence(world: World, change: Change, spec: ProcessorSpec | null): void {
  const { kind, before } = change;
  if (kind !== 'move' || before === null) return;
  const source = healthOf(world, before.target);
  const proved = typeof change.evidence['fence'] === 'string';
  if (proved && before.phase === 'stopping') return;
  if (source?.verdict !== 'lost' || !source.sure) fail(change, 'moves off a target that is not lost for certain, without a stop and a fence');
  if (change.evidence['fence'] === 'fence-confirmed' || spec === null) return;
  const end = leaseOf(world, before, spec);
  if (end !== null && end >= world.snapshot.at) fail(change, 'moves while the lease of its agent is good');
}

function leaseOf(world: World, placement: Placement, spec: ProcessorSpec): number | null {
  const signals = agentOf({ world, placement });
  return signals === null ? null : leaseEnd(world.snapshot, signals, world.workloadOf(spec));
}

/** Nothing moves to a node that is not well for certain. */
function assertTarget(world: World, change: Change): void {
  if (change.kind !== 'move' || change.after?.target.kind !== 'edge') return;
  const there = healthOf(world, change.after.target);
  if (there?.verdict !== 'healthy' || !there.sure) fail(change, `moves to a node that is ${there?.verdict ?? 'not there'}`);
}

function healthOf(world: World, target: Target): NodeHealth | null {
  return target.kind === 'edge' ? (world.health.get(target.nodeId) ?? null) : null;
}

function fail({ processorId, kind }: Change, what: string): never {
  throw new Error(`invariant: ${kind} of processor ${processorId}: ${what}`);
}

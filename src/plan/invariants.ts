import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Change, Plan } from '../model/plan.ts';
import { sameTarget, type Target } from '../model/placement.ts';
import type { Snapshot, Verdict } from '../model/snapshot.ts';

/**
 * What must hold of every plan, whatever the rules above it say. A breach is a bug in this program, so it throws
 * before anything is written: better no decision than a wrong one.
 */
export function assertPlan(snapshot: Snapshot, plan: Plan): void {
  const verdicts = new Map<NodeId, Verdict>(plan.verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
  let last: ProcessorId | null = null;
  for (const change of plan.changes) {
    if (last !== null && last >= change.processorId) fail(change, 'changes are not sorted, or a processor changes twice');
    last = change.processorId;
    assertKind(change);
    assertEpoch(change);
    assertTarget(change, verdicts);
  }
  if (plan.refusals.length > 0 && plan.changes.length > 0) throw new Error('invariant: changes beside a refusal');
  if (plan.wakeAt !== null && plan.wakeAt <= snapshot.at) throw new Error('invariant: a plan that wakes itself at once');
}

function assertKind(change: Change): void {
  const { kind, before, after } = change;
  const shape = { place: [false, true], move: [true, true], stop: [true, true], resume: [true, true], update: [true, true], remove: [true, false] } as const;
  const [hasBefore, hasAfter] = shape[kind];
  if ((before !== null) !== hasBefore || (after !== null) !== hasAfter) fail(change, 'kind and placements contradict each other');
  if (before === null || after === null) return;
  const stays = sameTarget(before.target, after.target);
  if (stays === (kind === 'move')) fail(change, 'a move goes elsewhere, and nothing else does');
  const phases = { move: null, stop: ['active', 'stopping'], resume: ['stopping', 'active'], update: ['active', 'active'] } as const;
  const expected = kind === 'place' || kind === 'remove' ? null : phases[kind];
  if (expected !== null && (before.phase !== expected[0] || after.phase !== expected[1])) fail(change, 'wrong phase');
}

/** Invariant 1: the epoch only rises, by one, and exactly when the placement moves. */
function assertEpoch(change: Change): void {
  const { kind, before, after } = change;
  if (after === null) return;
  const expected = before === null ? null : kind === 'move' ? before.epoch + 1 : before.epoch;
  if (expected !== null && after.epoch !== expected) fail(change, `epoch ${String(after.epoch)} where ${String(expected)} is due`);
  if (after.epoch < 1) fail(change, 'epoch below 1');
}

/** Invariants 4 and 5: nothing leaves a live target without a fence, and nothing moves to a node that is not well. */
function assertTarget(change: Change, verdicts: ReadonlyMap<NodeId, Verdict>): void {
  const { kind, before, after } = change;
  if (kind !== 'move' || before === null || after === null) return;
  const fenced = before.phase === 'stopping' && typeof change.evidence['fence'] === 'string';
  if (!fenced && verdictOf(before.target, verdicts) !== 'lost') fail(change, 'moves off a target that is not lost, without a fence');
  const there = verdictOf(after.target, verdicts);
  if (there !== null && there !== 'healthy') fail(change, `moves to a node that is ${there}`);
}

function verdictOf(target: Target, verdicts: ReadonlyMap<NodeId, Verdict>): Verdict | null {
  return target.kind === 'managed' ? null : (verdicts.get(target.nodeId) ?? 'unknown');
}

function fail({ processorId, kind }: Change, what: string): never {
  throw new Error(`invariant: ${kind} of processor ${processorId}: ${what}`);
}

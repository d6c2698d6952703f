import type { ProcessorSpec } from '../model/fleet.ts';
import { byText, type Epoch, type ProcessorId } from '../model/ids.ts';
import type { Change, Hold, Plan, Refusal } from '../model/plan.ts';
import type { Placement } from '../model/placement.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { earliest, type Instant } from '../model/time.ts';
import { assertPlan } from './invariants.ts';
import { placementOf } from './placement.ts';
import { indexWorld, toVerdict, type World } from './world.ts';

/**
 * What should be done about a snapshot: pure, and the same for any order of its lists.
 *
 * health (a verdict a node) → placement (a verdict a processor) → refusals (what stops everything) → invariants.
 * Throws only on a bug: a snapshot that contradicts itself, or a plan that breaks an invariant.
 */
export function plan(snapshot: Snapshot): Plan {
  const world = indexWorld(snapshot);
  const refusals = refuse(snapshot);
  const { changes, holds, wakeAt } = refusals.length > 0 ? { changes: [], holds: [], wakeAt: null } : placeAll(world);
  const verdicts = [...world.health.values()];
  const result: Plan = {
    at: snapshot.at,
    verdicts: verdicts.map(toVerdict),
    transitions: world.transitions,
    changes,
    holds,
    refusals,
    quarantined: snapshot.fleet.quarantined,
    wakeAt: verdicts.reduce((soonest, { wakeAt: own }) => earliest(soonest, own), wakeAt),
  };
  assertPlan(snapshot, result);
  return result;
}

interface Placed {
  readonly changes: readonly Change[];
  readonly holds: readonly Hold[];
  readonly wakeAt: Instant | null;
}

function placeAll(world: World): Placed {
  const { fleet, placements, retired } = world.snapshot;
  const unplaced = new Map<ProcessorId, Placement>(placements.map((placement) => [placement.processorId, placement]));
  const retiredEpochs = new Map<ProcessorId, Epoch>(retired.map(({ processorId, epoch }) => [processorId, epoch]));
  const changes: Change[] = [];
  const holds: Hold[] = [];
  let wakeAt: Instant | null = null;
  const consider = (spec: ProcessorSpec, current: Placement | null): void => {
    const verdict = placementOf(world, spec, current, retiredEpochs.get(spec.id) ?? null);
    if (verdict.change !== null) changes.push(verdict.change);
    if (verdict.hold !== null) holds.push(verdict.hold);
    wakeAt = earliest(wakeAt, verdict.wakeAt);
  };
  for (const spec of fleet.processors) {
    consider(spec, unplaced.get(spec.id) ?? null);
    unplaced.delete(spec.id);
  }
  for (const { id, lastGood } of fleet.quarantined) {
    const current = unplaced.get(id);
    unplaced.delete(id);
    // What could never be rendered has no placement; what could keeps one, and may leave a dead node.
    if (current !== undefined && lastGood !== null) consider(lastGood, current);
  }
  for (const current of unplaced.values()) changes.push(remove(current));
  const byProcessor = (a: { processorId: ProcessorId }, b: { processorId: ProcessorId }): number => byText(a.processorId, b.processorId);
  return { changes: changes.sort(byProcessor), holds: holds.sort(byProcessor), wakeAt };
}

function remove(current: Placement): Change {
  return { kind: 'remove', processorId: current.processorId, before: current, after: null, reason: 'row-removed', evidence: {}, rejected: [] };
}

/** An empty answer where the fleet was full is a broken query or a wrong database until a person says otherwise. */
function refuse({ fleet, placements, approved }: Snapshot): readonly Refusal[] {
  const empty = fleet.processors.length === 0 && fleet.quarantined.length === 0;
  if (!empty || placements.length === 0 || approved.includes('empty-result')) return [];
  return [{ subject: 'empty-result', reason: 'empty-result', evidence: { table: 'processors', before: placements.length } }];
}

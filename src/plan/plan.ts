import type { ProcessorSpec } from '../model/fleet.ts';
import { byText, type ProcessorId } from '../model/ids.ts';
import type { Change, Hold, Plan, Refusal } from '../model/plan.ts';
import type { Placement } from '../model/placement.ts';
import type { Retired, Snapshot } from '../model/snapshot.ts';
import { earliest, type Instant } from '../model/time.ts';
import { assertPlan } from './invariants.ts';
import { gate, type Placed } from './gate.ts';
import { guardOf } from './guard.ts';
import { placementOf } from './placement.ts';
import { indexWorld, toVerdict, type World } from './world.ts';

/**
 * What should be done about a snapshot: pure, and the same for any order of its lists.
 *
 * health (a verdict a node) → guard (one on the fleet) → placement (one a processor) → gate (pause, locks, guard, budget) →
 * refusals (what stops everything) → invariants.
 * Throws only on a bug: a snapshot that contradicts itself, or a plan that breaks an invariant.
 */
export function plan(snapshot: Snapshot): Plan {
  const world = indexWorld(snapshot);
  const refusals = refuse(snapshot);
  const guard = guardOf(world);
  const { changes, holds, wakeAt } = refusals.length > 0 ? { changes: [], holds: [], wakeAt: null } : gate(world, guard, placeAll(world));
  const verdicts = [...world.health.values()];
  const result: Plan = {
    at: snapshot.at,
    verdicts: verdicts.map(toVerdict),
    transitions: world.transitions,
    changes,
    holds,
    refusals,
    guard,
    quarantined: snapshot.fleet.quarantined,
    wakeAt: verdicts.reduce((soonest, { wakeAt: own }) => earliest(soonest, own), wakeAt),
  };
  assertPlan(world, result);
  return result;
}

/** Both lists in the order of ids, and one walk over them: indexing 50,000 placements takes longer than judging them. */
function placeAll(world: World): Placed {
  const { fleet, placements, retired } = world.snapshot;
  const lastGood = fleet.quarantined.flatMap(({ lastGood: spec }) => (spec === null ? [] : [spec]));
  const specs = inOrder(lastGood.length === 0 ? fleet.processors : [...fleet.processors, ...lastGood], ({ id }) => id);
  const existing = inOrder(placements, ({ processorId }) => processorId);
  const kept = new Set<ProcessorId>(fleet.quarantined.map(({ id }) => id));
  const former = new Map<ProcessorId, Retired>(retired.map((last) => [last.processorId, last]));
  const changes: Change[] = [];
  const holds: Hold[] = [];
  let wakeAt: Instant | null = null;
  for (const [spec, current] of pairs(specs, existing)) {
    if (spec === null) {
      if (!kept.has(current.processorId)) changes.push(remove(current));
      continue;
    }
    // What could never be rendered has no placement; what could keeps one, and may leave a dead node.
    if (current === null && kept.has(spec.id)) continue;
    const verdict = placementOf(world, spec, current, former.get(spec.id) ?? null);
    if (verdict.change !== null) changes.push(verdict.change);
    if (verdict.hold !== null) holds.push(verdict.hold);
    wakeAt = earliest(wakeAt, verdict.wakeAt);
  }
  return { changes, holds, wakeAt };
}

/** As it is, if it is in order already: that takes a tenth of sorting it. */
function inOrder<T>(list: readonly T[], idOf: (item: T) => ProcessorId): readonly T[] {
  const sorted = list.every((item, i) => {
    const next = list[i + 1];
    return next === undefined || idOf(item) < idOf(next);
  });
  return sorted ? list : [...list].sort((a, b) => byText(idOf(a), idOf(b)));
}

/** Each processor with its placement, where it has one, and each placement whose processor is gone; in the order of both lists. */
function* pairs(specs: readonly ProcessorSpec[], placements: readonly Placement[]): Generator<readonly [ProcessorSpec, Placement | null] | readonly [null, Placement]> {
  let at = 0;
  for (const spec of specs) {
    let current = placements[at];
    while (current !== undefined && current.processorId !== spec.id && current.processorId < spec.id) {
      yield [null, current];
      current = placements[++at];
    }
    const own = current?.processorId === spec.id ? current : null;
    if (own !== null) at += 1;
    yield [spec, own];
  }
  for (const gone of placements.slice(at)) yield [null, gone];
}

function remove(current: Placement): Change {
  return { kind: 'remove', processorId: current.processorId, before: current, after: null, reason: 'row-removed', evidence: {}, rejected: [] };
}

/** An empty answer where the fleet was full is a broken query or a wrong database until a person says otherwise. */
function refuse({ fleet, placements, approvals }: Snapshot): readonly Refusal[] {
  const empty = fleet.processors.length === 0 && fleet.quarantined.length === 0;
  if (!empty || placements.length === 0 || approvals.some(({ subject }) => subject === 'empty-result')) return [];
  return [{ subject: 'empty-result', reason: 'empty-result', evidence: { table: 'processors', before: placements.length } }];
}

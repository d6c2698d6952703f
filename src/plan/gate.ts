import { byText, type ProcessorId } from '../model/ids.ts';
import { specsOf, type Change, type GuardVerdict, type Hold } from '../model/plan.ts';
import { earliest, elapsed, type Instant } from '../model/time.ts';
import { overRate } from './bucket.ts';
import { overBudget } from './budget.ts';
import { freshGrace } from './clocks.ts';
import { assertGate } from './gate-invariants.ts';
import { locked } from './locks.ts';
import { policyOf } from './policy.ts';
import { letGo, trustsSignals, type Restraint, type Scene } from './restraint.ts';
import type { World } from './world.ts';

/** What was decided for each processor. */
export interface Placed {
  /** Sorted by processor. */
  readonly changes: readonly Change[];
  /** Sorted by processor. */
  readonly holds: readonly Hold[];
  readonly wakeAt: Instant | null;
}

/**
 * What of it may happen now. Rules for one change come first, in this order; of those that none of them restrains, the
 * most urgent ones go, as far as the guard's rate and the change budget let them. What may not go is a hold that says
 * what was decided: nothing is forgotten, and the next cycle decides anew.
 */
export function gate(world: World, guard: GuardVerdict, placed: Placed): Placed {
  if (placed.changes.length === 0) return placed;
  const scene: Scene = { world, guard, specs: specsOf(world.snapshot.fleet, placed.changes) };
  const restraints = restrain(scene, placed.changes);
  const gated = restraints.size === 0 ? placed : withhold(placed, restraints);
  assertGate(scene, placed, gated);
  return gated;
}

type Rule = (scene: Scene, change: Change) => Restraint | null;

/** Each answers null or what speaks against a change now; the first one counts. */
const rules: readonly Rule[] = [paused, locked, frozen, freshGrace];

function restrain(scene: Scene, changes: readonly Change[]): ReadonlyMap<ProcessorId, Restraint> {
  const restraints = new Map<ProcessorId, Restraint>();
  for (const change of changes) {
    for (const rule of rules) {
      const restraint = rule(scene, change);
      if (restraint === null) continue;
      restraints.set(change.processorId, restraint);
      break;
    }
  }
  const urgency = urgencyIn(scene);
  for (const share of [overRate, overBudget]) {
    const free = changes.filter(({ processorId }) => !restraints.has(processorId));
    for (const [id, restraint] of share(scene, free, urgency)) restraints.set(id, restraint);
  }
  return restraints;
}

/** Everything waits, what is new and what is edited too: a person wants to see nothing move. */
function paused({ world }: Scene): Restraint | null {
  const { paused: pause } = world.snapshot.pause;
  return pause === null ? null : { reason: 'paused', evidence: { by: pause.by, why: pause.reason }, needsPerson: true, wakeAt: null };
}

function frozen(scene: Scene, change: Change): Restraint | null {
  const { guard, world } = scene;
  if (guard.state !== 'panic' || !trustsSignals(change) || letGo(scene, change)) return null;
  const evidence = { guard: guard.reason, sinceMs: elapsed(guard.since, world.snapshot.at) };
  return { reason: 'guard-frozen', evidence, needsPerson: true, wakeAt: null };
}

/** Higher priority first; among equals by identity, so that every instance lets the same ones go. */
function urgencyIn({ world, specs }: Scene): (a: Change, b: Change) => number {
  const priorities = new Map([...specs].map(([id, spec]) => [id, policyOf(world, spec).priority]));
  const priority = ({ processorId }: Change): number => priorities.get(processorId) ?? 0;
  return (a, b) => priority(b) - priority(a) || byText(a.processorId, b.processorId);
}

function withhold(placed: Placed, restraints: ReadonlyMap<ProcessorId, Restraint>): Placed {
  const changes = placed.changes.filter(({ processorId }) => !restraints.has(processorId));
  const withheld = placed.changes.filter(({ processorId }) => restraints.has(processorId));
  const holds = new Map<ProcessorId, Hold>(placed.holds.map((hold) => [hold.processorId, hold]));
  let { wakeAt } = placed;
  for (const change of withheld) {
    const { processorId, rejected } = change;
    const restraint = restraints.get(processorId);
    if (restraint === undefined) continue;
    const { reason, evidence, needsPerson } = restraint;
    wakeAt = earliest(wakeAt, restraint.wakeAt);
    // A processor that is held anyway stays so for its own reason, which is the graver one.
    const own = holds.get(processorId);
    holds.set(processorId, own === undefined ? { processorId, reason, evidence, rejected, needsPerson, withheld: change } : { ...own, withheld: change });
  }
  return { changes, holds: [...holds.values()].sort((a, b) => byText(a.processorId, b.processorId)), wakeAt };
}

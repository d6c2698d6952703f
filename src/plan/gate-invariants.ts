import { spending } from '../model/budget.ts';
import type { Change } from '../model/plan.ts';
import { allowedOf } from './budget.ts';
import type { Placed } from './gate.ts';
import { endOf, locksOn } from './locks.ts';
import { letGo, trustsSignals, type Scene } from './restraint.ts';

/** What must hold of whatever comes through the gate. A breach is a bug in this program, so it throws before anything is written. */
export function assertGate(scene: Scene, placed: Placed, gated: Placed): void {
  const { snapshot } = scene.world;
  const { changes, holds } = gated;
  const withheld = holds.reduce((sum, hold) => sum + (hold.withheld === null ? 0 : 1), 0);
  if (changes.length + withheld !== placed.changes.length) throw new Error('invariant: a change got lost at the gate, or came from nowhere');
  if (snapshot.pause.paused !== null && changes.length > 0) throw new Error('invariant: changes while automation is paused');
  for (const change of changes) {
    if (scene.guard.state === 'panic' && trustsSignals(change) && !letGo(scene, change)) fail(change, 'goes on in a panic');
    if (locksOn(scene, change).some((lock) => endOf(lock, snapshot.at) === null)) fail(change, 'touches what is locked');
  }
  const spent = changes.filter((change) => spending(change) !== null && !scene.world.approved('budget', change.processorId)).length;
  if (spent > 0 && spent + snapshot.spent > allowedOf(snapshot)) throw new Error('invariant: more changes than the budget allows');
}

function fail({ processorId, kind }: Change, what: string): never {
  throw new Error(`invariant: ${kind} of processor ${processorId} ${what}`);
}

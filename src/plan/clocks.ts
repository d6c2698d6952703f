import type { Change } from '../model/plan.ts';
import { after, elapsed, type Instant } from '../model/time.ts';
import { endOf, locksOn } from './locks.ts';
import { letGo, trustsSignals, type Restraint, type Scene } from './restraint.ts';

/**
 * A rule of the gate: after automation was off for a change (paused, in panic, locked), what nodes said meanwhile is looked
 * at for as long as it takes to miss a heartbeat, and a way home for as long as a node must be steady.
 */
export function freshGrace(scene: Scene, change: Change): Restraint | null {
  if (!trustsSignals(change) || letGo(scene, change)) return null;
  const began = lastBeginning(scene, change);
  if (began === null) return null;
  const { at, policy } = scene.world.snapshot;
  const graceMs = change.reason === 'node-recovered' ? policy.stabilityWindow : policy.heartbeatStale;
  const sinceMs = elapsed(began.at, at);
  if (sinceMs >= graceMs) return null;
  return { reason: 'fresh-grace', evidence: { why: began.why, sinceMs, graceMs }, needsPerson: false, wakeAt: after(began.at, graceMs) };
}

/** When automation was last let at this processor again; null if it always was. */
function lastBeginning(scene: Scene, change: Change): { readonly at: Instant; readonly why: string } | null {
  const { pause, at } = scene.world.snapshot;
  const beginnings = [
    { at: pause.resumedAt, why: 'paused' },
    { at: scene.guard.leftPanicAt, why: 'panic' },
    ...locksOn(scene, change).map((lock) => ({ at: endOf(lock, at), why: 'maintenance' })),
  ];
  let last: { readonly at: Instant; readonly why: string } | null = null;
  for (const { at: moment, why } of beginnings) {
    if (moment !== null && (last === null || moment > last.at)) last = { at: moment, why };
  }
  return last;
}

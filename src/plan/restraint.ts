import type { ProcessorSpec } from '../model/fleet.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Change, GuardVerdict } from '../model/plan.ts';
import { failureReasons, type Evidence, type ReasonCode } from '../model/reasons.ts';
import type { Instant } from '../model/time.ts';
import type { World } from './world.ts';

/** What keeps a change from happening now. */
export interface Restraint {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly needsPerson: boolean;
  /** When time alone may end it; null if it can't. */
  readonly wakeAt: Instant | null;
}

/** What the rules of the gate ask. */
export interface Scene {
  readonly world: World;
  readonly guard: GuardVerdict;
  /** Of the processors that are to change; none where the row is gone. */
  readonly specs: ReadonlyMap<ProcessorId, ProcessorSpec>;
}

/**
 * Whether a change trusts what nodes say or don't say: then it is worth as much as our ears. What was proved to have
 * stopped by other means than silence is only brought to its end.
 */
export function trustsSignals({ kind, reason, before, evidence }: Change): boolean {
  if (kind === 'place') return !['first-placement', 'node-decommissioned', 'added-again'].includes(reason);
  if (kind !== 'stop' && kind !== 'move') return false;
  if (evidence['fence'] === 'fence-silent') return true;
  if (before?.phase === 'stopping' && typeof evidence['fence'] === 'string') return false;
  return failureReasons.has(reason) || reason === 'node-recovered';
}

/** A person looked at what the guard held back, this among it: neither the guard nor its clocks hold it any longer. */
export function letGo({ world }: Scene, { processorId }: Change): boolean {
  return world.approved('guard', processorId);
}

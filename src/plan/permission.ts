import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { Instant } from '../model/time.ts';
import type { Subject } from './eligible.ts';
import { agentOf } from './fence.ts';
import type { NodeHealth } from './health.ts';
import { isWithin, nextBegin, timeOfDay } from './policy.ts';
import type { World } from './world.ts';

/** Why a processor stays where it is, although it would go. */
export interface Kept {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly needsPerson: boolean;
  readonly wakeAt: Instant | null;
}

/**
 * Whether facts and policy let a processor leave its failed node; null if they do. A person's `dory approve move/ID` goes
 * over its policy, and over nothing else.
 */
export function keptThere({ world, spec, policy, current }: Subject, source: NodeHealth): Kept | null {
  if (!source.sure) return { reason: source.reason, evidence: source.evidence, needsPerson: false, wakeAt: null };
  const approve = `move/${spec.id}`;
  if (world.approved(approve, spec.id)) return null;
  const { name: node } = source.node;
  if (policy.onFailure === 'hold') return kept('policy-hold', { node }, false);
  if (policy.onFailure === 'manual') return kept('policy-manual', { node, approve }, true);
  if (source.verdict !== 'detached') return null;
  if (policy.writerAlive === 'hold') return kept('writer-alive-held', { node }, false);
  // Behind a kubelet that is cut off only its lease could prove its end: who has none would be stopped for nothing.
  const held = policy.unfenced === 'hold' && !honoursLeases(world, current);
  return held ? kept('writer-alive-held', { node, approve }, false) : null;
}

/** Whether policy lets a processor that fled go home now; null if it does. `dory approve failback/ID` goes over it. */
export function keptAway({ world, spec, policy, home }: Subject): Kept | null {
  const { at } = world.snapshot;
  const approve = `failback/${spec.id}`;
  if (policy.failback === 'auto' || world.approved(approve, spec.id)) return null;
  const node = home?.node.name ?? 'home';
  const window = policy.failback === 'window' ? policy.failbackWindow : null;
  if (window === null) return kept('failback-manual', { node, approve }, true);
  if (isWithin(window, at)) return null;
  const evidence = { node, from: timeOfDay(window.fromMinute), to: timeOfDay(window.toMinute) };
  return { ...kept('failback-window', evidence, false), wakeAt: nextBegin(window, at) };
}

function honoursLeases(world: World, placement: Subject['current']): boolean {
  return placement !== null && typeof agentOf({ world, placement })?.leaseUntil === 'number';
}

function kept(reason: ReasonCode, evidence: Evidence, needsPerson: boolean): Kept {
  return { reason, evidence, needsPerson, wakeAt: null };
}

import type { Workload } from '../model/fleet.ts';
import { targetName, type Placement } from '../model/placement.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import { after, elapsed, latest, soonAfter, type Instant, type Millis } from '../model/time.ts';
import type { World } from './world.ts';

/** Whether the pod that was told to stop is known to write no more; only then may a successor start. */
export type Fence =
  | { readonly passed: true; readonly reason: ReasonCode; readonly evidence: Evidence }
  | { readonly passed: false; readonly reason: ReasonCode; readonly evidence: Evidence; readonly needsPerson: boolean; readonly wakeAt: Instant | null };

/**
 * The proofs, strongest first: an operator's word; the agent's own; silence of an agent that
 * was heard before, for as long as a heartbeat takes to be missed and its template may take to stop.
 */
export function fence(world: World, placement: Placement, workload: Workload): Fence {
  const { at, intake } = world.snapshot;
  const target = targetName(placement.target);
  const waitedMs = elapsed(placement.since, at);
  const signals = world.agents.get(placement.processorId);
  if (signals?.epoch !== placement.epoch) {
    throw new Error(`snapshot has no stop signals for processor ${placement.processorId} at epoch ${String(placement.epoch)}`);
  }
  // What was said of an earlier stop of the same epoch, taken back since, proves nothing.
  const ofThisStop = (moment: Instant): boolean => moment >= placement.since;
  if (signals.confirmed !== null && ofThisStop(signals.confirmed.at)) {
    return { passed: true, reason: 'fence-confirmed', evidence: { target, by: signals.confirmed.by } };
  }
  if (signals.acknowledgedAt !== null && ofThisStop(signals.acknowledgedAt)) {
    return { passed: true, reason: 'fence-acknowledged', evidence: { target, waitedMs: elapsed(placement.since, signals.acknowledgedAt) } };
  }
  const waiting = { passed: false, reason: 'waiting-for-fence', evidence: { target, waitedMs }, needsPerson: false, wakeAt: null } as const;
  if (signals.publishedAt === null) return waiting;
  if (!intake.covered) return { ...waiting, reason: 'intake-down', evidence: { detail: intake.detail } };
  if (signals.lastBeatAt === null) return { ...waiting, reason: 'fence-unheard', needsPerson: true };

  const silentSince = latest(latest(signals.lastBeatAt, signals.publishedAt), intake.since);
  const needed = silenceNeeded(world, workload);
  const silentMs = elapsed(silentSince, intake.until);
  if (silentMs >= needed) return { passed: true, reason: 'fence-silent', evidence: { target, silentMs } };
  return { ...waiting, wakeAt: soonAfter(at, after(silentSince, needed)) };
}

function silenceNeeded(world: World, workload: Workload): Millis {
  const { heartbeatStale, fenceMargin } = world.snapshot.policy;
  return Math.max(heartbeatStale, workload.shutdownTimeoutSec * 1000 + fenceMargin) as Millis;
}

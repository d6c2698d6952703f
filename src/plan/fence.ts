import type { Workload } from '../model/fleet.ts';
import { targetName, type Placement } from '../model/placement.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { AgentSignals, ProcessorPolicy, Snapshot } from '../model/snapshot.ts';
import { after, earliest, elapsed, justAfter, latest, millis, soonAfter, type Instant, type Millis } from '../model/time.ts';
import type { NodeHealth } from './health.ts';
import type { World } from './world.ts';

/**
 * What proves that the old pod writes no more; only then may a successor start.
 *
 *   proof         where it counts
 *   confirmed     always: a person vouches for it
 *   acknowledged  its agent said so, of this stop; one that knows no leases: and no kubelet that answers may start it anew
 *   pods gone     the kubelet answers and has none left; what is deleted behind a kubelet that is cut off may still run
 *   lease over    its agent honours leases: it stops by itself, within its stop grace
 *   silent        no lease is known, and no kubelet that answers says that it runs
 *
 * Silence, and the word, of an agent that knows no leases are no proof for certain: it may only be cut off, and what ended by itself
 * its kubelet starts anew. A move that rests on them says that it is `unfenced`, as one off a lost node does; policy may hold it.
 *
 * A stop that no commit carries yet was told to nobody, so nothing that looks like its end is one: with the Git host down,
 * no live writer is replaced. Time counts only while a beat, or a lease, would have been stored.
 */
export type Proof =
  | { readonly passed: true; readonly evidence: Evidence }
  | { readonly passed: false; readonly reason: ReasonCode; readonly evidence: Evidence; readonly needsPerson: boolean; readonly wakeAt: Instant | null };

/** One placement that should end. */
export interface Leaving {
  readonly world: World;
  readonly placement: Placement;
  readonly workload: Workload;
  /** The health of its node; null on the managed pool, and where the node has no row any more. */
  readonly source: NodeHealth | null;
}

type FencePolicy = Pick<ProcessorPolicy, 'unfenced'>;

/** A stop that a commit carries. */
interface PublishedStop extends Leaving {
  readonly signals: AgentSignals;
  readonly publishedAt: Instant;
  readonly policy: FencePolicy;
}

/** Of a placement that is stopping. */
export function stopFence(leaving: Leaving, policy: FencePolicy): Proof {
  const { world: { snapshot }, placement } = leaving;
  const signals = agentOf(leaving);
  if (signals === null) {
    throw new Error(`snapshot has no stop signals for processor ${placement.processorId} at epoch ${String(placement.epoch)}`);
  }
  const target = targetName(placement.target);
  const waitedMs = elapsed(placement.since, snapshot.at);
  if (signals.confirmed !== null && signals.confirmed.at >= placement.since) return passed('fence-confirmed', { target, by: signals.confirmed.by });
  if (signals.publishedAt === null) return waiting('waiting-for-fence', { target, waitedMs }, null);
  // What was said of an earlier stop of the same epoch, taken back since, proves nothing.
  const stop = { ...leaving, signals, publishedAt: signals.publishedAt, policy };
  if (signals.acknowledgedAt !== null && signals.acknowledgedAt >= placement.since && isLast(stop)) {
    return passed('fence-acknowledged', { target, waitedMs: elapsed(placement.since, signals.acknowledgedAt), ...uncertain(signals) });
  }
  if (podsAreGone(leaving, signals, signals.publishedAt)) return passed('fence-pods-gone', { target, waitedMs });
  return byTime(stop);
}

/** What time alone can prove; and for what it can't within the bound, a person is called. */
function byTime(stop: PublishedStop): Proof {
  const { world: { snapshot: { at, policy } }, placement, publishedAt } = stop;
  const found = silenceOf(stop);
  if (found.passed || found.needsPerson) return found;
  const waitedMs = elapsed(publishedAt, at);
  if (waitedMs <= policy.fenceBound) return { ...found, wakeAt: earliest(found.wakeAt, justAfter(publishedAt, policy.fenceBound)) };
  const evidence = { target: targetName(placement.target), waitedMs, boundMs: policy.fenceBound };
  return { ...found, reason: 'fence-overdue', evidence, needsPerson: true };
}

/** The lease of an agent that has one, the silence of one that has none. */
function silenceOf(stop: PublishedStop): Proof {
  const { world: { snapshot }, placement, workload, signals, publishedAt } = stop;
  const { at, intake, policy } = snapshot;
  const target = targetName(placement.target);
  const stopping = { target, waitedMs: elapsed(placement.since, at) };
  if (!intake.covered) return waiting('intake-down', { ...stopping, detail: intake.detail }, null);
  const lease = leaseEnd(snapshot, signals, workload);
  if (lease !== null) {
    const overMs = elapsed(lease, intake.until);
    return overMs > 0 ? passed('fence-lease-over', { target, overMs }) : waiting('waiting-for-fence', stopping, soonAfter(at, justAfter(lease, millis(0))));
  }
  if (kubeletMayRunIt(stop)) return waiting('waiting-for-fence', stopping, null);
  if (signals.lastBeatAt === null) return { ...waiting('fence-unheard', stopping, null), needsPerson: true };
  if (stop.policy.unfenced === 'hold') return unfencedHeld(target);
  const since = latest(latest(signals.lastBeatAt, publishedAt), intake.since);
  const needed = millis(Math.max(policy.heartbeatStale, stopTime(snapshot, workload)));
  const silentMs = elapsed(since, intake.until);
  return silentMs >= needed ? passed('fence-silent', { target, silentMs, ...uncertain(signals) }) : waiting('waiting-for-fence', stopping, soonAfter(at, after(since, needed)));
}

/**
 * Of an active placement on a lost node: neither its agent nor its kubelet can be told to stop. One that honours leases
 * stops by itself. Of all others only the threshold is known, and policy says whether that is enough: then it is `unfenced`.
 */
export function lossFence(leaving: Leaving, source: NodeHealth, { unfenced }: FencePolicy): Proof {
  const { world: { snapshot }, placement, workload } = leaving;
  const { at, intake, policy } = snapshot;
  const node = source.node.name;
  const signals = agentOf(leaving);
  const target = targetName(placement.target);
  const said = signals?.confirmed ?? null;
  if (said !== null && said.at >= latest(placement.since, source.since)) return passed('fence-confirmed', { target, by: said.by });
  if (!intake.covered) return waiting('intake-down', { node, detail: intake.detail }, null);
  const lease = signals === null ? null : leaseEnd(snapshot, signals, workload);
  if (lease !== null) {
    const overMs = elapsed(lease, intake.until);
    if (overMs > 0) return passed('fence-lease-over', { target, overMs });
    return waiting('waiting-for-lease', { node, leftMs: 0 - overMs }, soonAfter(at, justAfter(lease, millis(0))));
  }
  const beat = signals?.lastBeatAt ?? null;
  const silentSince = beat === null ? null : latest(beat, intake.since);
  if (silentSince !== null && elapsed(silentSince, intake.until) <= policy.heartbeatStale) {
    const evidence = { node, staleMs: elapsed(silentSince, intake.until), thresholdMs: policy.heartbeatStale };
    return waiting('not-yet-stale', evidence, soonAfter(at, justAfter(silentSince, policy.heartbeatStale)));
  }
  if (unfenced === 'hold') return unfencedHeld(node);
  return { passed: true, evidence: { unfenced: true } };
}

/** Of its own epoch; null where the snapshot has none. */
export function agentOf({ world, placement }: Pick<Leaving, 'world' | 'placement'>): AgentSignals | null {
  const signals = world.agents.get(placement.processorId);
  return signals?.epoch === placement.epoch ? signals : null;
}

/**
 * When an agent that honours leases has stopped for certain; null if it never proved that it does. A receiver that could
 * not store a beat answered it without a lease, which some agent may have taken for leave to go on: so each lease is
 * counted as if it was given at the beginning of unbroken intake, or later.
 */
export function leaseEnd(snapshot: Snapshot, { leaseUntil }: AgentSignals, workload: Workload): Instant | null {
  const { intake, policy } = snapshot;
  if (leaseUntil === null) return null;
  const given = intake.covered ? latest(leaseUntil, after(intake.since, policy.lease)) : leaseUntil;
  return after(given, stopTime(snapshot, workload));
}

/** What a template may take to stop, and what clocks and requests on their way may add. */
function stopTime({ policy }: Snapshot, { shutdownTimeoutSec }: Workload): Millis {
  return millis(shutdownTimeoutSec * 1000 + policy.fenceMargin);
}

/** Whether its word stands, as policy has it for one without leases: what ends by itself its kubelet starts anew, until it is told that nobody wants it any more. */
function isLast(stop: PublishedStop): boolean {
  return stop.signals.leaseUntil !== null || (stop.policy.unfenced === 'replace' && !kubeletMayRunIt(stop));
}

function unfencedHeld(node: string): Proof {
  return { ...waiting('unfenced-held', { node }, null), needsPerson: true };
}

function uncertain({ leaseUntil }: AgentSignals): Evidence {
  return leaseUntil === null ? { unfenced: true } : {};
}

function podsAreGone({ placement, source }: Leaving, { pods }: AgentSignals, publishedAt: Instant): boolean {
  if (!pods.known || pods.value !== 'gone' || pods.at < publishedAt) return false;
  return placement.target.kind === 'managed' || source?.kubernetes.state === 'ready';
}

/** The cluster is asked for its pods, and no kubelet is known to be cut off: it is for the pods to be gone. */
function kubeletMayRunIt({ placement, source, signals: { pods } }: PublishedStop): boolean {
  if (!pods.known) return pods.because === 'watch-down';
  if (placement.target.kind === 'managed' || source === null) return true;
  return source.kubernetes.state !== 'not-ready' && source.kubernetes.state !== 'none';
}

function passed(reason: ReasonCode, evidence: Evidence): Proof {
  return { passed: true, evidence: { ...evidence, fence: reason } };
}

function waiting(reason: ReasonCode, evidence: Evidence, wakeAt: Instant | null): Extract<Proof, { passed: false }> {
  return { passed: false, reason, evidence, needsPerson: false, wakeAt };
}

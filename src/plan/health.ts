import type { EdgeNode } from '../model/fleet.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { Intake, NodeSignals, NodeVerdict, Policy, Verdict } from '../model/snapshot.ts';
import { after, earliest, elapsed, justAfter, latest, millis, soonAfter, type Instant } from '../model/time.ts';

/**
 * The verdict on one edge node, from its heartbeats.
 *
 *   (none) ──first beat──▶ healthy ──silent too long──▶ lost ──beat──▶ returning ──steady for the window──▶ healthy
 *                             ▲                           ▲                │ ▲
 *                             │                           │            gap │ │ beat
 *                             └──── (never: through returning) ─────  unknown ──silent too long──▶ lost
 *
 * `unknown`: silent, but nobody can tell yet: receivers were not up long enough, or a returning node paused. Nothing
 * moves on it. A node that has never beaten is `unknown` too, keeps no record, and its first beat makes it healthy.
 * `lost` ends only by a beat; `decommissioned` only by the operator. `since` is the start of the unbroken verdict.
 */
export interface NodeHealth extends NodeVerdict {
  readonly node: EdgeNode;
  /** When time alone could change the verdict; null if only a beat or a person can. */
  readonly wakeAt: Instant | null;
}

interface Finding {
  readonly verdict: Verdict;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly wakeAt: Instant | null;
}

interface Facts {
  readonly node: EdgeNode;
  readonly signals: NodeSignals;
  readonly intake: Intake;
  readonly policy: Policy;
  readonly at: Instant;
}

export function nodeHealth(facts: Facts): NodeHealth {
  const { node, signals, at } = facts;
  const found = judge(facts);
  const since = signals.recorded?.verdict === found.verdict ? signals.recorded.since : at;
  return { node, nodeId: node.id, since, flaps: signals.recorded?.flaps ?? 0, ...found };
}

function judge(facts: Facts): Finding {
  const { node, signals, policy, at } = facts;
  const name = { node: node.name };
  if (node.decommissioned) {
    return { verdict: 'decommissioned', reason: 'node-decommissioned', evidence: name, wakeAt: null };
  }
  if (!signals.heartbeat.known) {
    return { verdict: 'unknown', reason: 'never-reported', evidence: name, wakeAt: null };
  }
  const beat = signals.heartbeat.at;
  // A node in doubt has to beat without a break; one in good standing has the whole threshold.
  const trusted = signals.recorded === null || signals.recorded.verdict === 'healthy';
  const limit = trusted ? policy.heartbeatStale : policy.heartbeatGap;
  return elapsed(beat, at) <= limit ? judgeFresh(facts, beat) : judgeSilent(facts, beat);
}

function judgeFresh({ node, signals, policy, at }: Facts, beat: Instant): Finding {
  const evidence = { node: node.name, ageMs: elapsed(beat, at) };
  const before = signals.recorded;
  const healthy: Finding = { verdict: 'healthy', reason: 'heartbeat-fresh', evidence, wakeAt: justAfter(beat, policy.heartbeatStale) };
  if (before === null || before.verdict === 'healthy') return healthy;

  const steadyMs = before.verdict === 'returning' ? elapsed(before.since, at) : 0;
  if (steadyMs >= policy.stabilityWindow) return healthy;
  return {
    verdict: 'returning',
    reason: 'returning',
    evidence: { ...evidence, steadyMs, windowMs: policy.stabilityWindow },
    wakeAt: earliest(after(at, millis(policy.stabilityWindow - steadyMs)), justAfter(beat, policy.heartbeatGap)),
  };
}

function judgeSilent({ node, signals, intake, policy, at }: Facts, beat: Instant): Finding {
  const thresholdMs = policy.heartbeatStale;
  const name = { node: node.name, thresholdMs };
  if (signals.recorded?.verdict === 'lost') {
    return { verdict: 'lost', reason: 'heartbeat-stale', evidence: { ...name, staleMs: elapsed(beat, at) }, wakeAt: null };
  }
  if (!intake.covered) {
    return { verdict: 'unknown', reason: 'intake-down', evidence: { ...name, detail: intake.detail }, wakeAt: null };
  }
  // Silence counts only while a beat would have been stored.
  const silentSince = latest(beat, intake.since);
  const staleMs = Math.max(0, elapsed(silentSince, intake.until));
  if (staleMs > thresholdMs) {
    return { verdict: 'lost', reason: 'heartbeat-stale', evidence: { ...name, staleMs }, wakeAt: null };
  }
  return { verdict: 'unknown', reason: 'not-yet-stale', evidence: { ...name, staleMs }, wakeAt: soonAfter(at, justAfter(silentSince, thresholdMs)) };
}

/** Whether `dory.node_verdicts` must be told. A node that never reported has no record, and needs none. */
export function isTransition(health: NodeHealth, signals: NodeSignals): boolean {
  if (signals.recorded === null) return health.reason !== 'never-reported';
  return signals.recorded.verdict !== health.verdict;
}

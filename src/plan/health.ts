import type { EdgeNode } from '../model/fleet.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { NodeCondition, NodeSignals, NodeVerdict, Verdict } from '../model/snapshot.ts';
import { after, earliest, elapsed, justAfter, millis, type Instant, type Millis } from '../model/time.ts';
import { flapsAfter, flapsAt, isFailed, steadyWindow } from './flaps.ts';
import { heartbeatColumn, kubernetesColumn, signalEvidence, type HeartbeatColumn, type KubernetesColumn, type NobodyBeats, type SignalFacts } from './signals.ts';

/**
 * The verdict on one edge node, from its heartbeats and its condition in Kubernetes.
 *
 *                  heartbeats fresh      stale                nobody expected to beat      can't tell
 *   Ready          healthy               silent               healthy                      unknown
 *   not ready      detached              lost                 lost, after the grace        unknown
 *   no news        healthy, not sure     unknown              unknown                      unknown
 *   no cluster     healthy               lost                 unknown                      unknown
 *
 *   (none) ──sign of life──▶ healthy ──▶ silent | detached | lost ──sign of life──▶ returning ──steady for its window──▶ healthy
 *
 *   healthy, returning ──the facts don't tell──▶ unknown ──sign of life──▶ returning;  ──they tell──▶ silent | detached | lost
 *
 * `silent`, `detached`, `lost`: failed; processors leave. A failed verdict ends only by a sign of life: while the facts can't
 * tell, it stays as it is, but is not `sure`, and nothing more leaves on account of it. `unknown`: facts are missing, or don't
 * suffice yet; nothing moves from there or to it. A sign of life is a fresh heartbeat; and Ready=True, unless heartbeats
 * contradict it. Of a silent node Ready is no news: it was Ready all the time, and would take its processors in only to lose them
 * again. It is tried once more after the longest window, or when a person has acknowledged its failures. Beside Ready=Unknown or
 * False only a beat that is younger than that condition is one: the last beats of a dead node are no writer that lives. What was never healthy and holds nothing can't be lost: it is unknown.
 * `decommissioned` is the operator's word and ends with it. `since` is the start of the unbroken verdict.
 */
export interface NodeHealth extends NodeVerdict {
  readonly node: EdgeNode;
  /** Whether the facts of now say so. False: it is kept from before, or one of the two signals is missing. */
  readonly sure: boolean;
  readonly heartbeat: HeartbeatColumn;
  readonly kubernetes: KubernetesColumn;
  /** Null without news of the cluster. */
  readonly condition: NodeCondition | null;
  /** How long it must be steady when it is back: by what counts of its flaps now. */
  readonly windowMs: Millis;
  /** When time alone could change the verdict; null if only a signal or a person can. */
  readonly wakeAt: Instant | null;
}

type Finding = Pick<NodeHealth, 'verdict' | 'reason' | 'evidence' | 'sure' | 'wakeAt'>;

export interface HealthFacts extends SignalFacts {
  readonly node: EdgeNode;
}

/** The facts with both columns read. */
interface Case extends HealthFacts {
  readonly beats: HeartbeatColumn;
  readonly cluster: KubernetesColumn;
  /** `node`, and what both signals say. */
  readonly evidence: Evidence;
}

export function nodeHealth(facts: HealthFacts): NodeHealth {
  const { node, signals, occupants, intake, policy, at } = facts;
  const { recorded, kubernetes } = signals;
  const cluster = kubernetesColumn(facts);
  const beats = heartbeatColumn(facts, cluster);
  const { verdict, reason, evidence, sure, wakeAt } = judge({ node, signals, occupants, intake, policy, at, beats, cluster, evidence: signalEvidence(facts, beats) });
  const unbroken = recorded?.verdict === verdict ? recorded : null;
  // Written out, as the line above is: to spread takes ten times as long, for each node of each plan.
  return {
    nodeId: node.id,
    node,
    verdict,
    reason,
    evidence,
    sure,
    wakeAt,
    since: unbroken?.since ?? at,
    flaps: unbroken?.flaps ?? flapsAfter(recorded, verdict, at, policy),
    heartbeat: beats,
    kubernetes: cluster,
    condition: kubernetes.known && cluster.state !== 'down' ? kubernetes.value : null,
    windowMs: steadyWindow(flapsAt(recorded, at, policy), policy),
  };
}

function judge(facts: Case): Finding {
  if (facts.node.decommissioned) {
    return { verdict: 'decommissioned', reason: 'node-decommissioned', evidence: { node: facts.node.name }, sure: true, wakeAt: null };
  }
  switch (facts.cluster.state) {
    case 'ready': return whileReady(facts);
    case 'grace': return untold(facts, 'not-ready-grace', { thresholdMs: facts.policy.notReadyGrace });
    case 'not-ready': return whileNotReady(facts, facts.cluster.since);
    case 'down': return withoutNews(facts, facts.cluster.detail);
    case 'none': return byHeartbeatsAlone(facts);
  }
}

function whileReady(facts: Case): Finding {
  const { beats } = facts;
  switch (beats.state) {
    case 'fresh': return alive(facts, 'heartbeat-fresh');
    case 'stale': return failed(facts, 'silent', 'node-silent');
    case 'none': return stillSilent(facts, beats.why) ?? alive(facts, 'kubernetes-ready');
    case 'blind': return untold(facts, 'intake-down', { detail: beats.detail });
    case 'pending': return stillStarting(facts) ? returning(facts, false) : untold(facts, 'not-yet-stale');
  }
}

/** That nobody on a silent node is expected to beat any more is no sign of life; null where it was not silent, or may be tried again. */
function stillSilent(facts: Case, why: NobodyBeats): Finding | null {
  const { signals: { recorded }, policy, at } = facts;
  if (recorded?.verdict !== 'silent') return null;
  const still = untold(facts, 'beats-not-expected', { why: nobody[why] });
  if (why === 'stopping' || why === 'starting') return still;
  const again = after(recorded.since, policy.longestWindow);
  return recorded.flaps === 0 || at >= again ? null : { ...still, wakeAt: earliest(still.wakeAt, again) };
}

/** The kubelet is back, and its agents have not beaten since: they are given the threshold. */
function stillStarting({ signals: { heartbeat, recorded } }: Case): boolean {
  if (recorded?.verdict === 'returning') return heartbeat.known && heartbeat.at < recorded.since;
  return recorded?.verdict === 'lost' || recorded?.verdict === 'detached';
}

function whileNotReady(facts: Case, since: Instant): Finding {
  const { beats, signals: { heartbeat }, policy } = facts;
  switch (beats.state) {
    case 'fresh': {
      if (heartbeat.known && heartbeat.at > since) return failed(facts, 'detached', 'node-detached');
      // Its last beat before it went: once that is stale, it is lost.
      const stale = heartbeat.known ? justAfter(heartbeat.at, policy.heartbeatStale) : null;
      return { ...untold(facts, 'not-yet-stale', { staleMs: facts.evidence['ageMs'] ?? 0 }), wakeAt: earliest(beats.wakeAt, stale) };
    }
    case 'stale': return failed(facts, 'lost', 'node-dead');
    case 'none': return byClusterAlone(facts, since, beats.why);
    case 'blind': return untold(facts, 'intake-down', { detail: beats.detail });
    case 'pending': return untold(facts, 'not-yet-stale');
  }
}

/** Not ready, and no heartbeat to be missed. */
function byClusterAlone(facts: Case, since: Instant, why: NobodyBeats): Finding {
  const { signals: { heartbeat, recorded }, policy, at, intake } = facts;
  const evidence = { thresholdMs: policy.notReadyGrace, heartbeats: nobody[why] };
  const inGrace = elapsed(since, at) <= policy.notReadyGrace;
  if (inGrace) return { ...untold(facts, 'not-ready-grace', evidence), wakeAt: justAfter(since, policy.notReadyGrace) };
  const wasWell = heartbeat.known || (recorded !== null && recorded.verdict !== 'unknown');
  if (!intake.covered) return untold(facts, 'intake-down', { detail: intake.detail });
  if (wasWell) return failed(facts, 'lost', 'node-not-ready', evidence);
  // It was never seen in good health: it may be joining. What was placed there is owed its start-up grace.
  const placed = facts.occupants().map(({ placement }) => placement.since);
  if (placed.length === 0) return untold(facts, 'never-reported');
  const due = justAfter(Math.min(...placed) as Instant, policy.startupGrace);
  if (at < due) return { ...untold(facts, 'never-reported'), wakeAt: due };
  return failed(facts, 'lost', 'node-not-ready', evidence);
}

function withoutNews(facts: Case, detail: string): Finding {
  const { beats } = facts;
  if (beats.state === 'fresh') return { ...alive(facts, 'kubernetes-unreachable', { detail }), sure: false };
  if (beats.state === 'blind') return untold(facts, 'intake-down', { detail: beats.detail });
  return untold(facts, 'kubernetes-unreachable', { detail });
}

function byHeartbeatsAlone(facts: Case): Finding {
  const { beats, signals: { heartbeat, recorded }, intake } = facts;
  switch (beats.state) {
    case 'fresh': return alive(facts, 'heartbeat-fresh');
    case 'stale': return failed(facts, 'lost', 'heartbeat-stale');
    case 'pending': return untold(facts, 'not-yet-stale');
    case 'blind': return untold(facts, 'intake-down', { detail: beats.detail });
    case 'none':
      // Its processors have left; it stays lost until it beats.
      if (recorded?.verdict === 'lost' && heartbeat.known) return { ...failed(facts, 'lost', 'heartbeat-stale'), sure: intake.covered };
      return beats.why === 'unheard' ? untold(facts, 'never-reported') : untold(facts, 'beats-not-expected', { why: nobody[beats.why] });
  }
}

const nobody = {
  unheard: 'it never sent one',
  empty: 'nothing runs there',
  starting: 'what runs there is starting',
  stopping: 'what ran there was told to stop',
} as const;

/** Both signals, as far as there are two, say that it failed. */
function failed(facts: Case, verdict: 'silent' | 'detached' | 'lost', reason: ReasonCode, more: Evidence = {}): Finding {
  return { verdict, reason, evidence: { ...facts.evidence, ...more }, sure: true, wakeAt: timeOf(facts) };
}

/** The facts can't tell: what had failed is not well for that, and what was well is unknown. */
function untold(facts: Case, reason: ReasonCode, more: Evidence = {}): Finding {
  const before = facts.signals.recorded?.verdict ?? null;
  const verdict: Verdict = before !== null && isFailed(before) ? before : 'unknown';
  return { verdict, reason, evidence: { ...facts.evidence, ...more }, sure: false, wakeAt: timeOf(facts) };
}

/** What was never in doubt is healthy at once; what was has to be steady first. */
function alive(facts: Case, reason: ReasonCode, more: Evidence | null = null): Finding {
  const before = facts.signals.recorded?.verdict ?? 'healthy';
  if (before !== 'healthy') return returning(facts, facts.cluster.state !== 'down');
  return { verdict: 'healthy', reason, evidence: more === null ? facts.evidence : { ...facts.evidence, ...more }, sure: true, wakeAt: timeOf(facts) };
}

/** `complete`: all that speaks for its health is there, so that it can end. */
function returning(facts: Case, complete: boolean): Finding {
  const { signals: { recorded }, policy, at } = facts;
  const windowMs = steadyWindow(flapsAt(recorded, at, policy), policy);
  const steadyMs = recorded?.verdict === 'returning' ? elapsed(recorded.since, at) : 0;
  const evidence = { ...facts.evidence, steadyMs, windowMs };
  if (complete && steadyMs >= windowMs) return { verdict: 'healthy', reason: facts.beats.state === 'fresh' ? 'heartbeat-fresh' : 'kubernetes-ready', evidence, sure: true, wakeAt: timeOf(facts) };
  const steady = complete ? after(at, millis(windowMs - steadyMs)) : null;
  return { verdict: 'returning', reason: 'returning', evidence, sure: true, wakeAt: earliest(steady, timeOf(facts)) };
}

/** When a column changes by itself. */
function timeOf({ beats, cluster }: Case): Instant | null {
  return earliest('wakeAt' in beats ? beats.wakeAt : null, 'wakeAt' in cluster ? cluster.wakeAt : null);
}

/** Whether `dory.node_verdicts` must be told. A node that never reported has no record, and needs none. */
export function isTransition(health: NodeHealth, signals: NodeSignals): boolean {
  if (signals.recorded === null) return health.reason !== 'never-reported';
  return signals.recorded.verdict !== health.verdict;
}

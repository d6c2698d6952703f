import type { EdgeNode } from '../model/fleet.ts';
import type { Evidence } from '../model/reasons.ts';
import type { Placement } from '../model/placement.ts';
import type { AgentSignals, Intake, NodeSignals, Policy } from '../model/snapshot.ts';
import { after, elapsed, instant, justAfter, latest, soonAfter, type Instant } from '../model/time.ts';

/**
 * What each of the two signals says of a node, before they are put together.
 *
 * Heartbeats: `fresh`; `stale`: silent for longer than the threshold, and somebody was expected to beat; `pending`: silent, and
 * not yet for so long; `none`: nobody is expected to beat, so silence says nothing; `blind`: nobody could have heard a beat.
 *
 * A beat is expected of a placement from its agent's first beat on, or from the start-up grace after it was decided. A
 * placement that is stopping was told to fall silent. A node in doubt has to beat without a break (`heartbeatGap`); one in good
 * standing has the whole threshold.
 */
export type HeartbeatColumn =
  | { readonly state: 'fresh'; readonly wakeAt: Instant }
  | { readonly state: 'stale'; readonly staleMs: number }
  | { readonly state: 'pending'; readonly staleMs: number; readonly wakeAt: Instant }
  | { readonly state: 'none'; readonly why: NobodyBeats; readonly wakeAt: Instant | null }
  | { readonly state: 'blind'; readonly detail: string };

/** `unheard`: it never sent one. `empty`: nothing runs there. `starting`: what runs there is not due yet. `stopping`: it was told to stop. */
export type NobodyBeats = 'unheard' | 'empty' | 'starting' | 'stopping';

/**
 * Kubernetes: `ready`; `grace`: Ready=False for no longer than its grace; `not-ready`: longer, or Ready=Unknown, which comes
 * after 40 to 50 s of silence already; `down`: the cluster gives no news; `none`: no cluster, or none that knows the node.
 */
export type KubernetesColumn =
  | { readonly state: 'ready'; readonly since: Instant }
  | { readonly state: 'grace'; readonly since: Instant; readonly wakeAt: Instant }
  | { readonly state: 'not-ready'; readonly since: Instant }
  | { readonly state: 'down'; readonly detail: string }
  | { readonly state: 'none' };

/** A placement on the node, with its agent where the snapshot has it. */
export interface Occupant {
  readonly placement: Placement;
  readonly agent: AgentSignals | null;
}

export interface SignalFacts {
  readonly signals: NodeSignals;
  /** Asked only where the node is silent. */
  readonly occupants: () => readonly Occupant[];
  readonly intake: Intake;
  readonly policy: Policy;
  readonly at: Instant;
}

export function kubernetesColumn({ signals, policy, at }: SignalFacts): KubernetesColumn {
  const { kubernetes } = signals;
  if (!kubernetes.known) return kubernetes.because === 'watch-down' ? { state: 'down', detail: 'its watch is interrupted' } : { state: 'none' };
  const quietMs = elapsed(kubernetes.at, at);
  if (quietMs > policy.intakeFresh) return { state: 'down', detail: `its watch is silent for ${String(Math.round(quietMs / 1000))} s` };
  const { ready, since } = kubernetes.value;
  if (ready === 'true') return { state: 'ready', since };
  const inGrace = ready === 'false' && elapsed(since, at) <= policy.notReadyGrace;
  return inGrace ? { state: 'grace', since, wakeAt: justAfter(since, policy.notReadyGrace) } : { state: 'not-ready', since };
}

export function heartbeatColumn(facts: SignalFacts, kubernetes: KubernetesColumn): HeartbeatColumn {
  const { signals: { heartbeat, recorded }, policy, at } = facts;
  if (!heartbeat.known) return { state: 'none', why: 'unheard', wakeAt: null };
  const trusted = recorded === null || recorded.verdict === 'healthy';
  const limit = trusted ? policy.heartbeatStale : policy.heartbeatGap;
  if (elapsed(heartbeat.at, at) <= limit) return { state: 'fresh', wakeAt: justAfter(heartbeat.at, limit) };
  return silence(facts, kubernetes, heartbeat.at);
}

function silence({ occupants, intake, policy, at }: SignalFacts, kubernetes: KubernetesColumn, beat: Instant): HeartbeatColumn {
  const present = occupants();
  const running = present.filter(({ placement }) => placement.phase === 'active');
  if (running.length === 0) return { state: 'none', why: present.length === 0 ? 'empty' : 'stopping', wakeAt: null };
  const due = running.reduce((first, occupant) => Math.min(first, beatsExpectedFrom(occupant, beat, policy)), Number.POSITIVE_INFINITY);
  const expected = latest(beat, instant(due));
  // Where one was told to fall silent, that another is still starting is no reason to think better of the node.
  const why = running.length < present.length ? 'stopping' : 'starting';
  if (expected > at) return { state: 'none', why, wakeAt: justAfter(expected, policy.heartbeatStale) };
  if (!intake.covered) return { state: 'blind', detail: intake.detail };
  // Silence counts only while a beat would have been stored; and agents on a node that has just become Ready start anew.
  const from = latest(latest(expected, intake.since), kubernetes.state === 'ready' ? kubernetes.since : beat);
  const staleMs = Math.max(0, elapsed(from, intake.until));
  if (staleMs > policy.heartbeatStale) return { state: 'stale', staleMs };
  return { state: 'pending', staleMs, wakeAt: soonAfter(at, justAfter(from, policy.heartbeatStale)) };
}

function beatsExpectedFrom({ placement, agent }: Occupant, nodeBeat: Instant, { startupGrace }: Policy): Instant {
  // A snapshot written by hand tells nothing of agents: then a beat of the node since the placement is its agent's.
  const heard = agent === null ? nodeBeat : agent.lastBeatAt;
  // One from before it was removed and added again says nothing of the pod that starts. A stop that was taken back starts nothing:
  // what was silent before is silent still.
  const counts = heard !== null && (heard >= placement.since || placement.reason === 'move-cancelled');
  return counts ? heard : after(placement.since, startupGrace);
}

/** The node, and what both signals say of it in numbers; only what is known. */
export function signalEvidence({ node, signals: { heartbeat, kubernetes }, policy, at }: SignalFacts & { readonly node: EdgeNode }, beats: HeartbeatColumn): Evidence {
  const evidence: Record<string, string | number> = { node: node.name, thresholdMs: policy.heartbeatStale };
  if (heartbeat.known) {
    evidence['ageMs'] = elapsed(heartbeat.at, at);
    if (beats.state !== 'fresh') evidence['staleMs'] = 'staleMs' in beats ? beats.staleMs : elapsed(heartbeat.at, at);
  }
  if (kubernetes.known) {
    const { ready, since } = kubernetes.value;
    evidence['ready'] = conditionWord[ready];
    evidence[ready === 'true' ? 'readyMs' : 'notReadyMs'] = elapsed(since, at);
  }
  return evidence;
}

/** As Kubernetes writes the status of a condition. */
const conditionWord = { true: 'True', false: 'False', unknown: 'Unknown' } as const;

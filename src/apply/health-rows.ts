import { sentence, type Evidence, type ReasonCode } from '../model/reasons.ts';
import type { Placed, RecordedRollout, Rollout } from '../model/rollout.ts';

/** One placement with all that its roll-out is written by. */
export interface HealthRow extends Placed {
  readonly processorId: string;
  /** `processors.status`. */
  readonly status: string;
  readonly podName: string | null;
  readonly nodeIp: string | null;
  /** Whether `processors.health_status` is our word for what the cluster said, and not an agent's. */
  readonly ours: boolean;
  readonly failures: number;
  /** Whether an agent of this epoch was ever heard. */
  readonly heard: boolean;
  readonly recorded: RecordedRollout | null;
  /** What the evidence of a recorded failure was. */
  readonly evidence: Evidence;
}

/** What is written of one roll-out; null members stay as they are. */
export interface HealthChange {
  readonly processorId: string;
  readonly status: 'starting' | 'running' | null;
  /** Both at once: an address is that of the pod. */
  readonly pod: { readonly name: string | null; readonly ip: string | null } | null;
  readonly health: HealthStatus | null;
  readonly failures: number | null;
  readonly rollout: (Omit<RecordedRollout, 'reason'> & { readonly reason: ReasonCode | null; readonly evidence: Evidence }) | null;
  readonly event: { readonly kind: 'rollout-failed' | 'rollout-recovered'; readonly reason: ReasonCode; readonly evidence: Evidence } | null;
}

/** As the heartbeats write it, and readers of the running system know it, with who said it. */
type HealthStatus =
  | { readonly status: 'healthy'; readonly healthy: true; readonly source: 'kubernetes' }
  | { readonly status: ReasonCode; readonly healthy: false; readonly source: 'kubernetes'; readonly message: string };

/**
 * What of a roll-out is news to the rows; null if nothing is.
 *
 * Agents and the cluster both speak of health, and do not fight for the column: the cluster's word is written once, when a roll-out
 * fails or recovers, and never because the column shows something else. So an agent that beats has the last word with its next
 * beat, and one that can't beat, as its pod is not up, leaves the cluster's word standing. Where an agent of this epoch was heard,
 * that a pod is ready is no news to it. `status` only rises, from pending over starting to running: what failed is told by
 * `health_status`, and what is away from home stays `failover`.
 */
export function changeOf(row: HealthRow, rollout: Rollout): HealthChange | null {
  const turned = rolloutOf(row, rollout);
  const change: HealthChange = {
    processorId: row.processorId,
    status: statusOf(row, rollout),
    pod: podOf(row, rollout),
    health: healthOf(row, rollout, turned !== null),
    failures: failuresOf(row, rollout, turned !== null),
    rollout: turned,
    event: turned === null ? null : eventOf(row, rollout),
  };
  return [change.status, change.pod, change.health, change.failures, change.rollout].every((part) => part === null) ? null : change;
}

function rolloutOf({ epoch, revision, recorded }: HealthRow, rollout: Rollout): HealthChange['rollout'] {
  const { state } = rollout;
  const current = recorded?.epoch === epoch && recorded.revision === revision ? recorded : null;
  if (state === 'failed') {
    const { reason, evidence } = rollout;
    return current?.state === 'failed' && current.reason === reason ? null : { state, epoch, revision, reason, evidence };
  }
  if (state === 'live') return current?.state === 'live' ? null : { state, epoch, revision, reason: null, evidence: {} };
  // What is under way is what is neither live nor failed: a row only where one says otherwise.
  return current?.state === 'failed' ? { state: 'progressing', epoch, revision, reason: null, evidence: { before: beforeOf(current.reason) } } : null;
}

function statusOf({ status, phase }: HealthRow, { state, pod }: Rollout): HealthChange['status'] {
  if (phase === 'stopping' || (status !== 'pending' && status !== 'starting')) return null;
  if (state === 'live') return 'running';
  return status === 'pending' && pod !== null ? 'starting' : null;
}

/** While a pod is replaced, the last one's name stands: it is the next one's too. */
function podOf({ podName, nodeIp, phase }: HealthRow, { state, pod }: Rollout): HealthChange['pod'] {
  const gone = phase === 'stopping' && state === 'live';
  if (pod === null && !gone) return null;
  const [name, ip] = [pod?.name ?? null, pod?.nodeIp ?? null];
  return name === podName && ip === nodeIp ? null : { name, ip };
}

function healthOf({ phase, ours, heard }: HealthRow, rollout: Rollout, turned: boolean): HealthStatus | null {
  if (rollout.state === 'failed' && turned) return { status: rollout.reason, healthy: false, source: 'kubernetes', message: sentence(rollout.reason, rollout.evidence) };
  if (rollout.state !== 'live' || phase === 'stopping') return null;
  return turned && (ours || !heard) ? { status: 'healthy', healthy: true, source: 'kubernetes' } : null;
}

/** At least one for a failure, and one for each restart; none when our own word of it is taken back. */
function failuresOf({ phase, failures, ours, heard }: HealthRow, rollout: Rollout, turned: boolean): number | null {
  if (!turned || phase === 'stopping') return null;
  const restarts = rollout.pod?.restarts ?? 0;
  const wanted = rollout.state === 'failed' ? Math.max(failures, restarts, 1) : rollout.state === 'live' && (ours || !heard) ? 0 : failures;
  return wanted === failures ? null : wanted;
}

/** Recovery is told when it is certain, and by what is over. */
function eventOf({ recorded, evidence }: HealthRow, rollout: Rollout): HealthChange['event'] {
  if (rollout.state === 'failed') return { kind: 'rollout-failed', reason: rollout.reason, evidence: rollout.evidence };
  const before = recorded?.state === 'failed' ? recorded.reason : recorded?.state === 'progressing' ? evidence['before'] : null;
  if (rollout.state !== 'live' || rollout.pod === null || typeof before !== 'string') return null;
  return { kind: 'rollout-recovered', reason: 'pod-recovered', evidence: { pod: rollout.pod.name, node: rollout.pod.node ?? '?', before } };
}

const beforeOf = (reason: string | null): string => reason ?? '?';

import type { Target } from './placement.ts';
import { formatMillis, millis } from './time.ts';

/**
 * Why something was decided, held or rejected: one table of codes, each with the sentence made from its evidence.
 * Tests and machines compare codes; sentences are for people, and no two codes share one.
 */
export type Evidence = Readonly<Record<string, string | number | boolean | null>>;

export interface Rejection {
  readonly target: Target;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

const age = (e: Evidence, key: string): string => formatMillis(millis(Number(e[key] ?? 0)));
const text = (e: Evidence, key: string): string => String(e[key] ?? '?');

const sentences = {
  // Placements
  'first-placement': (e) => `first placement on ${text(e, 'target')}`,
  'heartbeat-stale': (e) => `${text(e, 'node')} is lost: heartbeat stale ${age(e, 'staleMs')} (threshold ${age(e, 'thresholdMs')})`,
  'node-dead': (e) => `${text(e, 'node')} is lost: heartbeat stale ${age(e, 'staleMs')} (threshold ${age(e, 'thresholdMs')}), Ready=${text(e, 'ready')} for ${age(e, 'notReadyMs')}`,
  'node-not-ready': (e) => `${text(e, 'node')} is lost: Ready=${text(e, 'ready')} for ${age(e, 'notReadyMs')} (threshold ${age(e, 'thresholdMs')}), and no heartbeat of it is expected: ${text(e, 'heartbeats')}`,
  'node-silent': (e) => `${text(e, 'node')} is Ready, but its heartbeats are stale ${age(e, 'staleMs')} (threshold ${age(e, 'thresholdMs')})`,
  'node-detached': (e) => `${text(e, 'node')} beats (last ${age(e, 'ageMs')} ago), but is Ready=${text(e, 'ready')} for ${age(e, 'notReadyMs')}`,
  'node-decommissioned': (e) => `${text(e, 'node')} is decommissioned`,
  'node-recovered': (e) => `${text(e, 'node')} is back and steady for ${age(e, 'steadyMs')}`,
  'added-again': (e) => `it was removed and added again, and may still run on ${text(e, 'target')}`,
  'home-changed': (e) => `its home is now ${text(e, 'home')}`,
  'renamed': (e) => `its slug or namespace changed: on ${text(e, 'target')} it stops under the old name before it starts under the new one`,
  'move-cancelled': (e) => `${text(e, 'node')} can't take it after all; it stays on ${text(e, 'target')}`,
  'spec-changed': (e) => `changed: ${text(e, 'changed')}`,
  'secrets-rotated': (e) => `credentials were replaced (${text(e, 'versions')})`,
  'row-removed': () => 'its row is gone, terminated or failed',
  'handed-back': (e) => `handed back to the system that ran here before, by ${text(e, 'by')}`,
  'epochs-repaired': (e) => `Git shows it at epoch ${text(e, 'seen')}, the database knew ${text(e, 'known')}: what runs was adopted`,
  // Fences: what proved that the old pod writes no more
  'fence-acknowledged': (e) => `stop acknowledged by the agent on ${text(e, 'target')} (${age(e, 'waitedMs')} after the request)`,
  'fence-silent': (e) => `silent on ${text(e, 'target')} for ${age(e, 'silentMs')} after it was told to stop`,
  'fence-pods-gone': (e) => `no pod of it is left on ${text(e, 'target')}, and its StatefulSet is scaled to 0`,
  'fence-lease-over': (e) => `its lease on ${text(e, 'target')} ran out ${age(e, 'overMs')} ago`,
  'fence-confirmed': (e) => `stop on ${text(e, 'target')} confirmed by ${text(e, 'by')}`,
  // Holds: what would happen, and does not
  'no-eligible-target': (e) => `must leave ${text(e, 'node')}, and nothing can take it`,
  'waiting-for-fence': (e) => `stopping on ${text(e, 'target')} since ${age(e, 'waitedMs')}; its agent must stop first`,
  'fence-unheard': (e) => `stopping on ${text(e, 'target')} since ${age(e, 'waitedMs')}, and no heartbeat of it was ever seen; confirm that it stopped`,
  'fence-overdue': (e) => `stopping on ${text(e, 'target')} since ${age(e, 'waitedMs')}, longer than ${age(e, 'boundMs')}; look at its pod, or confirm that it stopped`,
  'waiting-for-lease': (e) => `${text(e, 'node')} is lost, and the lease of its agent is good for ${age(e, 'leftMs')} more, its stop included`,
  'unfenced-held': (e) => `nothing proves that its pod on ${text(e, 'node')} stopped: its agent does not honour leases, and policy holds such processors; confirm that it stopped`,
  'policy-hold': (e) => `${text(e, 'node')} failed, and policy leaves it there until the node is back`,
  'policy-manual': (e) => `${text(e, 'node')} failed, and policy asks a person: dory approve ${text(e, 'approve')}`,
  'writer-alive-held': (e) => `${text(e, 'node')} is not ready, its writer is alive, and policy leaves it there`,
  'failback-manual': (e) => `${text(e, 'node')} is fit again, and policy asks a person: dory approve ${text(e, 'approve')}`,
  'failback-window': (e) => `${text(e, 'node')} is fit again; it goes home from ${text(e, 'from')} to ${text(e, 'to')} UTC`,
  'fresh-grace': (e) => `automation was off until ${age(e, 'sinceMs')} ago (${text(e, 'why')}); it waits ${age(e, 'graceMs')} before it acts on what it sees`,
  'kubernetes-unreachable': (e) => `Kubernetes gives no news of ${text(e, 'node')} (${text(e, 'detail')})`,
  'not-adopted': () => 'a pod that the system before this one started runs it still; dory adopt start takes it over',
  'not-alone': () => 'a pod that the system before this one started runs it beside ours, so that two may write; that system must not run, and dory adopt start deletes its pod',
  'pods-unseen': () => 'the cluster gives no news of its pods, and one that the system before this one started may run it',
  'paused': (e) => `automation is paused by ${text(e, 'by')}: ${text(e, 'why')}`,
  'locked': (e) => `${text(e, 'lock')} is locked by ${text(e, 'owner')} until ${text(e, 'until')}: ${text(e, 'why')}`,
  'guard-frozen': (e) => `the fleet guard has frozen automation for ${age(e, 'sinceMs')}; dory approve guard lets it go`,
  'guard-rate': (e) => `the fleet is degraded: failovers go at ${text(e, 'rate')}/s`,
  'budget-spent': (e) => `${text(e, 'spent')} of ${text(e, 'allowed')} changes of the last ${age(e, 'windowMs')} are spent; the rest waits`,
  'budget-exceeded': (e) => `${text(e, 'wanted')} processors would leave or be removed at once, and ${text(e, 'allowed')} may; dory approve budget lets them`,
  'waiting-for-stability': (e) => `${text(e, 'node')} is back since ${age(e, 'steadyMs')}; moves home after ${age(e, 'windowMs')}`,
  'intake-down': (e) => `no heartbeat receiver was up long enough to tell (${text(e, 'detail')})`,
  'empty-result': (e) => `${text(e, 'table')} returned no row where ${text(e, 'before')} processors are placed; refused as suspicious`,
  'epoch-behind': (e) => `the database knows epoch ${text(e, 'known')}, Git shows ${text(e, 'seen')}: restored from a backup?`,
  // The fleet guard's states
  'guard-calm': (e) => `${text(e, 'failed')} of ${text(e, 'nodes')} nodes failed lately`,
  'guard-site-out': (e) => `site ${text(e, 'site')} is out: ${text(e, 'failed')} of its ${text(e, 'nodes')} nodes failed`,
  'guard-degraded': (e) => `${text(e, 'failed')} of ${text(e, 'nodes')} nodes failed within ${age(e, 'windowMs')}: failovers slow down`,
  'guard-panic': (e) => `${text(e, 'failed')} of ${text(e, 'nodes')} nodes failed within ${age(e, 'windowMs')}: failovers are frozen`,
  'guard-intake-fallen': (e) => `${text(e, 'late')} of ${text(e, 'nodes')} healthy nodes miss their beats: failovers are frozen, the fault may be ours`,
  // Verdicts and rejections of a candidate
  'kubernetes-ready': (e) => `${text(e, 'node')} is Ready for ${age(e, 'readyMs')}`,
  'not-ready-grace': (e) => `${text(e, 'node')} is Ready=${text(e, 'ready')} for ${age(e, 'notReadyMs')}, not yet ${age(e, 'thresholdMs')}`,
  'node-locked': (e) => `${text(e, 'node')} is under maintenance by ${text(e, 'owner')}`,
  'node-tainted': (e) => `${text(e, 'node')} is tainted ${text(e, 'taint')}`,
  'heartbeat-fresh': (e) => `${text(e, 'node')} beats (last ${age(e, 'ageMs')} ago)`,
  'never-reported': (e) => `${text(e, 'node')} has never sent a heartbeat`,
  'beats-not-expected': (e) => `no heartbeat of ${text(e, 'node')} is expected: ${text(e, 'why')}`,
  'not-yet-stale': (e) => `${text(e, 'node')} is silent for ${age(e, 'staleMs')}, not yet ${age(e, 'thresholdMs')}`,
  'returning': (e) => `${text(e, 'node')} shows life again since ${age(e, 'steadyMs')}, not yet steady for ${age(e, 'windowMs')}`,
  'node-missing': (e) => `node ${text(e, 'node')} does not exist`,
  'node-not-healthy': (e) => `${text(e, 'node')} is ${text(e, 'verdict')}`,
  'failover-off-node': (e) => `failover is switched off for node ${text(e, 'node')}`,
  'failover-off-app': (e) => `failover is switched off for ${text(e, 'slug')} on ${text(e, 'node')}`,
  'state-not-portable': (e) => `its state backend is ${text(e, 'backend')}, which stays on the node`,
  'gpu-missing': (e) => `it needs a GPU, and ${text(e, 'target')} has none`,
  'architecture-missing': (e) => `it runs on ${text(e, 'needs')}, and ${text(e, 'target')} has ${text(e, 'has')}`,
  // Roll-outs: why the cluster does not run what was decided
  'image-pull': (e) => `its image can't be pulled on ${text(e, 'node')}: ${text(e, 'words')}`,
  'crash-loop': (e) => `it ends again and again on ${text(e, 'node')}: ${text(e, 'words')}`,
  'out-of-memory': (e) => `it was killed on ${text(e, 'node')} for using more memory than its limit (${text(e, 'words')})`,
  'container-error': (e) => `its container can't be started on ${text(e, 'node')}: ${text(e, 'words')}`,
  'unschedulable': (e) => `no node takes its pod: ${text(e, 'words')}`,
  'quota-exceeded': (e) => `a quota of namespace ${text(e, 'namespace')} keeps its pod from being created: ${text(e, 'words')}`,
  'pod-refused': (e) => `the cluster refuses to create its pod: ${text(e, 'words')}`,
  'pod-over': (e) => `its pod on ${text(e, 'node')} is over: ${text(e, 'words')}`,
  'pod-not-started': (e) => `what its pod needs on ${text(e, 'node')} is not there: ${text(e, 'words')}`,
  'not-ready': (e) => `it is not ready after ${age(e, 'deadlineMs')} (${text(e, 'words')})`,
  'not-applied': (e) => `it was committed more than ${age(e, 'deadlineMs')} ago, and the cluster does not show it`,
  'pod-recovered': (e) => `its pod ${text(e, 'pod')} is ready on ${text(e, 'node')}; it had failed with ${text(e, 'before')}`,
} as const satisfies Record<string, (evidence: Evidence) => string>;

export type ReasonCode = keyof typeof sentences;
/** Why processors leave a node that failed: the fleet guard watches over these, and the change budget leaves them alone. */
export const failureReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['heartbeat-stale', 'node-dead', 'node-not-ready', 'node-silent', 'node-detached']);
export const reasonCodes = Object.keys(sentences) as readonly ReasonCode[];

/** The sentence of a reason, made from its evidence. Names in it come from the database: treat as untrusted text. */
export function sentence(reason: ReasonCode, evidence: Evidence): string {
  return sentences[reason](evidence);
}

import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { LivePod, LiveProcessor, LiveSet, Placed, PodTrouble, RecordedRollout, Rollout, RolloutPolicy } from '../model/rollout.ts';
import { millis, type Millis } from '../model/time.ts';

/** Why a container can't be started, by the kubelet's word for it; what is not here is a `container-error`. */
const imageTroubles: ReadonlySet<string> = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'ImageInspectError', 'RegistryUnavailable', 'SignatureValidationFailed']);
/** These last through the moments in which the container runs. */
const lasting: ReadonlySet<string> = new Set<ReasonCode>(['crash-loop', 'out-of-memory']);
/** These last until there is a pod: the words come seldom, and a process that just began to look has not seen them. */
const lastingPodless: ReadonlySet<string> = new Set<ReasonCode>(['not-ready', 'quota-exceeded', 'pod-refused']);

/**
 * How far the cluster is with a placement, from its StatefulSet and its pod.
 *
 * The StatefulSet of its epoch must show the decision (`dory.io/revision`), its controller must have seen that, and the pod that it
 * made from its newest template must be ready. What the cluster names as trouble is a failure at once, but for a pod that no node
 * takes, or that waits for a volume; what it does not explain is one after the deadline. Nothing follows from a failure but words:
 * Kubernetes tries on.
 */
export function judge(placed: Placed, live: LiveProcessor, recorded: RecordedRollout | null, terms: Terms): Rollout {
  const set = live.sets.find(({ epoch, terminating }) => epoch === placed.epoch && !terminating);
  if (set === undefined || set.revision < placed.revision) return unseen(placed, terms);
  if (placed.phase === 'stopping') return stopping(placed, live, set);
  const failedBefore = recorded?.state === 'failed' && recorded.epoch === placed.epoch && recorded.revision === placed.revision ? recorded.reason : null;
  const found: Found = { set, failedBefore, ...terms };
  const pod = currentPod(live, set);
  if (pod === null) return withoutPod(live, found);
  if (pod.terminating || pod.template === null || pod.template !== set.template) return waiting(pod, pod.since, found);
  return pod.ready ? ready(pod, found) : notReady(pod, found);
}

interface Terms {
  readonly policy: RolloutPolicy;
  /** On the monotonic clock, as `since` of pods and sets. */
  readonly now: Millis;
}

interface Found extends Terms {
  /** The one that shows the decision. */
  readonly set: LiveSet;
  /** Why this very roll-out failed, as it was recorded last; null if it was not failed. */
  readonly failedBefore: string | null;
}

function unseen({ committedMs }: Placed, { policy: { progressDeadline: deadline }, now }: Terms): Rollout {
  if (committedMs === null) return { state: 'pending', pod: null, dueAt: null };
  if (committedMs >= deadline) return failed(null, 'not-applied', { deadlineMs: deadline });
  return { state: 'pending', pod: null, dueAt: millis(now + deadline - committedMs) };
}

/** The same proof as for a fence; how long it may take, `plan` watches. */
function stopping({ epoch }: Placed, { pods }: LiveProcessor, set: LiveSet): Rollout {
  const left = pods.find((pod) => pod.epoch <= epoch) ?? null;
  return set.stopped && left === null ? { state: 'live', pod: null, dueAt: null } : { state: 'progressing', pod: left, dueAt: null };
}

/** One that stays before one that goes, and one of the newest template before others. */
function currentPod({ pods }: LiveProcessor, { epoch, template }: LiveSet): LivePod | null {
  const rank = (pod: LivePod): number => (pod.terminating ? 2 : 0) + (pod.template === template ? 0 : 1);
  const [first = null] = pods.filter((pod) => pod.epoch === epoch).sort((a, b) => rank(a) - rank(b));
  return first;
}

function withoutPod({ refusal, podlessSince }: LiveProcessor, found: Found): Rollout {
  const { set } = found;
  if (!set.short || refusal === null) return waiting(null, podlessSince ?? set.since, found);
  // A quota of what a pod does not name is not exceeded, and keeps it out all the same.
  const isQuota = /(?:exceeded|failed) quota/.test(refusal);
  return failed(null, isQuota ? 'quota-exceeded' : 'pod-refused', { namespace: set.namespace, words: refusal });
}

function ready(pod: LivePod, { failedBefore, policy, now }: Found): Rollout {
  const steadyAt = millis(pod.since + policy.steadyAfterCrash);
  if (failedBefore === null || !lasting.has(failedBefore) || now >= steadyAt) return { state: 'live', pod, dueAt: null };
  return { ...failed(pod, failedBefore as ReasonCode, evidenceOf(pod)), dueAt: steadyAt };
}

function notReady(pod: LivePod, found: Found): Rollout {
  const { trouble } = pod;
  const { failedBefore, policy, now } = found;
  if (trouble === null) return waiting(pod, pod.since, found);
  const restarting = trouble.kind === 'ended' || trouble.kind === 'restarted';
  const reason = restarting && failedBefore !== null && lasting.has(failedBefore) ? (failedBefore as ReasonCode) : codeOf(trouble);
  if (reason === null) return waiting(pod, pod.since, found);
  const graceEnds = millis(pod.since + policy.startGrace);
  if (passing.has(reason) && reason !== failedBefore && now < graceEnds) return { state: 'progressing', pod, dueAt: graceEnds };
  return failed(pod, reason, evidenceOf(pod));
}

/** Each new pod goes through these for a moment, and on a new node for longer. */
const passing: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['unschedulable', 'pod-not-started']);

/** Null: it may well come up by itself. */
function codeOf({ kind, reason }: PodTrouble): ReasonCode | null {
  switch (kind) {
    case 'unscheduled': return 'unschedulable';
    case 'over': return 'pod-over';
    case 'waiting': return imageTroubles.has(reason) ? 'image-pull' : 'container-error';
    case 'looping': return reason === 'OOMKilled' ? 'out-of-memory' : 'crash-loop';
    case 'ended': return reason === 'OOMKilled' ? 'out-of-memory' : null;
    case 'unstarted': return 'pod-not-started';
    case 'restarted':
    case 'unhealthy': return null;
  }
}

/** Not there yet, and nothing says why; at the deadline that is a failure. The time of a new decision begins with it, whatever ran before. */
function waiting(pod: LivePod | null, asItIs: Millis, { set, failedBefore, policy, now }: Found): Rollout {
  const deadline = policy.progressDeadline;
  const dueAt = millis(Math.max(asItIs, set.since) + deadline);
  const words = pod === null ? 'no pod was created' : describe(pod);
  const evidence: Evidence = { ...(pod === null ? {} : evidenceOf(pod)), deadlineMs: deadline, words };
  if (failedBefore !== null && stays(failedBefore, pod)) return { ...failed(pod, failedBefore as ReasonCode, evidence), dueAt: null };
  return now < dueAt ? { state: 'progressing', pod, dueAt } : failed(pod, 'not-ready', evidence);
}

/** Whether what was recorded as this failure is one still, now that nothing says otherwise: how long it lasts, a process that just began to look does not know. */
function stays(failedBefore: string, pod: LivePod | null): boolean {
  if (pod === null) return lastingPodless.has(failedBefore);
  return failedBefore === 'not-ready' || (failedBefore === 'pod-not-started' && pod.trouble === null);
}

function describe({ name, node, terminating, trouble }: LivePod): string {
  if (terminating) return `${name} is being deleted`;
  if (trouble !== null) return wordsOf(trouble);
  return node === null ? `${name} waits for a node` : `${name} is on ${node}`;
}

function evidenceOf({ namespace, name, node, restarts, trouble }: LivePod): Evidence {
  return { namespace, pod: name, node: node ?? 'no node', restarts, ...(trouble === null ? {} : { cluster: trouble.reason, words: wordsOf(trouble) }) };
}

const wordsOf = ({ reason, words }: PodTrouble): string => (words === '' ? reason : words);

function failed(pod: LivePod | null, reason: ReasonCode, evidence: Evidence): Extract<Rollout, { state: 'failed' }> {
  return { state: 'failed', pod, reason, evidence, dueAt: null };
}

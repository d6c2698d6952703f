import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { LivePod, LiveProcessor, LiveSet, Placed, PodTrouble, RecordedRollout, Rollout } from '../model/rollout.ts';
import { millis, seconds, type Millis } from '../model/time.ts';

/** As a Deployment's own deadline: a large image on a slow line has arrived by then. */
const deadline = seconds(600);
/** Karpenter needs a minute or two for a new node; before that, a pod that no node takes is what calls for one. */
const schedulingGrace = seconds(120);
/** What ended again and again must be ready for so long before it counts as recovered: some end only after a while. */
const steadyAfterCrash = seconds(30);

/** Why a container can't be started, by the kubelet's word for it; what is not here is a `container-error`. */
const imageTroubles: ReadonlySet<string> = new Set(['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName', 'ErrImageNeverPull', 'ImageInspectError', 'RegistryUnavailable', 'SignatureValidationFailed']);
/** These last through the moments in which the container runs. */
const lasting: ReadonlySet<string> = new Set<ReasonCode>(['crash-loop', 'out-of-memory']);

/**
 * How far the cluster is with a placement, from its StatefulSet and its pod.
 *
 * The StatefulSet of its epoch must show the decision (`dory.io/revision`), its controller must have seen that, and the pod that it
 * made from its newest template must be ready. What the cluster names as trouble is a failure at once, but for a pod that no node
 * takes; what it does not explain is one after the deadline. Nothing follows from a failure but words: Kubernetes tries on.
 * @param now on the monotonic clock, as `since` of pods and sets
 */
export function judge(placed: Placed, live: LiveProcessor, recorded: RecordedRollout | null, now: Millis): Rollout {
  const set = live.sets.find(({ epoch, terminating }) => epoch === placed.epoch && !terminating);
  if (set === undefined || set.revision < placed.revision) return unseen(placed, now);
  if (placed.phase === 'stopping') return stopping(placed, live, set);
  const pod = currentPod(live, set);
  if (pod === null) return withoutPod(live, set, now);
  if (pod.terminating || pod.template === null || pod.template !== set.template) return waiting(pod, pod.since, now);
  const failedBefore = recorded?.state === 'failed' && recorded.revision === placed.revision ? recorded.reason : null;
  return pod.ready ? ready(pod, failedBefore, now) : notReady(pod, failedBefore, now);
}

function unseen({ committedMs }: Placed, now: Millis): Rollout {
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

function withoutPod({ refusal }: LiveProcessor, set: LiveSet, now: Millis): Rollout {
  if (!set.short || refusal === null) return waiting(null, set.since, now);
  return failed(null, refusal.includes('exceeded quota') ? 'quota-exceeded' : 'pod-refused', { namespace: set.namespace, words: refusal });
}

function ready(pod: LivePod, failedBefore: string | null, now: Millis): Rollout {
  const steadyAt = millis(pod.since + steadyAfterCrash);
  if (failedBefore === null || !lasting.has(failedBefore) || now >= steadyAt) return { state: 'live', pod, dueAt: null };
  return { ...failed(pod, failedBefore as ReasonCode, evidenceOf(pod)), dueAt: steadyAt };
}

function notReady(pod: LivePod, failedBefore: string | null, now: Millis): Rollout {
  const { trouble } = pod;
  if (trouble === null) return waiting(pod, pod.since, now);
  const restarting = trouble.kind === 'ended' || trouble.kind === 'restarted';
  const reason = restarting && failedBefore !== null && lasting.has(failedBefore) ? (failedBefore as ReasonCode) : codeOf(trouble);
  if (reason === null) return waiting(pod, pod.since, now);
  const graceEnds = millis(pod.since + schedulingGrace);
  if (reason === 'unschedulable' && now < graceEnds) return { state: 'progressing', pod, dueAt: graceEnds };
  return failed(pod, reason, evidenceOf(pod));
}

/** Null: it may well come up by itself. */
function codeOf({ kind, reason }: PodTrouble): ReasonCode | null {
  switch (kind) {
    case 'unscheduled': return 'unschedulable';
    case 'over': return 'pod-over';
    case 'waiting': return imageTroubles.has(reason) ? 'image-pull' : 'container-error';
    case 'looping': return reason === 'OOMKilled' ? 'out-of-memory' : 'crash-loop';
    case 'ended': return reason === 'OOMKilled' ? 'out-of-memory' : null;
    case 'restarted': return null;
  }
}

/** Not there yet, and nothing says why; at the deadline that is a failure. */
function waiting(pod: LivePod | null, since: Millis, now: Millis): Rollout {
  const dueAt = millis(since + deadline);
  if (now < dueAt) return { state: 'progressing', pod, dueAt };
  return failed(pod, 'not-ready', { ...(pod === null ? {} : evidenceOf(pod)), deadlineMs: deadline, words: pod === null ? 'no pod was created' : describe(pod) });
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

import type { Placement } from './placement.ts';
import type { Evidence, ReasonCode } from './reasons.ts';
import type { Millis } from './time.ts';

/** What the cluster shows of one processor: every StatefulSet and every pod with its label, of whatever epoch. */
export interface LiveProcessor {
  readonly sets: readonly LiveSet[];
  readonly pods: readonly LivePod[];
  /** When this process saw the last of its pods go, on its monotonic clock; null while it has one, and where none was seen. */
  readonly podlessSince: Millis | null;
  /** Why its StatefulSet gets no pod, as the cluster told its controller; null where nothing was told. */
  readonly refusal: string | null;
}

/** How long a roll-out may take before it counts as failed, and how soon a failure counts as over. */
export interface RolloutPolicy {
  /** For what the cluster does not explain, as a Deployment's `progressDeadlineSeconds`. */
  readonly progressDeadline: Millis;
  /** For what may well pass by itself: no node takes the pod yet, or something that it needs on its node is not there. */
  readonly startGrace: Millis;
  /** So long what ended again and again must be ready. */
  readonly steadyAfterCrash: Millis;
}

/** One placement, as far as its roll-out is judged by it. */
export interface Placed extends Pick<Placement, 'epoch' | 'phase' | 'revision'> {
  /** How long ago its commit reached the remote; null before. */
  readonly committedMs: Millis | null;
}

/** What was recorded last of a roll-out. */
export interface RecordedRollout {
  /** `progressing`: it had failed, and no longer does. */
  readonly state: 'progressing' | 'live' | 'failed';
  readonly epoch: number;
  readonly revision: number;
  /** Why it failed; null in the other states. */
  readonly reason: string | null;
}

/**
 * How far the cluster is with a placement. `pending`: it does not show the decision yet. `live`: its pod is ready; or, where it is to
 * stop, none is left. `dueAt`: when time alone changes this, on the monotonic clock; null: never.
 */
export type Rollout =
  | { readonly state: 'pending' | 'progressing'; readonly pod: LivePod | null; readonly dueAt: Millis | null }
  | { readonly state: 'live'; readonly pod: LivePod | null; readonly dueAt: null }
  | { readonly state: 'failed'; readonly pod: LivePod | null; readonly reason: ReasonCode; readonly evidence: Evidence; readonly dueAt: Millis | null };

export interface LiveMember {
  /** The label `processor-id`; empty without one. */
  readonly processorId: string;
  /** The label or annotation `dory.io/epoch`; 0 without one, as the pods of the system that ran here before have none. */
  readonly epoch: number;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly terminating: boolean;
  /** Since when this process sees it as it is now: ready and terminating, or short of pods and which decision; on its monotonic clock. */
  readonly since: Millis;
}

/** One StatefulSet of a placement. */
export interface LiveSet extends LiveMember {
  /** The annotation `dory.io/revision`: the decision that it shows; 0 without one. */
  readonly revision: number;
  /** How many pods it is to have: 0 or 1. */
  readonly wanted: number;
  /** Scaled to 0, and its controller has seen that and counts no pod. */
  readonly stopped: boolean;
  /** Its controller has seen it as it is, and counts fewer pods than it wants. */
  readonly short: boolean;
  /** The hash of its newest pod template, as its controller names it on pods; null before its controller has seen it as it is. */
  readonly template: string | null;
}

/** One pod. */
export interface LivePod extends LiveMember {
  /** Null until it is bound to one. */
  readonly node: string | null;
  readonly nodeIp: string | null;
  readonly ready: boolean;
  /** The hash of the pod template that it was made from; null of one that no StatefulSet made. */
  readonly template: string | null;
  /** Restarts of its containers. */
  readonly restarts: number;
  /** Null where the cluster names nothing, or it is ready. */
  readonly trouble: PodTrouble | null;
  /** Requested of its node: thousandths of a core, and bytes. */
  readonly cpu: number;
  readonly memory: number;
}

/** What keeps a pod from being ready, as the cluster says it. */
export interface PodTrouble {
  /**
   * No node takes it; a container can't be started; a container ended; it did so again and again, and waits to be started; it runs
   * again, and is not ready yet; the pod as a whole is over; or its status says nothing,
   * and events tell: what it needs on its node is not there, or its probes fail.
   */
  readonly kind: 'unscheduled' | 'waiting' | 'ended' | 'looping' | 'restarted' | 'over' | 'unstarted' | 'unhealthy';
  /** Kubernetes' own: `Unschedulable`, `ImagePullBackOff`, `OOMKilled`, `Evicted`, `FailedMount`. */
  readonly reason: string;
  /** Its words, cut to what a person reads; never what a container wrote. */
  readonly words: string;
}

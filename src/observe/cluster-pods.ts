import { z } from 'zod';
import type { ProcessorId } from '../model/ids.ts';
import type { Placement } from '../model/placement.ts';
import { quantity } from '../model/quantity.ts';
import type { LiveMember, LivePod, LiveProcessor, LiveSet } from '../model/rollout.ts';
import type { Millis } from '../model/time.ts';
import type { KubeObject } from '../platform/kube/object.ts';
import { isReady, podStatusSchema, restartsOf, troubleOf } from './pod-trouble.ts';

const setSchema = z.object({
  spec: z.object({ replicas: z.number().optional() }),
  status: z.object({ observedGeneration: z.number().optional(), replicas: z.number().optional(), updateRevision: z.string().optional() }).optional(),
});
const podSchema = z.object({
  spec: z
    .object({
      nodeName: z.string().optional(),
      containers: z.array(z.object({ resources: z.object({ requests: z.record(z.string(), z.union([z.string(), z.number()])).optional() }).optional() })).optional(),
    })
    .optional(),
  status: podStatusSchema.optional(),
});

/** What is kept of a pod: it is read whole, and little of it stays. */
export function readPod(object: KubeObject, before: LivePod | null, now: Millis): LivePod {
  const { spec, status = {} } = podSchema.parse(object);
  const common = member(object);
  const ready = isReady(status);
  return {
    ...common,
    since: before?.uid === common.uid && before.ready === ready && before.terminating === common.terminating ? before.since : now,
    node: spec?.nodeName ?? null,
    nodeIp: status.hostIP ?? null,
    ready,
    template: hashOf(object.metadata.labels?.['controller-revision-hash']),
    restarts: restartsOf(status),
    trouble: troubleOf(status),
    cpu: Math.round(requested(spec?.containers, 'cpu') * 1000),
    memory: requested(spec?.containers, 'memory'),
  };
}

export function readStatefulSet(object: KubeObject, before: LiveSet | null, now: Millis): LiveSet {
  const { spec: { replicas: wanted = 1 }, status } = setSchema.parse(object);
  const common = member(object);
  const revision = number(object.metadata.annotations?.['dory.io/revision']);
  const seen = status?.observedGeneration !== undefined && status.observedGeneration === object.metadata.generation;
  const short = seen && (status.replicas ?? 0) < wanted;
  return {
    ...common,
    since: before?.uid === common.uid && before.short === short && before.revision === revision ? before.since : now,
    revision, wanted,
    stopped: wanted === 0 && seen && (status.replicas ?? 0) === 0,
    short,
    template: seen ? hashOf(status.updateRevision) : null,
  };
}

function member({ metadata: { name, namespace = '', uid, labels = {}, annotations = {}, deletionTimestamp } }: KubeObject): Omit<LiveMember, 'since'> {
  return {
    processorId: labels['processor-id'] ?? '',
    epoch: number(labels['dory.io/epoch'] ?? annotations['dory.io/epoch']),
    namespace, name, uid,
    terminating: deletionTimestamp !== undefined,
  };
}

function number(text: string | undefined): number {
  const value = Number(text ?? 0);
  return Number.isNaN(value) ? 0 : value;
}

/** The last part of `camera-1a2b3c4d5e6f-e1-6b9f7c8d5`: what comes before is the StatefulSet's name. */
function hashOf(revision: string | undefined): string | null {
  return revision === undefined || revision === '' ? null : revision.slice(revision.lastIndexOf('-') + 1);
}

type Containers = NonNullable<NonNullable<z.output<typeof podSchema>['spec']>['containers']>;

/** Cores or bytes. */
function requested(containers: Containers = [], resource: string): number {
  return containers.reduce((sum, { resources }) => sum + quantity(String(resources?.requests?.[resource] ?? 0)), 0);
}

export type Orphan = LivePod;

/** The pods and StatefulSets of each processor, kept as they change. */
export interface Members {
  /** @param now on the monotonic clock */
  onPod(before: LivePod | null, after: LivePod | null, now: Millis): void;
  onStatefulSet(before: LiveSet | null, after: LiveSet | null): void;
  of(processorId: string): Omit<LiveProcessor, 'refusal'>;
  /** Pods with an epoch that no StatefulSet wants any more. */
  orphans(): readonly Orphan[];
  /** Whether every pod of this or a lower epoch was told to end, or is on no node. */
  sealed(placement: Pick<Placement, 'processorId' | 'epoch'>): boolean;
  /** Processors with a pod that bears no epoch. */
  bare(): ReadonlySet<ProcessorId>;
  /**
   * `gone` only on proof: a StatefulSet of this epoch that has stopped, and no pod of this or a lower one. It must show the
   * decision to stop, or a later one: what is scaled to 0 since an earlier stop may be scaled up once more by a sync of what lay
   * between, which is still under way.
   */
  pods(placement: Pick<Placement, 'processorId' | 'epoch' | 'revision'>): 'present' | 'gone';
}

export function createMembers(): Members {
  const pods = createIndex<LivePod>();
  const sets = createIndex<LiveSet>();
  /** Of processors with a StatefulSet and no pod. */
  const podless = new Map<string, Millis>();
  return {
    onPod: (before, after, now) => {
      pods.replace(before, after);
      if (after !== null) podless.delete(after.processorId);
      else if (before !== null && pods.of(before.processorId).length === 0 && sets.of(before.processorId).length > 0) podless.set(before.processorId, now);
    },
    onStatefulSet: (before, after) => {
      sets.replace(before, after);
      if (before !== null && sets.of(before.processorId).length === 0) podless.delete(before.processorId);
    },
    of: (processorId) => ({ sets: sets.of(processorId), pods: pods.of(processorId), podlessSince: podless.get(processorId) ?? null }),
    orphans: () => pods.all().filter(({ processorId, epoch }) => epoch > 0 && !sets.of(processorId).some((set) => set.epoch === epoch && set.wanted > 0)),
    sealed: ({ processorId, epoch }) => pods.of(processorId).every((pod) => pod.epoch > epoch || pod.terminating || pod.node === null),
    bare: () => new Set(pods.all().filter(({ epoch }) => epoch === 0).map(({ processorId }) => processorId as ProcessorId)),
    pods: ({ processorId, epoch, revision }) => {
      const stopped = sets.of(processorId).some((set) => set.epoch === epoch && set.stopped && set.revision >= revision);
      const left = pods.of(processorId).some((pod) => pod.epoch <= epoch);
      return stopped && !left ? 'gone' : 'present';
    },
  };
}

/** Nearly all processors have one of each: a list of one takes a quarter of the memory of a map of one. */
function createIndex<Member extends LiveMember>() {
  const byProcessor = new Map<string, readonly Member[]>();
  return {
    replace: (before: Member | null, after: Member | null): void => {
      if (before !== null) put(before.processorId, without(byProcessor.get(before.processorId), before.uid));
      if (after !== null) put(after.processorId, [...without(byProcessor.get(after.processorId), after.uid), after]);
    },
    of: (processorId: string): readonly Member[] => byProcessor.get(processorId) ?? [],
    all: (): readonly Member[] => [...byProcessor.values()].flat(),
  };

  function put(processorId: string, members: readonly Member[]): void {
    if (members.length === 0) byProcessor.delete(processorId);
    else byProcessor.set(processorId, members);
  }
}

function without<Member extends LiveMember>(members: readonly Member[] = [], uid: string): readonly Member[] {
  return members.filter((member) => member.uid !== uid);
}

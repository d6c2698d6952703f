import { z } from 'zod';
import type { Placement } from '../model/placement.ts';
import type { KubeObject } from '../platform/kube/watch.ts';

/** One pod or one StatefulSet of a processor. */
export interface Member {
  /** The label `processor-id`; empty without one. */
  readonly processorId: string;
  /** The label or annotation `dory.io/epoch`; 0 without one, as the pods of the system that ran here before have none. */
  readonly epoch: number;
  /** The annotation `dory.io/revision` of a StatefulSet: the decision that it shows; 0 without one. */
  readonly revision: number;
  readonly uid: string;
  /** Of a StatefulSet: scaled to 0, and its controller has seen that and counts no pod. */
  readonly stopped: boolean;
}

const setSchema = z.object({
  spec: z.object({ replicas: z.number().optional() }),
  status: z.object({ observedGeneration: z.number().optional(), replicas: z.number().optional() }).optional(),
});

export function readPod(object: KubeObject): Member {
  return member(object, false);
}

export function readStatefulSet(object: KubeObject): Member {
  const { spec, status } = setSchema.parse(object);
  // Without `replicas` it is one.
  const seen = status?.observedGeneration !== undefined && status.observedGeneration === object.metadata.generation;
  return member(object, spec.replicas === 0 && seen && (status.replicas ?? 0) === 0);
}

function member({ metadata: { uid, labels = {}, annotations = {} } }: KubeObject, stopped: boolean): Member {
  const epoch = Number(labels['dory.io/epoch'] ?? annotations['dory.io/epoch'] ?? 0);
  const revision = Number(annotations['dory.io/revision'] ?? 0);
  return { processorId: labels['processor-id'] ?? '', epoch: Number.isNaN(epoch) ? 0 : epoch, revision: Number.isNaN(revision) ? 0 : revision, uid, stopped };
}

/** The pods and StatefulSets of each processor, kept as they change. */
export interface Members {
  onPod(before: Member | null, after: Member | null): void;
  onStatefulSet(before: Member | null, after: Member | null): void;
  /**
   * `gone` only on proof: a StatefulSet of this epoch that has stopped, and no pod of this or a lower one. It must show the
   * decision to stop, or a later one: what is scaled to 0 since an earlier stop may be scaled up once more by a sync of what lay
   * between, which is still under way.
   */
  pods(placement: Pick<Placement, 'processorId' | 'epoch' | 'revision'>): 'present' | 'gone';
}

export function createMembers(): Members {
  const pods = createIndex();
  const sets = createIndex();
  return {
    onPod: pods.replace,
    onStatefulSet: sets.replace,
    pods: ({ processorId, epoch, revision }) => {
      const stopped = sets.of(processorId).some((set) => set.epoch === epoch && set.stopped && set.revision >= revision);
      const left = pods.of(processorId).some((pod) => pod.epoch <= epoch);
      return stopped && !left ? 'gone' : 'present';
    },
  };
}

function createIndex() {
  const byProcessor = new Map<string, Map<string, Member>>();
  return {
    replace: (before: Member | null, after: Member | null): void => {
      if (before !== null) remove(byProcessor, before);
      if (after === null) return;
      const members = byProcessor.get(after.processorId) ?? new Map<string, Member>();
      byProcessor.set(after.processorId, members.set(after.uid, after));
    },
    of: (processorId: string): readonly Member[] => [...(byProcessor.get(processorId)?.values() ?? [])],
  };
}

function remove(byProcessor: Map<string, Map<string, Member>>, { processorId, uid }: Member): void {
  const members = byProcessor.get(processorId);
  members?.delete(uid);
  if (members?.size === 0) byProcessor.delete(processorId);
}

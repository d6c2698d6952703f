import type { Digest, Epoch, ProcessorId, RevisionId } from '../model/ids.ts';

/** Which object of the cluster: enough to build its URL, and to compare by. */
export interface ObjectRef {
  /** `v1`, `apps/v1`. */
  readonly apiVersion: string;
  readonly kind: string;
  /** Null for what belongs to the whole cluster. */
  readonly namespace: string | null;
  readonly name: string;
}

/** One document of the committed tree. */
export interface DesiredObject {
  readonly ref: ObjectRef;
  /** Of its file, from the root of the repository. */
  readonly path: string;
  /** Its YAML, byte for byte as committed: what is sent. */
  readonly yaml: string;
  /** Of `yaml`. */
  readonly digest: Digest;
  /** Null where it is no processor's. */
  readonly processorId: ProcessorId | null;
  readonly epoch: Epoch | null;
}

/** One document of the committed tree, without its text: 50,000 texts are not held. */
export interface DesiredEntry extends Omit<DesiredObject, 'yaml'> {
  /** Git's name of its file's content, and which document of that it is. */
  readonly blob: string;
  readonly place: number;
  /** The annotation `dory.io/revision`; null without one. */
  readonly revision: RevisionId | null;
}

/** Everything of ours that one commit holds. */
export interface DesiredTree {
  readonly commit: string;
  readonly revision: RevisionId;
  /** By `keyOf`. */
  readonly objects: ReadonlyMap<string, DesiredEntry>;
}

/** An object of the cluster that carries our labels, as the watch shows it. */
export interface LiveObject {
  readonly ref: ObjectRef;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly processorId: ProcessorId | null;
  /** The annotation `dory.io/epoch`; null without one. */
  readonly epoch: Epoch | null;
  /** The annotation `dory.io/revision`; null without one, and where others changed it on an object of ours. */
  readonly revision: RevisionId | null;
  /** Of the values of the fields that our manager owns; null where it owns none. */
  readonly owned: Digest | null;
  /** Field managers beside ours, sorted. */
  readonly managers: readonly string[];
  /** The Application of Argo CD that tracks it; null where none does. */
  readonly trackedBy: string | null;
  readonly terminating: boolean;
}

/** One object, one key: `apps/v1/StatefulSet/harbor/cam-1a2b3c4d5e6f-e1`. */
export function keyOf({ apiVersion, kind, namespace, name }: ObjectRef): string {
  return `${apiVersion}/${kind}/${namespace ?? ''}/${name}`;
}

/** The way back from `keyOf`. */
export function refOfKey(key: string): ObjectRef {
  const parts = key.split('/');
  const [kind = '', namespace = '', name = ''] = parts.slice(-3);
  return { apiVersion: parts.slice(0, -3).join('/'), kind, namespace: namespace === '' ? null : namespace, name };
}

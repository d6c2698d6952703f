import type { RevisionId } from '../model/ids.ts';
import type { DesiredObject, LiveObject, ObjectRef } from './objects.ts';

/** What a comparison of the committed tree with the cluster asks for. The decision is a value; `execute` carries it out. */
export type Action =
  /** `force`: take over fields of others, where a setting or a person says so. `live`: null to create it. */
  | { readonly kind: 'apply'; readonly desired: DesiredObject; readonly live: LiveObject | null; readonly force: boolean; readonly why: ApplyReason }
  /** Only this very object: the UID is a precondition. */
  | { readonly kind: 'prune'; readonly live: LiveObject }
  /** What should happen, and does not. */
  | { readonly kind: 'skip'; readonly ref: ObjectRef; readonly reason: SkipReason; readonly detail: string };

export type ApplyReason = 'missing' | 'changed' | 'drifted' | 'adopted';

export type SkipReason =
  /** The cluster shows a higher placement epoch of its processor. */
  | 'higher-epoch'
  /** The cluster shows it as a revision left it that is newer than this commit. */
  | 'newer-revision'
  /** Argo CD tracks it, and nobody said `--adopt`. */
  | 'tracked-by-argocd'
  /** It is there, and not of our inventory. */
  | 'not-ours'
  /** More would be deleted than the budget allows; or not everything that is there is known. */
  | 'delete-budget'
  | 'partial-knowledge'
  /** Drift, and the setting says to report it only. */
  | 'drift-reported'
  /** It failed so often that it waits. */
  | 'backing-off'
  /** It is being deleted: it is created anew when it is gone. */
  | 'terminating'
  /** The commit has it no more, and its end would take data, nodes or the system itself along: a person deletes it. */
  | 'kept'
  /** The commit has it no more; it goes when the pods that may need it are gone. */
  | 'in-use'
  /** A newer commit came before its turn. */
  | 'overtaken';

/** How each object ended; the words of kubectl and Flux. */
export type Outcome =
  | { readonly kind: 'created' | 'configured' | 'unchanged' | 'pruned'; readonly ref: ObjectRef; readonly live: LiveObject | null }
  | { readonly kind: 'skipped'; readonly ref: ObjectRef; readonly reason: SkipReason; readonly detail: string }
  | { readonly kind: 'failed'; readonly ref: ObjectRef; readonly reason: FailReason; readonly detail: string; readonly retry: Retry }
  /** The request was sent, and no answer came: it may have happened. */
  | { readonly kind: 'unknown'; readonly ref: ObjectRef; readonly detail: string };

export type FailReason =
  /** Another manager owns a field that we want; `detail` names both. */
  | 'conflict'
  /** By the causes in the answer: the object has to be deleted and created anew. */
  | 'immutable'
  /** The committed object has a field that the server does not know, or a value that it refuses. */
  | 'invalid'
  | 'forbidden' | 'quota' | 'webhook' | 'namespace-missing' | 'namespace-terminating' | 'kind-unknown'
  /** Deleted or replaced since it was looked at. */
  | 'precondition'
  | 'throttled' | 'server';

/** `never`: until the committed object changes. `later`: with growing pauses. `soon`: the server said when, or it was only busy. */
export type Retry = 'never' | 'later' | 'soon';

export interface ApplyReport {
  readonly commit: string;
  readonly revision: RevisionId;
  /** Of everything that was not in sync already, in the order in which it ended. */
  readonly outcomes: readonly Outcome[];
  /** Objects that needed no request. */
  readonly inSync: number;
  /** Requests that were sent for it. */
  readonly requests: number;
  /** True if everything of this commit is on the cluster now. */
  readonly complete: boolean;
}

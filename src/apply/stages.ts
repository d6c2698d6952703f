import type { Action } from './actions.ts';
import { keyOf, type ObjectRef } from './objects.ts';

/** What is sent to the cluster. */
export type SentAction = Exclude<Action, { readonly kind: 'skip' }>;

/** What others are made of, or lie in; everything else; what has a say in every later request. Then deletes, the other way round. */
export type Rank = 0 | 1 | 2 | 3 | 4 | 5;

/** What of a batch may go at once. */
export interface Stage {
  readonly rank: Rank;
  readonly actions: readonly SentAction[];
}

/** What others are made of, or lie in. */
const first = new Set(['CustomResourceDefinition', 'Namespace']);
/** What has a say in every later request: once it is there, nothing of this commit can be held up by it. */
const last = new Set(['ValidatingWebhookConfiguration', 'MutatingWebhookConfiguration', 'ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding', 'MutatingAdmissionPolicy', 'MutatingAdmissionPolicyBinding', 'APIService']);

/** Those of a stage go in parallel, and a stage after another; within one, in the order given. Deletes last, and the other way round. */
export function stagesOf(actions: readonly SentAction[]): readonly Stage[] {
  const stages = ([0, 1, 2, 3, 4, 5] as const).map((rank) => ({ rank, actions: [] as SentAction[] }));
  for (const action of actions) {
    const rank = rankOf(refOf(action));
    stages[action.kind === 'apply' ? rank : 5 - rank]?.actions.push(action);
  }
  return stages.filter((stage) => stage.actions.length > 0);
}

export function refOf(action: Action): ObjectRef {
  if (action.kind === 'skip') return action.ref;
  return action.kind === 'apply' ? action.desired.ref : action.live.ref;
}

export function keyOfAction(action: SentAction): string {
  return `${action.kind} ${keyOf(refOf(action))}`;
}

/** Of an apply. */
export function rankOf({ kind }: Pick<ObjectRef, 'kind'>): 0 | 1 | 2 {
  if (first.has(kind)) return 0;
  return last.has(kind) ? 2 : 1;
}

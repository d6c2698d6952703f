import type { Millis } from '../model/time.ts';
import type { Kubelet, LivePod } from './pods.ts';

/**
 * What becomes of a pod whose processor was moved away, or whose row was removed, and whose StatefulSet does not want it any more.
 *
 *   its kubelet   it                     then
 *   silent, gone  terminates, or not     deleted with grace 0: nobody else will, and it may hold a volume
 *   answers       terminates             its kubelet ends it; beyond the bound a person is told, and nothing is forced
 *   answers       runs                   waits for the successor, and is deleted when that works: until then it is the better writer
 *   none          waits for a node       deleted
 *
 * All of it only when the move away from it is committed, and left its fence on record: a proof that it ended, or a policy that
 * does without one. Of a removed row nothing follows, so nothing is waited for; what was never moved away has no fence, and is left to a
 * kubelet that answers: beyond one that does not it may run still, and its row may be added again.
 */
export type Fate =
  | { readonly kind: 'force' | 'delete' }
  | { readonly kind: 'overdue'; readonly over: Millis }
  | { readonly kind: 'wait'; readonly why: 'not-committed' | 'no-fence' | 'kubelet' | 'successor' };

export interface Departure {
  /** Whether the commit that moved it away is on the remote. */
  readonly committed: boolean;
  /** The code of what proved its end; `unfenced` where policy did without; null: nothing is on record. */
  readonly fence: string | null;
  /** Its row is gone, and so is its placement: `committed` is of that. */
  readonly removed: boolean;
}

export interface Surroundings {
  readonly kubelet: Kubelet;
  /** How long after its grace a kubelet that answers may take. */
  readonly bound: Millis;
}

/** Pure. Whether a successor works is for the caller to ask, only where this waits for it. */
export function fateOf({ node, overdue }: Pick<LivePod, 'node' | 'overdue'>, { committed, fence, removed }: Departure, { kubelet, bound }: Surroundings): Fate {
  if (!committed) return { kind: 'wait', why: 'not-committed' };
  if (fence === null && !(removed && (node === null || kubelet === 'answers'))) return { kind: 'wait', why: 'no-fence' };
  if (node === null) return { kind: 'delete' };
  if (kubelet !== 'answers') return { kind: 'force' };
  if (overdue !== null) return overdue > bound ? { kind: 'overdue', over: overdue } : { kind: 'wait', why: 'kubelet' };
  return removed ? { kind: 'delete' } : { kind: 'wait', why: 'successor' };
}

import type { Millis } from '../model/time.ts';
import type { Kubelet, LivePod } from './pods.ts';

/**
 * What becomes of a pod whose processor was moved away, and whose StatefulSet does not want it any more.
 *
 *   its kubelet   it                     then
 *   silent, gone  terminates, or not     deleted with grace 0: nobody else will, and it may hold a volume
 *   answers       terminates             its kubelet ends it; beyond the bound a person is told, and nothing is forced
 *   answers       runs                   deleted, when the successor works: a node that came back is the better writer until then
 *   none          waits for a node       deleted
 *
 * All of it only when the move away from it is committed, and left its fence on record: a proof that it ended, or a policy that
 * does without one.
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
}

export interface Surroundings {
  readonly kubelet: Kubelet;
  /** Whether its successor beats or is Ready. Asked only where it matters. */
  readonly successorWorks: () => Promise<boolean>;
  /** How long after its grace a kubelet that answers may take. */
  readonly bound: Millis;
}

export async function fateOf({ node, overdue }: Pick<LivePod, 'node' | 'overdue'>, { committed, fence }: Departure, { kubelet, successorWorks, bound }: Surroundings): Promise<Fate> {
  if (!committed) return { kind: 'wait', why: 'not-committed' };
  if (fence === null) return { kind: 'wait', why: 'no-fence' };
  if (node === null) return { kind: 'delete' };
  if (kubelet !== 'answers') return { kind: 'force' };
  if (overdue !== null) return overdue > bound ? { kind: 'overdue', over: overdue } : { kind: 'wait', why: 'kubelet' };
  return (await successorWorks()) ? { kind: 'delete' } : { kind: 'wait', why: 'successor' };
}

import type { KubeAnswer, KubeRequest } from '../platform/kube/write.ts';
import type { Ending } from './attempt.ts';
import { fieldManager } from './live.ts';
import type { Send } from './kinds.ts';
import type { DesiredObject, LiveObject } from './objects.ts';
import { refusalOf } from './refusal.ts';

/**
 * An object of which a field can't be changed is deleted, and created anew when its pods are gone, where that loses nothing and
 * never lets two pods of an epoch write at once. So all of this has to hold:
 *
 * - it is a StatefulSet that carries one placement of a processor: ours by its label, its epoch and its fields. Claims of its template
 *   stay when it goes, and those of the same name are used again; a change of what they ask for has no effect on them.
 * - every cause of the refusal is a field that can't be changed. What is wrong in any other way would not come back.
 * - the server would create it: asked by a dry run, which stops short of the storage only because the name is taken.
 * - this very object, by its UID, in the foreground: it is there until its pods are, also one on a node that says nothing, and its name
 *   with it. Left to themselves (`Orphan`), they could run beside the new one's.
 *
 * Its pod stops and starts as with any change of its template; but a StatefulSet that is gone brings none back should its successor be
 * refused after all. So the delete budget counts it, and what finds none left stays as it is until there is some.
 */
export interface Replacement {
  readonly desired: DesiredObject;
  readonly live: LiveObject;
  /** Of the object, without a query. */
  readonly path: string;
  /** Whether the budget allows it; it is spent then. */
  readonly claim: () => Promise<boolean>;
}

/** Nothing of theirs outlives them but claims, and they may be deleted while their pods run. */
export function isOwnPlacement({ ref, processorId, epoch }: DesiredObject, live: LiveObject): boolean {
  return ref.kind === 'StatefulSet' && processorId !== null && live.processorId === processorId && live.epoch === epoch && live.owned !== null && live.trackedBy === null;
}

/** When it is gone it is missing, and the next pass applies it. @throws what `claim` throws */
export async function makeRoom({ desired, live, path, claim }: Replacement, send: Send): Promise<Ending> {
  const refused = await rehearse(desired, path, send);
  if (refused !== null) return refused;
  const { ref } = live;
  if (!(await claim())) return { outcome: { kind: 'skipped', ref, reason: 'delete-budget', detail: heldBack }, retryAfter: null };
  const answer = await send(deletion(path, live.uid, 'Foreground'));
  if (answer.kind !== 'answered') return { outcome: { kind: 'unknown', ref, detail: answer.why }, retryAfter: null };
  if (answer.status >= 300) {
    const { reason, detail, retry, retryAfter } = refusalOf(answer, 'delete', ref);
    return { outcome: { kind: 'failed', ref, reason, detail, retry }, retryAfter };
  }
  return { outcome: { kind: 'skipped', ref, reason: 'terminating', detail: 'a field of it can\'t be changed: it was deleted, and is created anew when its pods are gone' }, retryAfter: null };
}

/** Why one is not made anew now. */
export const heldBack = 'a field of it can\'t be changed: it has to be deleted and created anew, and more would be deleted at once than apply may delete';

/** @returns how it ends where it would not be created; null if it would */
async function rehearse({ ref, yaml }: DesiredObject, path: string, send: Send): Promise<Ending | null> {
  const query = new URLSearchParams({ dryRun: 'All', fieldManager, fieldValidation: 'Strict' });
  const answer = await send({ method: 'POST', path: `${path.slice(0, path.lastIndexOf('/'))}?${query.toString()}`, body: { type: 'application/yaml', text: yaml } });
  if (answer.kind !== 'answered') return { outcome: { kind: 'failed', ref, reason: 'server', detail: `can't be reached: ${answer.why}`, retry: 'soon' }, retryAfter: null };
  if (answer.status < 300 || isTaken(answer)) return null;
  const { reason, detail, retry, retryAfter } = refusalOf(answer, 'apply', ref);
  return { outcome: { kind: 'failed', ref, reason, detail: `a field of it can't be changed, and it can't be created anew: ${detail}`, retry }, retryAfter };
}

function isTaken({ status, body }: Extract<KubeAnswer, { kind: 'answered' }>): boolean {
  return status === 409 && typeof body === 'object' && body !== null && 'reason' in body && body.reason === 'AlreadyExists';
}

/** All of it in the body: where there is one, the server reads no query. */
export function deletion(path: string, uid: string, propagationPolicy: 'Background' | 'Foreground', dryRun = false): KubeRequest {
  const options = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid }, propagationPolicy, ...(dryRun ? { dryRun: ['All'] } : {}) };
  return { method: 'DELETE', path, body: { type: 'application/json', text: JSON.stringify(options) } };
}

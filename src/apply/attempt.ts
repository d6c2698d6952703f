import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { isKubeObject } from '../platform/kube/object.ts';
import type { KubeAnswer, KubeRequest } from '../platform/kube/write.ts';
import type { Random } from '../platform/random.ts';
import { backoff } from '../platform/retry.ts';
import type { FailReason, Outcome, Retry, SkipReason } from './actions.ts';
import { misplaced, type Kinds } from './kinds.ts';
import type { Step } from './lanes.ts';
import { fieldManager, readLive } from './live.ts';
import { notEstablished } from './established.ts';
import type { DesiredObject, LiveObject } from './objects.ts';
import { deletion, makeRoom, type Replacement } from './recreate.ts';
import { refusalOf, type Refusal } from './refusal.ts';
import { refOf, type SentAction } from './stages.ts';

/** Why it is not sent after all. */
interface Objection {
  readonly reason: SkipReason;
  readonly detail: string;
}

/** How one object ended, and how long the server asked to leave it alone. */
export interface Ending {
  readonly outcome: Outcome;
  readonly retryAfter: Millis | null;
}

/** One object's way to its outcome. */
export interface Attempt {
  readonly action: SentAction;
  tries: number;
  began: Millis | null;
  /** A CustomResourceDefinition that was applied, and may not be of use yet. */
  applied: { readonly outcome: Outcome; readonly at: Millis } | null;
  /** Why an answer of an earlier try never came; null if none was lost. */
  lost: string | null;
}

/** What is known of an object that is not tried any further, if `otherwise` holds where nothing was done to it. */
export function leftAs({ action, applied, lost }: Attempt, otherwise: Outcome): Outcome {
  if (applied !== null) return applied.outcome;
  return lost === null ? otherwise : { kind: 'unknown', ref: refOf(action), detail: lost };
}

export interface AttemptOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly kinds: Kinds;
  readonly dryRun: boolean;
  /** Counts, keeps the pace, and asks for the lead before. */
  readonly send: (request: KubeRequest) => Promise<KubeAnswer>;
  readonly objection: (action: SentAction) => Objection | null;
  /** Where a field of it can't be changed: null if it may not be deleted, to be created anew when its pods are gone; else what answers, right before, whether it may be now. */
  readonly recreate: (desired: DesiredObject, live: LiveObject) => Replacement['claim'] | null;
}

type Answered = Extract<KubeAnswer, { kind: 'answered' }>;

/** What passes by itself is tried again so long and so often within one pass; longer troubles are the next pass's. */
const patience = seconds(20);
const mostTries = 6;
const pauses = { first: millis(200), longest: seconds(5) };
const establishing = { within: seconds(15), ask: millis(200) };

export async function tryOnce(attempt: Attempt, options: AttemptOptions): Promise<Step<Ending>> {
  const { action } = attempt;
  attempt.began ??= options.clock.monotonic();
  attempt.tries += 1;
  if (attempt.applied !== null) return look(action, attempt.applied, options);
  const located = await options.kinds.locate(refOf(action), options.send);
  if (located.kind === 'trouble') return located.answer.kind === 'answered' ? refused(attempt, located.answer, null, options) : unanswered(attempt, located.answer, options);
  if (located.kind === 'unknown') return ended(failed(action, 'kind-unknown', `the server knows no ${refOf(action).kind} in ${refOf(action).apiVersion}`, 'later'));
  const nowhere = misplaced(refOf(action), located);
  if (nowhere !== null) return ended(failed(action, 'invalid', nowhere, 'never'));
  const objection = options.objection(action);
  if (objection !== null) return ended({ kind: 'skipped', ref: refOf(action), ...objection });
  const answer = await options.send(requestOf(action, located.path, options.dryRun));
  if (answer.kind !== 'answered') return unanswered(attempt, answer, options);
  if (answer.status < 300) return succeeded(attempt, answer, options);
  return refused(attempt, answer, located.path, options);
}

function requestOf(action: SentAction, path: string, dryRun: boolean): KubeRequest {
  if (action.kind === 'prune') return deletion(path, action.live.uid, 'Background', dryRun);
  const query = `fieldManager=${fieldManager}&fieldValidation=Strict${action.force ? '&force=true' : ''}${dryRun ? '&dryRun=All' : ''}`;
  return { method: 'PATCH', path: `${path}?${query}`, body: { type: 'application/apply-patch+yaml', text: action.desired.yaml } };
}

function succeeded(attempt: Attempt, { status, body }: Answered, options: AttemptOptions): Step<Ending> {
  const { action } = attempt;
  const ref = refOf(action);
  if (action.kind === 'prune') return ended({ kind: 'pruned', ref, live: null });
  // What would be created has no version yet.
  if (options.dryRun && status === 201) return ended({ kind: 'created', ref, live: null });
  if (!isKubeObject(body)) return ended({ kind: 'unknown', ref, detail: `${String(status)}, and no object` });
  const live = readLive(body, ref);
  if (live.terminating) return ended({ kind: 'skipped', ref, reason: 'terminating', detail: 'it was deleted in the meantime' });
  const same = options.dryRun ? action.live?.owned === live.owned : action.live?.resourceVersion === live.resourceVersion;
  const outcome: Outcome = { kind: status === 201 ? 'created' : same ? 'unchanged' : 'configured', ref, live };
  if (ref.kind !== 'CustomResourceDefinition' || same || options.dryRun) return ended(outcome);
  attempt.applied = { outcome, at: options.clock.monotonic() };
  return { again: establishing.ask };
}

async function refused(attempt: Attempt, answer: Answered, path: string | null, options: AttemptOptions): Promise<Step<Ending>> {
  const { action } = attempt;
  const ref = refOf(action);
  const refusal = refusalOf(answer, action.kind === 'apply' ? 'apply' : 'delete', ref);
  if (refusal.reason === 'precondition' && answer.status === 404) return ended({ kind: 'pruned', ref, live: null });
  if (refusal.reason === 'kind-unknown') options.kinds.forget(ref.apiVersion);
  if (refusal.passing) return againOr(attempt, refusal.retryAfter, options, failedBy(action, refusal));
  if (refusal.reason === 'immutable' && path !== null) {
    const replacement = replacementOf(action, path, options);
    if (replacement !== null) return { done: await makeRoom(replacement, options.send) };
  }
  return ended(failedBy(action, refusal), refusal.retryAfter);
}

/** Null where it stays as it is. */
function replacementOf(action: SentAction, path: string, { dryRun, recreate }: AttemptOptions): Replacement | null {
  if (action.kind !== 'apply' || action.live === null || dryRun) return null;
  const { desired, live } = action;
  const claim = recreate(desired, live);
  return claim === null ? null : { desired, live, path, claim };
}

async function look(action: SentAction, { outcome, at }: NonNullable<Attempt['applied']>, options: AttemptOptions): Promise<Step<Ending>> {
  const why = await notEstablished(refOf(action), options);
  if (why === null) return ended(outcome);
  if (options.clock.monotonic() - at < establishing.within) return { again: establishing.ask };
  return ended(failed(action, 'server', `it was applied, and is not established after ${String(establishing.within / 1000)} s: ${why}`, 'soon'));
}

function unanswered(attempt: Attempt, answer: Exclude<KubeAnswer, Answered>, options: AttemptOptions): Step<Ending> {
  if (answer.kind === 'lost') attempt.lost = answer.why;
  return againOr(attempt, null, options, failed(attempt.action, 'server', `can't be reached: ${answer.why}`, 'soon'));
}

/** Again in this pass while there is time, else as it is. */
function againOr(attempt: Attempt, retryAfter: Millis | null, { clock, random }: AttemptOptions, end: Outcome): Step<Ending> {
  const { tries, began } = attempt;
  const wait = millis(Math.max(retryAfter ?? 0, backoff(pauses, tries, random)));
  const isOver = tries >= mostTries || clock.monotonic() + wait - (began ?? 0) > patience;
  return isOver ? ended(leftAs(attempt, end), retryAfter) : { again: wait };
}

function failedBy(action: SentAction, { reason, detail, retry }: Refusal): Outcome {
  return failed(action, reason, detail, retry);
}

function failed(action: SentAction, reason: FailReason, detail: string, retry: Retry): Outcome {
  return { kind: 'failed', ref: refOf(action), reason, detail, retry };
}

function ended(outcome: Outcome, retryAfter: Millis | null = null): Step<Ending> {
  return { done: { outcome, retryAfter } };
}

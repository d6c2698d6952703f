import { Failure } from '../model/failure.ts';
import { millis, seconds } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { backoff } from '../platform/retry.ts';

/** What Argo CD is told of: our commits since the last one that it was told of. */
export interface Push {
  /** The commit that the branch was at; null where there was none, or where it is not known. */
  readonly before: string | null;
  /** The newest one. */
  readonly commit: string;
  /** Files that it changed, from the root of the repository; null where that is not known: then it may be any. */
  readonly paths: readonly string[] | null;
}

/** What came of one attempt to tell. */
export interface Told {
  /** False: it was told, and has not looked at the commit by now. */
  readonly looked: boolean;
  /** Why it was not told in the way of the settings, but in another one; null: it was. */
  readonly despite: Failure | null;
}

/** `fell-back`: it was told, but not in the way of the settings. */
export type NotifyResult = 'told' | 'fell-back' | 'retried' | 'given-up';

export interface NotifierOptions {
  /**
   * `newer` is aborted when there is more to tell: then nobody waits any more for Argo CD to look; `closing` when nothing is to be told any more.
   * @throws Failure whose `retry` says whether to try again
   */
  readonly tell: (push: Push, over: { readonly newer: AbortSignal; readonly closing: AbortSignal }) => Promise<Told>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** `why`: null where nothing went wrong. */
  readonly onResult: (result: NotifyResult, commit: string, why: Failure | null) => void;
}

/**
 * Tells Argo CD of pushes, beside the cycle and never in its way: it polls anyway, so what can't be told costs minutes and no more.
 * One at a time; what is pushed meanwhile is told together, and what was given up is told again with the next push.
 */
export interface Notifier {
  readonly pushed: (push: Push) => void;
  /** Resolves when everything was told or given up. */
  readonly idle: () => Promise<void>;
  /** Gives up what is not told yet. */
  readonly close: () => Promise<void>;
}

/** Half a minute at most: then Argo CD's own poll is not far away. */
const attempts = 5;
const pause = { first: millis(300), longest: seconds(4) };

export function createNotifier(options: NotifierOptions): Notifier {
  const closing = new AbortController();
  let newer = new AbortController();
  let waiting: Push | null = null;
  let working: Promise<void> | null = null;

  /** What is not told yet, or given up; null: it was told. */
  const tellOf = async (push: Push): Promise<Push | null> => {
    for (let attempt = 1; ; attempt += 1) {
      newer = new AbortController();
      const { told, failure } = await tellOnce(options.tell, push, { newer: newer.signal, closing: closing.signal });
      if (told) {
        options.onResult(failure === null ? 'told' : 'fell-back', push.commit, failure);
        return null;
      }
      // What is new is told at once, together with this.
      const goesOn = waiting !== null || (failure.retry !== 'never' && attempt < attempts);
      if (!goesOn || closing.signal.aborted) {
        options.onResult('given-up', push.commit, failure);
        options.log.warn({ err: failure, commit: push.commit, mend: failure.mend }, 'Argo CD could not be told of a push; it will see it at its next poll');
        return push;
      }
      options.onResult('retried', push.commit, failure);
      if (waiting === null) await options.clock.sleep(backoff(pause, attempt, options.random), AbortSignal.any([newer.signal, closing.signal])).catch(() => undefined);
      if (waiting !== null) return push;
    }
  };
  /** What Argo CD may not know of, beside `waiting`. */
  let untold: Push | null = null;
  const work = async (): Promise<void> => {
    for (let push = waiting; push !== null && !closing.signal.aborted; push = waiting) {
      waiting = null;
      untold = await tellOf(untold === null ? push : merged(untold, push));
    }
    working = null;
  };
  return {
    pushed: (push) => {
      if (closing.signal.aborted) return;
      waiting = waiting === null ? push : merged(waiting, push);
      newer.abort();
      working ??= Promise.resolve().then(work);
    },
    idle: async () => { await working; },
    close: async () => {
      closing.abort();
      await working;
    },
  };
}

type Attempt = { readonly told: true; readonly failure: Failure | null } | { readonly told: false; readonly failure: Failure };

async function tellOnce(tell: NotifierOptions['tell'], push: Push, over: Parameters<NotifierOptions['tell']>[1]): Promise<Attempt> {
  try {
    const { looked, despite } = await tell(push, over);
    return looked ? { told: true, failure: despite } : { told: false, failure: despite ?? new Failure('argocd-unreachable', 'Argo CD was told, and has not looked at the commit yet.') };
  } catch (error) {
    if (error instanceof Failure) return { told: false, failure: error };
    throw error;
  }
}

/** Beyond, all that matters is that it is much: Argo CD is then told that it may be anything. */
export const mostPaths = 5_000;

/** Two pushes as one. */
function merged(older: Push, newer: Push): Push {
  return { before: older.before, commit: newer.commit, paths: pathsOf(older, newer) };
}

function pathsOf(older: Push, newer: Push): Push['paths'] {
  // Somebody else pushed between the two, and nobody told us what. (The same commit twice: it was pushed, and found to be there.)
  if (older.commit !== newer.before && older.commit !== newer.commit) return null;
  if (older.paths === null || newer.paths === null) return null;
  const all = new Set([...older.paths, ...newer.paths]);
  return all.size > mostPaths ? null : [...all];
}

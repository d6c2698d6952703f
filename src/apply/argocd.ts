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

export interface NotifierOptions {
  /**
   * False: it was told, and has not looked at the commit by now. `newer` is aborted when there is more to tell: then nobody waits for that any more.
   * @throws Failure whose `retry` says whether to try again
   */
  readonly tell: (push: Push, newer: AbortSignal) => Promise<boolean>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onResult: (result: 'told' | 'retried' | 'given-up') => void;
}

/**
 * Tells Argo CD of pushes, beside the cycle and never in its way: it polls anyway, so what can't be told costs minutes and no more.
 * One at a time; what is pushed meanwhile is told together.
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

export function createNotifier({ tell, clock, random, log, onResult }: NotifierOptions): Notifier {
  const closing = new AbortController();
  let newer = new AbortController();
  let waiting: Push | null = null;
  let working: Promise<void> | null = null;

  /** Null: it was told. */
  const tellOnce = async (push: Push): Promise<Failure | null> => {
    newer = new AbortController();
    try {
      return (await tell(push, AbortSignal.any([newer.signal, closing.signal]))) ? null : new Failure('argocd-unreachable', 'Argo CD was told, and has not looked at the commit yet.');
    } catch (error) {
      if (error instanceof Failure) return error;
      throw error;
    }
  };
  const tellOf = async (first: Push): Promise<void> => {
    let push = first;
    for (let attempt = 1; ; attempt += 1) {
      const failure = await tellOnce(push);
      if (failure === null) {
        onResult('told');
        return;
      }
      if (failure.retry === 'never' || attempt >= attempts || closing.signal.aborted) {
        onResult('given-up');
        log.warn({ err: failure, commit: push.commit, mend: failure.mend }, 'Argo CD could not be told of a push; it will see it at its next poll');
        return;
      }
      onResult('retried');
      // What is new is told at once.
      await clock.sleep(backoff(pause, attempt, random), AbortSignal.any([newer.signal, closing.signal])).catch(() => undefined);
      if (waiting === null) continue;
      push = merged(push, waiting);
      waiting = null;
      attempt = 0;
    }
  };
  const work = async (): Promise<void> => {
    for (let push = waiting; push !== null; push = waiting) {
      waiting = null;
      await tellOf(push);
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

/** Two pushes as one. */
function merged(older: Push, newer: Push): Push {
  const paths = older.paths === null || newer.paths === null ? null : [...new Set([...older.paths, ...newer.paths])];
  return { before: older.before, commit: newer.commit, paths };
}

import { Failure, type Retry } from '../model/failure.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from './clock.ts';
import type { Random } from './random.ts';

export interface RetryPolicy {
  /** Calls in all, the first included. */
  readonly attempts: number;
  /** No call starts later than this after the first. */
  readonly within: Millis;
  /** The longest wait before the second call; it doubles with each one, up to `longest`. */
  readonly first: Millis;
  readonly longest: Millis;
}

export type RetryPolicies = Readonly<Record<Exclude<Retry, 'never'>, RetryPolicy>>;

/** What is done about a failure, by its code's `retry`. Longer troubles are the loop's: its next cycle tries again. */
export const retryPolicies: RetryPolicies = {
  // Somebody else was faster: a few rounds are enough for several writers, each of which needs some 50 ms.
  now: { attempts: 6, within: seconds(10), first: millis(20), longest: millis(500) },
  // A restart of a server or a change of its primary is over in some 30 s.
  backoff: { attempts: 10, within: seconds(60), first: millis(200), longest: seconds(10) },
};

export interface RetryContext {
  readonly clock: Clock;
  readonly random: Random;
  /** Ends the waiting: the call rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  readonly policies?: RetryPolicies;
}

/** Calls `fn` until it resolves or its failure is final; rejects with what it threw last. Other errors are final at once. */
export async function retry<T>(context: RetryContext, fn: (attempt: number) => Promise<T>): Promise<T> {
  const { clock, random, signal, policies = retryPolicies } = context;
  const start = clock.monotonic();
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await fn(attempt);
    } catch (error) {
      if (!(error instanceof Failure) || error.retry === 'never') throw error;
      const policy = policies[error.retry];
      const wait = backoff(policy, attempt, random);
      if (attempt >= policy.attempts || clock.monotonic() + wait - start > policy.within) throw error;
      await clock.sleep(wait, signal);
    }
  }
}

/** How long to wait after the failure of call number `attempt`: anything up to a bound that doubles, so that many don't come back at once. */
export function backoff(policy: Pick<RetryPolicy, 'first' | 'longest'>, attempt: number, random: Random): Millis {
  return millis(random.fraction() * Math.min(policy.longest, policy.first * 2 ** (attempt - 1)));
}

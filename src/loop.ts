import { Failure } from './model/failure.ts';
import { millis, seconds, type Millis } from './model/time.ts';
import type { Clock } from './platform/clock.ts';
import type { Random } from './platform/random.ts';
import { backoff } from './platform/retry.ts';

/**
 * When to run a cycle: at once when something calls for it (calls while one runs are one call), else when the last
 * report asked for it, else at the poll. A failure that may pass is tried again with growing pauses; one that needs a
 * person is said once, and tried again at the poll, since the person may have acted. A bug ends the program.
 */
export interface LoopOptions {
  /** Runs a cycle; answers how long until time alone asks for the next one, or null. */
  readonly cycle: () => Promise<Millis | null>;
  /** Only a leader cycles, and only while it can reach what decisions are written to. Wake the loop when that changes. */
  readonly mayCycle: () => boolean;
  readonly pollInterval: Millis;
  readonly clock: Clock;
  readonly random: Random;
  readonly onFailure: (failure: Failure) => void;
}

export interface Loop {
  /** Something happened that a cycle should look at. */
  wake(): void;
  /** Resolves when `signal` is aborted and the cycle under way has ended. Rejects on a bug. */
  run(signal: AbortSignal): Promise<void>;
}

/** A conflict is over as soon as it is seen: at most so many cycles in a row before it counts as trouble. */
const conflictsInARow = 5;
const troublePause = { first: millis(500), longest: seconds(30) };
/** A tenth more or less, so that many instances and many fleets do not poll in step. */
const jitter = 0.1;

export function createLoop(options: LoopOptions): Loop {
  let woken = false;
  let wakeUp: (() => void) | null = null;
  let conflicts = 0;
  let troubles = 0;

  const pauseAfterFailure = (failure: Failure): Millis => {
    options.onFailure(failure);
    if (failure.retry === 'never') return poll();
    if (failure.retry === 'now' && ++conflicts <= conflictsInARow) return millis(0);
    return backoff(troublePause, ++troubles, options.random);
  };
  const poll = (): Millis => millis(options.pollInterval * (1 - jitter + 2 * jitter * options.random.fraction()));

  const once = async (): Promise<Millis> => {
    if (!options.mayCycle()) return poll();
    try {
      const due = await options.cycle();
      conflicts = 0;
      troubles = 0;
      return due === null ? poll() : millis(Math.min(poll(), Math.max(0, due)));
    } catch (error) {
      if (error instanceof Failure) return pauseAfterFailure(error);
      throw error;
    }
  };

  return {
    wake: () => {
      woken = true;
      wakeUp?.();
    },
    run: async (signal) => {
      while (!signal.aborted) {
        woken = false;
        const pause = await once();
        if (!wokenOrAborted(signal)) await sleepUntil(signal, pause);
      }
    },
  };

  function wokenOrAborted(signal: AbortSignal): boolean {
    return woken || signal.aborted;
  }

  async function sleepUntil(signal: AbortSignal, pause: Millis): Promise<void> {
    const early = new AbortController();
    wakeUp = () => { early.abort(); };
    await options.clock.sleep(pause, AbortSignal.any([signal, early.signal])).catch(() => undefined);
    wakeUp = null;
  }
}

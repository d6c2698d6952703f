import { setTimeout as timeout } from 'node:timers/promises';
import { instant, millis, type Instant, type Millis } from '../model/time.ts';

/** Time as the shell sees it. Decisions never read it: their only "now" is the database's. */
export interface Clock {
  /** This machine's wall clock: for log lines and for what people read. */
  now(): Instant;
  /** Milliseconds since an arbitrary start; never jumps. For measuring and for deadlines. */
  monotonic(): Millis;
  /** Resolves after `span`; rejects with the signal's reason as soon as it is aborted. */
  sleep(span: Millis, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => instant(Date.now()),
  monotonic: () => millis(performance.now()),
  sleep: async (span, signal) => {
    try {
      await timeout(span, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};

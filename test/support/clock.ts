import { instant, millis, type Millis } from '../../src/model/time.ts';
import type { Clock } from '../../src/platform/clock.ts';
import type { Random } from '../../src/platform/random.ts';

export interface ManualClock extends Clock {
  /** Lets time pass: sleeps that are over by then end, in order. */
  readonly advance: (span: Millis) => void;
  /** Resolves when something sleeps. */
  readonly asleep: () => Promise<void>;
}

/** A clock that stands still until it is told to go on. */
export function manualClock(): ManualClock {
  let time = 0;
  let sleepers: { readonly until: number; readonly wake: () => void }[] = [];
  let onSleep: (() => void)[] = [];
  return {
    now: () => instant(time),
    monotonic: () => millis(time),
    sleep: (span, signal) =>
      new Promise((resolve, reject) => {
        const wake = (): void => {
          signal?.removeEventListener('abort', abort);
          resolve();
        };
        const sleeper = { until: time + span, wake };
        const abort = (): void => {
          sleepers = sleepers.filter((other) => other !== sleeper);
          reject(signal?.reason instanceof Error ? signal.reason : new Error('aborted'));
        };
        if (signal?.aborted === true) {
          abort();
          return;
        }
        signal?.addEventListener('abort', abort, { once: true });
        sleepers.push(sleeper);
        for (const tell of onSleep.splice(0)) tell();
      }),
    advance: (span) => {
      time += span;
      const over = sleepers.filter(({ until }) => until <= time).sort((a, b) => a.until - b.until);
      sleepers = sleepers.filter(({ until }) => until > time);
      for (const { wake } of over) wake();
    },
    asleep: () =>
      sleepers.length > 0
        ? Promise.resolve()
        : new Promise((resolve) => {
            onSleep = [...onSleep, resolve];
          }),
  };
}

/** A clock on which sleeps take no real time; `slept` collects their lengths. */
export function hurryingClock(): Clock & { readonly slept: readonly Millis[] } {
  let time = 0;
  const slept: Millis[] = [];
  return {
    slept,
    now: () => instant(time),
    monotonic: () => millis(time),
    // A promise that rejects, as that of the real clock does: never an error thrown at once.
    sleep: async (span, signal) => {
      await Promise.resolve();
      signal?.throwIfAborted();
      time += span;
      slept.push(span);
    },
  };
}

/** Always the same fraction; names count up. */
export function fixedRandom(fraction: number): Random {
  let count = 0;
  const next = (): string => String(++count);
  return { fraction: () => fraction, hex: (bytes) => next().padStart(bytes * 2, '0'), uuid: () => `00000000-0000-4000-8000-${next().padStart(12, '0')}` };
}

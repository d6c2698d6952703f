import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';

/**
 * Objects that somebody changes back as often as we put them back, as another controller does. At first each change is undone at once;
 * then pauses grow, so that a quarrel costs neither the server nor the record of events more than a little.
 */
export interface Contest {
  /** Why it is not put back now; null: it may be. */
  objection(key: string): string | null;
  putBack(key: string): void;
  /** On the monotonic clock: when the first of those that wait may be put back; null if none waits. */
  nextAt(): Millis | null;
}

interface Entry {
  readonly times: number;
  readonly last: Millis;
  readonly until: Millis;
}

/** More than a person does in a row. */
const freely = 10;
const pause = { first: seconds(1), longest: seconds(60) };
/** After a time without a change, it begins anew. */
const calm = seconds(300);

export function createContest(clock: Clock): Contest {
  const entries = new Map<string, Entry>();
  return {
    objection: (key) => {
      const entry = entries.get(key);
      return entry === undefined || entry.until <= clock.monotonic() ? null : `it was put back ${String(entry.times)} times, and changed again each time`;
    },
    putBack: (key) => {
      const now = clock.monotonic();
      const before = entries.get(key);
      const times = before === undefined || now - before.last > calm ? 1 : before.times + 1;
      const wait = times < freely ? 0 : Math.min(pause.longest, pause.first * 2 ** (times - freely));
      entries.delete(key);
      entries.set(key, { times, last: now, until: millis(now + wait) });
      // In the order of their last change: only those that go are looked at.
      for (const [other, { last }] of entries) {
        if (now - last <= calm) break;
        entries.delete(other);
      }
    },
    nextAt: () => {
      const now = clock.monotonic();
      const coming = [...entries.values()].map(({ until }) => until).filter((until) => until > now);
      return coming.length === 0 ? null : millis(Math.min(...coming));
    },
  };
}

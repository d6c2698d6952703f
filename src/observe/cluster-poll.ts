import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';

/** Reads now and then what would cost more to watch, one subject after another. */
export interface ClusterPoll {
  start(): void;
  close(): Promise<void>;
}

export interface ClusterPollOptions<Subject> {
  readonly clock: Clock;
  readonly log: Log;
  /** What there is to ask for now; with none, nothing is asked. */
  readonly subjects: () => readonly Subject[];
  /** What it throws is logged, and tried again the next time. */
  readonly read: (subject: Subject, signal: AbortSignal) => Promise<void>;
  /** Follows on "could not be read: ". */
  readonly what: string;
}

const readEvery = seconds(5);
/** A server that takes long to answer is busy, or has much to look through: at most a tenth of the time it works for this. */
const restFor = 10;
const longestRest = seconds(60);

export function createClusterPoll<Subject>(options: ClusterPollOptions<Subject>): ClusterPoll {
  const closing = new AbortController();
  let done = Promise.resolve();
  return {
    start: () => { done = keepReading(options, closing.signal); },
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

async function keepReading<Subject>({ clock, log, subjects, read, what }: ClusterPollOptions<Subject>, signal: AbortSignal): Promise<void> {
  let rest: Millis = readEvery;
  // A sleep that is cut short is the end.
  while (await clock.sleep(rest, signal).then(() => true, () => false)) {
    const begun = clock.monotonic();
    for (const subject of subjects()) {
      try {
        await read(subject, signal);
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ err: error, subject }, `could not be read: ${what}`);
      }
    }
    rest = millis(Math.max(readEvery, Math.min(longestRest, (clock.monotonic() - begun) * restFor)));
  }
}

import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Random } from '../platform/random.ts';
import type { Outcome, Retry } from './actions.ts';
import { keyOfAction, type SentAction } from './stages.ts';

/**
 * What failed, and how long it is left alone: an entry for an object as it was to be, on the object that was there. Other bytes, or
 * another object under its name, begin anew.
 */
export interface Quarantine {
  /** Why this is not tried now; null if it may be. */
  objection(action: SentAction): string | null;
  note(action: SentAction, outcome: Outcome, retryAfter: Millis | null): void;
  /** On the monotonic clock: when the first of those that wait may be tried; null if none waits. */
  nextAt(): Millis | null;
}

interface Entry {
  readonly of: string;
  readonly failures: number;
  readonly until: Millis;
  readonly detail: string;
}

/** By how the server is doing, which is no object's fault, and by what somebody has to do first. `never` is tried once a day: servers learn new fields, too. */
const pauses: Readonly<Record<Retry, { readonly first: Millis; readonly longest: Millis }>> = {
  soon: { first: seconds(1), longest: seconds(5) },
  later: { first: seconds(5), longest: seconds(300) },
  never: { first: seconds(86_400), longest: seconds(86_400) },
};
/** An entry that nobody has asked for since is of an object that is not ours any more. */
const forgotten = seconds(3_600);

export function createQuarantine({ clock, random }: { readonly clock: Clock; readonly random: Random }): Quarantine {
  const entries = new Map<string, Entry>();
  return {
    objection: (action) => {
      const key = keyOfAction(action);
      const entry = entries.get(key);
      if (entry === undefined) return null;
      if (entry.of !== identity(action)) {
        entries.delete(key);
        return null;
      }
      return clock.monotonic() < entry.until ? entry.detail : null;
    },
    note: (action, outcome, retryAfter) => {
      const key = keyOfAction(action);
      const retry = retryOf(outcome);
      if (retry === null) {
        entries.delete(key);
        return;
      }
      const of = identity(action);
      const before = entries.get(key);
      const failures = before?.of === of ? before.failures + 1 : 1;
      const { first, longest } = pauses[retry];
      const bound = Math.min(longest, first * 2 ** (failures - 1));
      // At least half of it, so that a pause is one; not all at once.
      const pause = Math.max(bound * (0.5 + random.fraction() / 2), retryAfter ?? 0);
      entries.set(key, { of, failures, until: millis(clock.monotonic() + pause), detail: detailOf(outcome) });
    },
    nextAt: () => {
      const now = clock.monotonic();
      for (const [key, { until }] of entries) if (until + forgotten < now) entries.delete(key);
      // Nobody asked for those that are past: they would wake us again and again.
      const coming = [...entries.values()].map(({ until }) => until).filter((until) => until > now);
      return coming.length === 0 ? null : millis(Math.min(...coming));
    },
  };
}

function identity(action: SentAction): string {
  if (action.kind === 'prune') return action.live.uid;
  // What was taken over since may be treated as ours.
  return `${action.desired.digest} ${action.live?.uid ?? ''} ${String(action.live?.owned === null)} ${String(action.force)}`;
}

/** Null for what is no failure. Whether what is unknown happened, the watch will tell; else it is done again. */
function retryOf(outcome: Outcome): Retry | null {
  if (outcome.kind === 'failed') return outcome.retry;
  return outcome.kind === 'unknown' ? 'soon' : null;
}

function detailOf(outcome: Outcome): string {
  if (outcome.kind === 'failed') return `${outcome.reason}: ${outcome.detail}`;
  return outcome.kind === 'unknown' ? outcome.detail : '';
}

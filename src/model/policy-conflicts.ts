import type { DailyWindow, Policy, ProcessorPolicy } from './snapshot.ts';
import { formatMillis, millis, type Millis } from './time.ts';

/** Thresholds or policies that don't go together, each of which is valid by itself. */
export interface PolicyConflict {
  readonly code: PolicyConflictCode;
  /** For people: names of settings, and what is wrong with them together. */
  readonly sentence: string;
}

type PolicyConflictCode =
  | 'gap-above-stale'
  | 'intake-above-stale'
  | 'window-above-longest'
  | 'stale-below-beats'
  | 'lease-below-beats'
  | 'window-missing'
  | 'window-empty';

type Thresholds = Pick<Policy, 'heartbeatStale' | 'heartbeatGap' | 'intakeFresh' | 'stabilityWindow' | 'longestWindow' | 'lease'>;
type Rule = readonly [wrong: boolean, code: PolicyConflictCode, sentence: string];

/** Beats that may be lost on the way before silence of an agent is taken for its end. */
const lostBeats = 3;

/**
 * What is wrong with the thresholds together: silence that would count before it can be told from silence of our own, or an
 * agent that is replaced, or stops, while it lives. `beatEvery`: how often agents beat.
 */
export function conflictsOfThresholds(t: Thresholds, unfenced: ProcessorPolicy['unfenced'], beatEvery: Millis): readonly PolicyConflict[] {
  const least = millis(beatEvery * lostBeats);
  const beats = `${String(lostBeats)} heartbeats (${formatMillis(least)})`;
  return found([
    [t.heartbeatGap > t.heartbeatStale, 'gap-above-stale', 'heartbeatGap must not be longer than heartbeatStale'],
    [t.intakeFresh >= t.heartbeatStale, 'intake-above-stale', 'intakeFresh must be shorter than heartbeatStale'],
    [t.stabilityWindow > t.longestWindow, 'window-above-longest', 'stabilityWindow must not be longer than longestWindow'],
    [unfenced === 'replace' && t.heartbeatStale < least, 'stale-below-beats', `heartbeatStale must not be shorter than ${beats} while unfenced is replace: a writer that lives would be replaced`],
    [t.lease < least, 'lease-below-beats', `lease must not be shorter than ${beats}: agents that live would stop`],
  ]);
}

/** What is wrong with one policy, as it is after all that goes over it. */
export function conflictsOfPolicy({ failback, failbackWindow }: Pick<ProcessorPolicy, 'failback' | 'failbackWindow'>): readonly PolicyConflict[] {
  return found([
    [failback === 'window' && failbackWindow === null, 'window-missing', 'failback is window, and failbackWindow does not say which'],
    [failbackWindow !== null && isEmpty(failbackWindow), 'window-empty', 'failbackWindow must not end when it begins'],
  ]);
}

function isEmpty({ fromMinute, toMinute }: DailyWindow): boolean {
  return fromMinute === toMinute;
}

function found(rules: readonly Rule[]): readonly PolicyConflict[] {
  return rules.filter(([wrong]) => wrong).map(([, code, sentence]) => ({ code, sentence }));
}

import type { Policy, RecordedVerdict, Verdict } from '../model/snapshot.ts';
import { elapsed, millis, type Instant, type Millis } from '../model/time.ts';

/**
 * Anti-flapping is a count of how often a node failed lately. It dampens only the way home: leaving a failed node is never
 * slowed down. Each entry into a failed verdict counts one, `flapMemory` in good health takes one back, and `dory ack` sets the
 * recorded count to 0. Between changes of the verdict the recorded count stands, and what health took back is computed.
 */

const failed: ReadonlySet<Verdict> = new Set<Verdict>(['lost', 'silent', 'detached']);

/** Its processors should leave. */
export function isFailed(verdict: Verdict): boolean {
  return failed.has(verdict);
}

/** What counts now. */
export function flapsAt(recorded: RecordedVerdict | null, at: Instant, { flapMemory }: Pick<Policy, 'flapMemory'>): number {
  if (recorded === null) return 0;
  const forgotten = recorded.verdict === 'healthy' ? Math.floor(elapsed(recorded.since, at) / flapMemory) : 0;
  return Math.max(0, recorded.flaps - Math.max(0, forgotten));
}

/** What is to be recorded with a verdict that follows another. */
export function flapsAfter(recorded: RecordedVerdict | null, next: Verdict, at: Instant, policy: Pick<Policy, 'flapMemory'>): number {
  const entered = isFailed(next) && (recorded === null || !isFailed(recorded.verdict));
  return flapsAt(recorded, at, policy) + (entered ? 1 : 0);
}

/** How long a node that is back must be steady: doubled with each flap beyond the first, up to the longest window. */
export function steadyWindow(flaps: number, { stabilityWindow, longestWindow }: Pick<Policy, 'stabilityWindow' | 'longestWindow'>): Millis {
  const doublings = Math.min(Math.max(0, flaps - 1), 40);
  return millis(Math.min(longestWindow, stabilityWindow * 2 ** doublings));
}

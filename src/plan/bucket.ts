import type { ProcessorId } from '../model/ids.ts';
import type { Change } from '../model/plan.ts';
import { failureReasons } from '../model/reasons.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { after, elapsed, millis, type Instant } from '../model/time.ts';
import { letGo, type Restraint, type Scene } from './restraint.ts';

/**
 * How many failovers may go now: a bucket that holds `burst`, was full at `from`, is refilled at `ratePerSecond`, and from
 * which each failover since took one. The placements are its only memory.
 */
export function tokensAt({ at, placements, policy }: Pick<Snapshot, 'at' | 'placements' | 'policy'>, from: Instant): number {
  const { burst, ratePerSecond } = policy.guard;
  const taken = placements.filter(({ since, reason }) => since >= from && failureReasons.has(reason)).map(({ since }) => since);
  const refill = (level: number, then: Instant, now: Instant): number => Math.min(burst, level + (elapsed(then, now) / 1000) * ratePerSecond);
  let level: number = burst;
  let last = from;
  for (const moment of taken.sort((a, b) => a - b)) {
    // What an approval let go goes beyond the bucket, and leaves no debt.
    level = Math.max(0, refill(level, last, moment) - 1);
    last = moment;
  }
  return refill(level, last, at);
}

/** So that those who wait go in groups, each one commit, and not one by one. */
const secondsTogether = 5;

/**
 * While the fleet is degraded: failovers beyond what the bucket holds, the least urgent ones. What is stopping has paid
 * when it was stopped.
 * @param changes that nothing else restrains
 * @param urgency the more urgent of two first; never 0
 */
export function overRate(scene: Scene, changes: readonly Change[], urgency: (a: Change, b: Change) => number): ReadonlyMap<ProcessorId, Restraint> {
  const { world, guard } = scene;
  const { at, policy } = world.snapshot;
  if (guard.state !== 'degraded') return new Map();
  const failovers = changes.filter((change) => failureReasons.has(change.reason) && change.before?.phase !== 'stopping' && !letGo(scene, change));
  const tokens = tokensAt(world.snapshot, guard.since);
  const waiting = failovers.sort(urgency).slice(Math.floor(tokens));
  const { ratePerSecond, burst } = policy.guard;
  const together = Math.min(waiting.length, burst, Math.max(1, ratePerSecond * secondsTogether));
  // Those that go now leave less than one token.
  const left = Math.max(0, tokens - (failovers.length - waiting.length));
  const wakeAt = after(at, millis(Math.max(1, Math.ceil(((together - left) / ratePerSecond) * 1000))));
  const restraint: Restraint = { reason: 'guard-rate', evidence: { rate: ratePerSecond, waiting: waiting.length }, needsPerson: false, wakeAt };
  return new Map(waiting.map(({ processorId }) => [processorId, restraint]));
}

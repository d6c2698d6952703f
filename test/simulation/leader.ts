import type { Instant } from '../../src/model/time.ts';
import { Refused } from './database.ts';
import type { Rows } from './rows.ts';

/** The statements of `src/platform/leadership.ts`, by `clock_timestamp()`. */
const leaseMs = 10_000;
export const renewEveryMs = 2_000;
export const stepDownAfterMs = 6_000;

export function acquire({ leader }: Rows, clock: Instant, holder: string): number | null {
  if (leader.holder !== null && leader.expiresAt > clock) return null;
  Object.assign(leader, { holder, epoch: leader.epoch + 1, expiresAt: clock + leaseMs });
  return leader.epoch;
}

export function renew({ leader }: Rows, clock: Instant, held: { holder: string; epoch: number }): boolean {
  if (leader.holder !== held.holder || leader.epoch !== held.epoch || leader.expiresAt <= clock) return false;
  leader.expiresAt = clock + leaseMs;
  return true;
}

export function release({ leader }: Rows, held: { holder: string; epoch: number }): void {
  if (leader.holder === held.holder && leader.epoch === held.epoch) leader.holder = null;
}

export function leads({ leader }: Rows, clock: Instant, epoch: number): boolean {
  return leader.epoch === epoch && leader.holder !== null && leader.expiresAt > clock;
}

export function assertLeader(rows: Rows, clock: Instant, epoch: number): void {
  if (!leads(rows, clock, epoch)) throw new Refused('not-leader');
}

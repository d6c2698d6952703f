import type { Change, GuardVerdict, Hold } from '../model/plan.ts';
import type { Instant } from '../model/time.ts';
import type { World } from './world.ts';

/** What was decided for each processor. */
export interface Placed {
  /** Sorted by processor. */
  readonly changes: readonly Change[];
  /** Sorted by processor. */
  readonly holds: readonly Hold[];
  readonly wakeAt: Instant | null;
}

/** What of it may happen now. */
export function gate(_world: World, _guard: GuardVerdict, placed: Placed): Placed {
  return placed;
}

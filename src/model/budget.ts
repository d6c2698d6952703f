import type { Change } from './plan.ts';
import { failureReasons } from './reasons.ts';

/**
 * How a change counts against the change budget. `at-once`: what an edit of the tables orders, away from a target that
 * lives; a bad edit must not be carried out by halves, so all that is ordered goes, or none. `gradual`: releases and ways
 * home, as far as the budget goes. Null is free: first placements, failures (the fleet guard's matter), and what only ends
 * what was begun and paid for.
 */
export type Spending = 'at-once' | 'gradual' | null;

export function spending({ kind, reason, before }: Pick<Change, 'kind' | 'reason' | 'before'>): Spending {
  switch (kind) {
    case 'place':
    case 'resume':
      return null;
    case 'update':
      return 'gradual';
    case 'remove':
      return 'at-once';
    case 'stop':
    case 'move':
      // A person asked for it in so many words.
      if (failureReasons.has(reason) || reason === 'handed-back' || before?.phase === 'stopping') return null;
      return reason === 'node-recovered' ? 'gradual' : 'at-once';
  }
}

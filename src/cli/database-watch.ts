import type { Failure } from '../model/failure.ts';
import type { Look } from '../platform/campaign.ts';
import { createCircuitBreaker } from '../platform/circuit-breaker.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';

/**
 * Whether the database answers, as two that use it all the time find out: leadership's look every two seconds, and the cycles.
 *
 * While a look fails no cycle begins, and the first one that succeeds calls for a cycle at once. Where nothing came back at all
 * the connections of all others are cut as well: the other end of them may be gone without a word, and the next look, on a
 * new connection, may find its successor. A cycle that fails by itself is tried again in the loop's own time.
 */
export interface DatabaseWatch {
  reachable(): boolean;
  looked(look: Pick<Look, 'failure' | 'silent'>): void;
  cycleBegins(): void;
  /** @param failure null: it ended as it should */
  cycleEnded(failure: Failure | null): void;
}

export interface DatabaseWatchOptions {
  readonly metrics: Metrics;
  readonly log: Log;
  /** Drops the connections of whoever waits for the database. */
  readonly cut: () => void;
  /** It answers again. */
  readonly onRecovery: () => void;
}

export function watchDatabase({ metrics, log, cut, onRecovery }: DatabaseWatchOptions): DatabaseWatch {
  const breaker = createCircuitBreaker({ component: 'database', words: { failed: 'the database does not do its work', recovered: 'the database works again' }, metrics, log });
  let reachable = true;
  const succeeded = (): void => {
    breaker.succeeded();
    metrics.componentHealthy.set({ component: 'database' }, 1);
  };
  const failed = (failure: Failure): void => {
    breaker.failed(failure);
    metrics.componentHealthy.set({ component: 'database' }, 0);
  };
  return {
    reachable: () => reachable,
    looked: ({ failure, silent }) => {
      if (failure !== null) {
        reachable = false;
        failed(failure);
        metrics.databaseErrors.inc({ error_type: failure.code });
        if (silent) cut();
      } else if (!reachable) {
        reachable = true;
        breaker.attempt();
        succeeded();
        onRecovery();
      }
    },
    cycleBegins: () => { breaker.attempt(); },
    cycleEnded: (failure) => {
      if (failure?.code === 'database-unreachable') failed(failure);
      else succeeded();
    },
  };
}

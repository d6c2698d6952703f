import type { Failure } from '../model/failure.ts';
import type { Millis } from '../model/time.ts';
import type { Look } from '../platform/campaign.ts';
import { createCircuitBreaker } from '../platform/circuit-breaker.ts';
import type { Clock } from '../platform/clock.ts';
import { leaseTiming } from '../platform/leadership.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';

/**
 * Whether the database answers, as two that use it all the time find out: leadership's look every two seconds, and the cycles.
 *
 * While a look fails no cycle begins, and the first one that succeeds calls for a cycle at once. After looks have failed for as
 * long as a leader may act on its lease, nothing that waits for the database can be of use any more: its connections are cut,
 * so that whoever waits on one whose other end is gone tries a new one. A cycle that fails by itself is tried again in
 * the loop's own time.
 */
export interface DatabaseWatch {
  reachable(): boolean;
  looked(look: Pick<Look, 'failure'>): void;
  cycleBegins(): void;
  /** @param failure null: it ended as it should */
  cycleEnded(failure: Failure | null): void;
}

export interface DatabaseWatchOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Drops the connections of whoever waits for the database. */
  readonly cut: () => void;
  /** It answers again. */
  readonly onRecovery: () => void;
}

export function watchDatabase({ clock, metrics, log, cut, onRecovery }: DatabaseWatchOptions): DatabaseWatch {
  const breaker = createCircuitBreaker({ component: 'database', words: { failed: 'the database does not do its work', recovered: 'the database works again' }, metrics, log });
  let awaySince: Millis | null = null;
  const succeeded = (): void => {
    breaker.succeeded();
    metrics.componentHealthy.set({ component: 'database' }, 1);
  };
  const failed = (failure: Failure): void => {
    breaker.failed(failure);
    metrics.componentHealthy.set({ component: 'database' }, 0);
  };
  return {
    reachable: () => awaySince === null,
    looked: ({ failure }) => {
      if (failure !== null) {
        failed(failure);
        metrics.databaseErrors.inc({ error_type: failure.code });
        awaySince ??= clock.monotonic();
        if (clock.monotonic() - awaySince >= leaseTiming.stepDownAfter) cut();
      } else if (awaySince !== null) {
        awaySince = null;
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

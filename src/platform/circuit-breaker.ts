import type { Log } from './log.ts';
import type { Metrics } from './metrics.ts';

/**
 * Keeps callers from waiting for a part that is known to be away. `closed`: work goes on. A failure opens it: work fails at
 * once. The owner decides when an attempt is due, and announces it (`half-open`); its outcome closes or opens again.
 *
 * closed → open (`failed`) → half-open (`attempt`) → closed (`succeeded`) or open (`failed`). An outcome of work that began
 * before the last change of state counts as any other: what it saw of the part is newer than what we knew.
 */
export interface CircuitBreaker {
  readonly state: BreakerState;
  /** An attempt begins; changes nothing while closed. */
  attempt(): void;
  succeeded(): void;
  failed(failure: unknown): void;
}

type BreakerState = 'closed' | 'open' | 'half-open';

export interface CircuitBreakerOptions {
  /** The label `component` of its metrics. */
  readonly component: string;
  /** What is logged when work fails for the first time, and when it goes on; not each time that an attempt fails. */
  readonly words: { readonly failed: string; readonly recovered: string };
  readonly metrics: Pick<Metrics, 'circuitBreakerState' | 'circuitBreakerTransitions'>;
  readonly log: Log;
}

/** As `dory_circuit_breaker_state` shows them. */
const numbers: Readonly<Record<BreakerState, number>> = { closed: 0, open: 1, 'half-open': 2 };

export function createCircuitBreaker({ component, words, metrics, log }: CircuitBreakerOptions): CircuitBreaker {
  let state: BreakerState = 'closed';
  const change = (to: BreakerState): void => {
    if (to === state) return;
    metrics.circuitBreakerTransitions.inc({ component, from_state: state, to_state: to });
    metrics.circuitBreakerState.set({ component }, numbers[to]);
    state = to;
  };
  metrics.circuitBreakerState.set({ component }, numbers.closed);
  return {
    get state() {
      return state;
    },
    attempt: () => {
      if (state === 'open') change('half-open');
    },
    succeeded: () => {
      if (state !== 'closed') log.info({ component }, words.recovered);
      change('closed');
    },
    failed: (failure) => {
      if (state === 'closed') log.error({ err: failure, component }, words.failed);
      change('open');
    },
  };
}

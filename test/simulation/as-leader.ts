import type { CycleHost } from './cycle-runner.ts';
import { assertLeader } from './leader.ts';
import type { Rows } from './rows.ts';

const timeoutMs = 10_000;

/** One transaction of the instance that leads, as it believes; `done` is called only if it really did. */
export function asLeader<T>(host: CycleHost, run: (rows: Rows) => T, done: (value: T) => void): void {
  const epoch = host.lease();
  host.query(timeoutMs, (rows, _, clock) => {
    assertLeader(rows, clock, epoch ?? 0);
    return run(rows);
  }, (answer) => { if (answer.ok) done(answer.value); });
}

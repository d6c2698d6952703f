import { expect, test, vi } from 'vitest';
import { watchDatabase } from '../../../src/cli/database-watch.ts';
import { Failure } from '../../../src/model/failure.ts';
import { seconds } from '../../../src/model/time.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { manualClock } from '../../support/clock.ts';

const away = new Failure('database-unreachable', 'gone');

function watch() {
  const [clock, metrics, cut, onRecovery] = [manualClock(), createMetrics(), vi.fn(), vi.fn()];
  const shown = async (): Promise<readonly (number | undefined)[]> => {
    const [breaker, healthy] = [await metrics.circuitBreakerState.get(), await metrics.componentHealthy.get()];
    return [breaker.values[0]?.value, healthy.values[0]?.value];
  };
  return { clock, cut, onRecovery, shown, database: watchDatabase({ clock, metrics, log: silentLog, cut, onRecovery }) };
}

test('no cycle begins while a look fails; the first that succeeds calls for one at once', async () => {
  const { database, onRecovery, shown, cut } = watch();
  expect(database.reachable()).toBe(true);
  database.looked({ failure: away });
  expect(database.reachable()).toBe(false);
  expect(await shown()).toEqual([1, 0]);
  database.looked({ failure: null });
  expect(database.reachable()).toBe(true);
  expect(await shown()).toEqual([0, 1]);
  database.looked({ failure: null });
  expect(onRecovery).toHaveBeenCalledOnce();
  expect(cut).not.toHaveBeenCalled();
});

test('connections are cut when nothing that waits on them can be of use any more', () => {
  const { database, clock, cut } = watch();
  database.looked({ failure: away });
  clock.advance(seconds(4));
  database.looked({ failure: away });
  expect(cut).not.toHaveBeenCalled();
  clock.advance(seconds(2));
  database.looked({ failure: away });
  expect(cut).toHaveBeenCalledOnce();
});

test('a cycle that the database fails opens the circuit, and neither stops the next one nor calls for it', async () => {
  const { database, onRecovery, shown } = watch();
  database.cycleBegins();
  database.cycleEnded(away);
  expect(await shown()).toEqual([1, 0]);
  database.looked({ failure: null });
  expect(database.reachable()).toBe(true);
  expect(onRecovery).not.toHaveBeenCalled();
  database.cycleBegins();
  expect(await shown()).toEqual([2, 0]);
  database.cycleEnded(new Failure('git-unreachable', 'gone'));
  expect(await shown()).toEqual([0, 1]);
});

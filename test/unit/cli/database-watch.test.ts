import { expect, test, vi } from 'vitest';
import { watchDatabase } from '../../../src/cli/database-watch.ts';
import { Failure } from '../../../src/model/failure.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';

const away = new Failure('database-unreachable', 'gone');

function watch() {
  const [metrics, cut, onRecovery] = [createMetrics(), vi.fn(), vi.fn()];
  const shown = async (): Promise<readonly (number | undefined)[]> => {
    const [breaker, healthy] = [await metrics.circuitBreakerState.get(), await metrics.componentHealthy.get()];
    return [breaker.values[0]?.value, healthy.values[0]?.value];
  };
  return { cut, onRecovery, shown, database: watchDatabase({ metrics, log: silentLog, cut, onRecovery }) };
}

test('no cycle begins while a look fails; the first that succeeds calls for one at once', async () => {
  const { database, onRecovery, shown, cut } = watch();
  expect(database.reachable()).toBe(true);
  database.looked({ failure: away, silent: false });
  expect(database.reachable()).toBe(false);
  expect(await shown()).toEqual([1, 0]);
  database.looked({ failure: null, silent: false });
  expect(database.reachable()).toBe(true);
  expect(await shown()).toEqual([0, 1]);
  database.looked({ failure: null, silent: false });
  expect(onRecovery).toHaveBeenCalledOnce();
  expect(cut).not.toHaveBeenCalled();
});

test('connections are cut where nothing came back', () => {
  const { database, cut } = watch();
  database.looked({ failure: away, silent: false });
  expect(cut).not.toHaveBeenCalled();
  database.looked({ failure: away, silent: true });
  expect(cut).toHaveBeenCalledOnce();
});

test('a cycle that the database fails opens the circuit, and neither stops the next one nor calls for it', async () => {
  const { database, onRecovery, shown } = watch();
  database.cycleBegins();
  database.cycleEnded(away);
  expect(await shown()).toEqual([1, 0]);
  database.looked({ failure: null, silent: false });
  expect(database.reachable()).toBe(true);
  expect(onRecovery).not.toHaveBeenCalled();
  database.cycleBegins();
  expect(await shown()).toEqual([2, 0]);
  database.cycleEnded(new Failure('git-unreachable', 'gone'));
  expect(await shown()).toEqual([0, 1]);
});

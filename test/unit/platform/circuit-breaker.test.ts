import { expect, test, vi } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { createCircuitBreaker } from '../../../src/platform/circuit-breaker.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';

const away = new Failure('database-unreachable', 'gone');

function breaker() {
  const metrics = createMetrics();
  const [info, error] = [vi.fn(), vi.fn()];
  const log = Object.assign(Object.create(silentLog) as typeof silentLog, { info, error });
  const words = { failed: 'it fails', recovered: 'it works' };
  const shown = async (name: string): Promise<readonly string[]> =>
    (await metrics.registry.getSingleMetricAsString(name)).split('\n').filter((line) => !line.startsWith('#'));
  return { ...{ info, error, shown }, breaker: createCircuitBreaker({ component: 'part', words, metrics, log }) };
}

test('a failure opens it, an attempt that succeeds closes it; each is counted, and told once', async () => {
  const { breaker: part, info, error, shown } = breaker();
  expect(part.state).toBe('closed');
  expect(await shown('dory_circuit_breaker_state')).toEqual(['dory_circuit_breaker_state{component="part"} 0']);
  part.failed(away);
  expect(part.state).toBe('open');
  expect(await shown('dory_circuit_breaker_state')).toEqual(['dory_circuit_breaker_state{component="part"} 1']);
  part.attempt();
  expect(part.state).toBe('half-open');
  expect(await shown('dory_circuit_breaker_state')).toEqual(['dory_circuit_breaker_state{component="part"} 2']);
  part.failed(away);
  expect(part.state).toBe('open');
  part.attempt();
  part.succeeded();
  expect(part.state).toBe('closed');
  expect(await shown('dory_circuit_breaker_transitions_total')).toEqual([
    'dory_circuit_breaker_transitions_total{component="part",from_state="closed",to_state="open"} 1',
    'dory_circuit_breaker_transitions_total{component="part",from_state="open",to_state="half-open"} 2',
    'dory_circuit_breaker_transitions_total{component="part",from_state="half-open",to_state="open"} 1',
    'dory_circuit_breaker_transitions_total{component="part",from_state="half-open",to_state="closed"} 1',
  ]);
  expect(error).toHaveBeenCalledOnce();
  expect(info).toHaveBeenCalledOnce();
});

test('while it works, attempts and successes change nothing', async () => {
  const { breaker: part, info, shown } = breaker();
  part.attempt();
  part.succeeded();
  expect(part.state).toBe('closed');
  expect(await shown('dory_circuit_breaker_transitions_total')).toEqual([]);
  expect(info).not.toHaveBeenCalled();
});

test('work that began before it opened, and succeeds, closes it', () => {
  const { breaker: part } = breaker();
  part.failed(away);
  part.succeeded();
  expect(part.state).toBe('closed');
});

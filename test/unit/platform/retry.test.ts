import { expect, test } from 'vitest';
import { Failure, type FailureCode } from '../../../src/model/failure.ts';
import { millis } from '../../../src/model/time.ts';
import { retry, retryPolicies } from '../../../src/platform/retry.ts';
import { fixedRandom, hurryingClock, manualClock } from '../../support/clock.ts';

/** A function that fails with `code` the first `times` times. */
function failing(code: FailureCode, times: number) {
  const calls: number[] = [];
  const fn = (attempt: number): Promise<string> => {
    calls.push(attempt);
    return calls.length <= times ? Promise.reject(new Failure(code, 'no')) : Promise.resolve('done');
  };
  return { fn, calls };
}

const always = Number.POSITIVE_INFINITY;

test('what succeeds is called once', async () => {
  const { fn, calls } = failing('database-conflict', 0);
  expect(await retry({ clock: hurryingClock(), random: fixedRandom(1) }, fn)).toBe('done');
  expect(calls).toEqual([1]);
});

test('a conflict is tried again after short waits that double', async () => {
  const clock = hurryingClock();
  expect(await retry({ clock, random: fixedRandom(1) }, failing('database-conflict', 3).fn)).toBe('done');
  expect(clock.slept).toEqual([20, 40, 80]);
});

test('waits are spread from nothing up to their bound', async () => {
  const clock = hurryingClock();
  await retry({ clock, random: fixedRandom(0.25) }, failing('git-unreachable', 2).fn);
  expect(clock.slept).toEqual([50, 100]);
});

test.each(['now', 'backoff'] as const)('attempts are bounded: %s', async (kind) => {
  const { fn, calls } = failing(kind === 'now' ? 'git-rejected' : 'git-unreachable', always);
  await expect(retry({ clock: hurryingClock(), random: fixedRandom(0) }, fn)).rejects.toBeInstanceOf(Failure);
  expect(calls.length).toBe(retryPolicies[kind].attempts);
});

test('time is bounded, and no wait goes beyond it', async () => {
  const clock = hurryingClock();
  const policies = { ...retryPolicies, backoff: { attempts: 100, within: millis(1000), first: millis(300), longest: millis(300) } };
  await expect(retry({ clock, random: fixedRandom(1), policies }, failing('git-unreachable', always).fn)).rejects.toBeInstanceOf(Failure);
  expect(clock.slept).toEqual([300, 300, 300]);
});

test.each([new Failure('database-refused', 'no'), new TypeError('a bug')])('%s is final', async (error) => {
  let calls = 0;
  const fn = (): Promise<never> => {
    calls++;
    return Promise.reject(error);
  };
  await expect(retry({ clock: hurryingClock(), random: fixedRandom(1) }, fn)).rejects.toBe(error);
  expect(calls).toBe(1);
});

test('an abort ends the wait with its reason', async () => {
  const clock = manualClock();
  const stop = new AbortController();
  const result = retry({ clock, random: fixedRandom(1), signal: stop.signal }, failing('git-unreachable', always).fn);
  await clock.asleep();
  const reason = new Error('shutdown');
  stop.abort(reason);
  await expect(result).rejects.toBe(reason);
});

test('nothing is called after an abort', async () => {
  const { fn, calls } = failing('git-unreachable', 0);
  await expect(retry({ clock: hurryingClock(), random: fixedRandom(1), signal: AbortSignal.abort(new Error('shutdown')) }, fn)).rejects.toThrow('shutdown');
  expect(calls).toEqual([]);
});

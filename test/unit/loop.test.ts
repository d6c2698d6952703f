import { expect, it, vi } from 'vitest';
import { createLoop, type Loop } from '../../src/loop.ts';
import { Failure, type FailureCode } from '../../src/model/failure.ts';
import { millis, seconds, type Millis } from '../../src/model/time.ts';
import { fixedRandom, hurryingClock, manualClock } from '../support/clock.ts';

const pollInterval = seconds(10);
/** Turns of the event loop are waited for, not time. */
const patience = { timeout: 30_000 };
/** In the middle: the poll's jitter adds nothing, a backoff pauses for half of its bound. */
const random = fixedRandom(0.5);

/** One thing after another: each cycle takes the next of `script`, and after the last one the loop is ended. */
async function play(script: readonly (() => Millis | null)[]): Promise<{ slept: readonly Millis[]; failures: readonly FailureCode[] }> {
  const clock = hurryingClock();
  const end = new AbortController();
  const failures: FailureCode[] = [];
  let next = 0;
  const loop = createLoop({
    cycle: () => {
      const step = script[next++];
      if (next === script.length) end.abort();
      return step === undefined ? Promise.reject(new Error('a cycle too many')) : Promise.resolve().then(step);
    },
    mayCycle: () => true, pollInterval, clock, random,
    onFailure: ({ code }) => failures.push(code),
  });
  await loop.run(end.signal);
  return { slept: clock.slept, failures };
}

const calm = (): null => null;
const fails = (code: FailureCode) => (): never => {
  throw new Failure(code, code);
};

/** A loop whose cycles end when the test says so. */
function slowLoop(): { loop: Loop; cycles: () => number; endCycle: () => void; clock: ReturnType<typeof manualClock> } {
  const clock = manualClock();
  const ends: (() => void)[] = [];
  const loop = createLoop({
    cycle: () => new Promise((resolve) => { ends.push(() => { resolve(null); }); }),
    mayCycle: () => true, pollInterval, clock, random,
    onFailure: () => undefined,
  });
  return { loop, clock, cycles: () => ends.length, endCycle: () => { ends.at(-1)?.(); } };
}

it('waits for the poll when there is nothing to do', async () => {
  expect((await play([calm, calm])).slept).toEqual([pollInterval]);
});

it('spreads the polls of many instances by a tenth', async () => {
  const pauses = [0, 0.999].map(async (fraction) => {
    const clock = hurryingClock();
    const end = new AbortController();
    let cycles = 0;
    const cycle = (): Promise<null> => {
      if (++cycles === 2) end.abort();
      return Promise.resolve(null);
    };
    await createLoop({ cycle, mayCycle: () => true, pollInterval, clock, random: fixedRandom(fraction), onFailure: () => undefined }).run(end.signal);
    return clock.slept[0];
  });
  const [least = 0, most = 0] = await Promise.all(pauses);
  expect(least).toBe(9_000);
  expect(most).toBeCloseTo(11_000, -2);
});

it('looks again when the last report asked for it, and not later than the poll', async () => {
  const due = [millis(1_500), millis(-20), seconds(60)];
  const { slept } = await play([...due.map((span) => () => span), calm]);
  expect(slept).toEqual([1_500, 0, pollInterval]);
});

it('runs exactly one more cycle, however often it is woken while one runs', async () => {
  const { loop, clock, cycles, endCycle } = slowLoop();
  const end = new AbortController();
  const ended = loop.run(end.signal);
  for (let call = 0; call < 3; call += 1) loop.wake();
  endCycle();
  await vi.waitFor(() => { expect(cycles()).toBe(2); }, patience);
  endCycle();
  await clock.asleep();
  expect(cycles()).toBe(2);
  end.abort();
  await ended;
});

it('is woken from its sleep at once', async () => {
  const { loop, clock, cycles, endCycle } = slowLoop();
  const end = new AbortController();
  const ended = loop.run(end.signal);
  endCycle();
  await clock.asleep();
  loop.wake();
  await vi.waitFor(() => { expect(cycles()).toBe(2); }, patience);
  endCycle();
  await clock.asleep();
  clock.advance(pollInterval);
  await vi.waitFor(() => { expect(cycles()).toBe(3); }, patience);
  end.abort();
  endCycle();
  await ended;
});

it('ends after the cycle under way', async () => {
  const { loop, cycles, endCycle } = slowLoop();
  const end = new AbortController();
  let over = false;
  const ended = loop.run(end.signal).then(() => { over = true; });
  await vi.waitFor(() => { expect(cycles()).toBe(1); }, patience);
  loop.wake();
  end.abort();
  await Promise.resolve();
  expect(over).toBe(false);
  endCycle();
  await ended;
  expect(cycles()).toBe(1);
});

it('ends at once while it sleeps', async () => {
  const { loop, clock, endCycle } = slowLoop();
  const end = new AbortController();
  const ended = loop.run(end.signal);
  endCycle();
  await clock.asleep();
  end.abort();
  await ended;
});

it('tries again at once after a conflict, up to five times, then with pauses that grow', async () => {
  const { slept, failures } = await play([...Array.from({ length: 8 }, () => fails('database-conflict')), calm]);
  expect(slept.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
  const [sixth = 0, seventh = 0, eighth = 0] = slept.slice(5);
  expect(sixth).toBeGreaterThan(0);
  expect(seventh).toBeGreaterThan(sixth);
  expect(eighth).toBeGreaterThan(seventh);
  expect(failures).toHaveLength(8);
});

it('pauses longer after each failure that may pass, to a bound, and from the start after a cycle that worked', async () => {
  const outage = Array.from({ length: 12 }, () => fails('database-unreachable'));
  const { slept } = await play([...outage, calm, fails('git-unreachable'), calm]);
  const pauses = slept.slice(0, 12);
  expect(pauses).toEqual([...pauses].sort((a, b) => a - b));
  expect(Math.max(...pauses)).toBeLessThanOrEqual(seconds(30));
  expect(slept[12]).toBe(pollInterval);
  expect(slept[13]).toBe(pauses[0]);
});

it('tries at the poll what only a person can mend', async () => {
  const { slept, failures } = await play([fails('database-behind'), fails('database-behind'), calm]);
  expect(slept).toEqual([pollInterval, pollInterval]);
  expect(failures).toEqual(['database-behind', 'database-behind']);
});

it('does nothing while another leads, until it is woken as the leader', async () => {
  const clock = manualClock();
  const end = new AbortController();
  let leads = false;
  const cycle = vi.fn(() => Promise.resolve(null));
  const loop = createLoop({ cycle, mayCycle: () => leads, pollInterval, clock, random, onFailure: () => undefined });
  const ended = loop.run(end.signal);
  await clock.asleep();
  clock.advance(pollInterval);
  await clock.asleep();
  expect(cycle).not.toHaveBeenCalled();
  leads = true;
  loop.wake();
  await vi.waitFor(() => { expect(cycle).toHaveBeenCalledOnce(); }, patience);
  end.abort();
  await ended;
});

it('rejects on a bug', async () => {
  const bug = new TypeError('a bug');
  await expect(play([() => { throw bug; }, calm])).rejects.toBe(bug);
});

import { expect, test } from 'vitest';
import { createContest } from '../../../src/apply/contest.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import { manualClock } from '../../support/clock.ts';

test('what is changed back each time is put back at once, then with growing pauses, and at once again after a calm', () => {
  const clock = manualClock();
  const contest = createContest(clock);
  const waits: number[] = [];
  for (let n = 0; n < 20; n += 1) {
    contest.putBack('a');
    const next = contest.nextAt();
    waits.push(next === null ? 0 : next - clock.monotonic());
    expect(contest.objection('a') === null).toBe(next === null);
    clock.advance(millis(waits.at(-1) ?? 0));
    expect([contest.objection('a'), contest.nextAt()]).toEqual([null, null]);
  }
  expect(waits.slice(0, 9)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0]);
  expect(waits.slice(9, 13)).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect(waits.at(-1)).toBe(60_000);
  clock.advance(seconds(301));
  contest.putBack('a');
  expect(contest.objection('a')).toBeNull();
});

test('one object\'s quarrel is no other one\'s', () => {
  const clock = manualClock();
  const contest = createContest(clock);
  for (let n = 0; n < 12; n += 1) contest.putBack('a');
  contest.putBack('b');
  expect([contest.objection('a') === null, contest.objection('b')]).toEqual([false, null]);
});

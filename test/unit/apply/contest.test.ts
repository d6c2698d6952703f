import { expect, test } from 'vitest';
import { createContest } from '../../../src/apply/contest.ts';
import { millis } from '../../../src/model/time.ts';
import { manualClock } from '../../support/clock.ts';

const key = 'apps/v1/StatefulSet/harbor/cam-e1';

test('what somebody changes again and again is put back with growing pauses, and others at once', () => {
  const clock = manualClock();
  const contest = createContest(clock);
  for (let n = 0; n < 9; n += 1) contest.putBack(key);
  expect(contest.objection(key)).toBeNull();
  const pauses = Array.from({ length: 9 }, () => {
    contest.putBack(key);
    expect(contest.objection(key)).not.toBeNull();
    expect(contest.objection('another')).toBeNull();
    const wait = (contest.nextAt() ?? 0) - clock.monotonic();
    clock.advance(millis(wait));
    expect([contest.objection(key), contest.nextAt()]).toEqual([null, null]);
    return wait / 1000;
  });
  expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
});

test('after five quiet minutes it begins anew', () => {
  const clock = manualClock();
  const contest = createContest(clock);
  for (let n = 0; n < 12; n += 1) contest.putBack(key);
  expect(contest.objection(key)).not.toBeNull();
  clock.advance(millis(300_001));
  contest.putBack(key);
  expect(contest.objection(key)).toBeNull();
});

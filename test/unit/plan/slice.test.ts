import { expect, test } from 'vitest';
import type { Change, Plan } from '../../../src/model/plan.ts';
import { firstSlice } from '../../../src/plan/slice.ts';

const change = (kind: Change['kind'], id: number) => ({ kind, processorId: String(id) }) as Change;
const plan = (changes: readonly Change[]) => ({ at: 5, wakeAt: 9, changes }) as Plan;

test('of first placements some are left for the next cycle, which is due at once; of all else none', () => {
  const all = [change('place', 1), change('move', 2), change('place', 3), change('place', 4), change('remove', 5)];
  expect(firstSlice(plan(all), 2)).toEqual({ at: 5, wakeAt: 5, changes: [change('place', 1), change('move', 2), change('place', 3), change('remove', 5)] });
});

test('what fits is left as it is', () => {
  const small = plan([change('place', 1), change('move', 2), change('place', 3)]);
  expect(firstSlice(small, 2)).toBe(small);
  const none = plan([]);
  expect(firstSlice(none, 2)).toBe(none);
});

import { expect, test } from 'vitest';
import { openLine } from '../../../src/apply/line.ts';
import { createPace, type Pace } from '../../../src/apply/pace.ts';
import { millis } from '../../../src/model/time.ts';
import type { KubeAnswer } from '../../../src/platform/kube/write.ts';
import { fixedRandom, manualClock } from '../../support/clock.ts';

const answered = (status: number): KubeAnswer => ({ kind: 'answered', status, retryAfter: null, body: {} });

/** A line whose requests are answered when it is said so, and what its pace was told. */
function slowLine() {
  const clock = manualClock();
  const told: number[] = [];
  const throttled: number[] = [];
  const pace: Pace = { ...createPace(), answered: ({ took }) => { told.push(took); }, throttled: (_, began) => { throttled.push(began); } };
  const waiting: ((answer: KubeAnswer) => void)[] = [];
  const writer = { send: () => new Promise<KubeAnswer>((resolve) => { waiting.push(resolve); }) };
  const line = openLine({ writer, clock, random: fixedRandom(0), pace, assertLeading: () => Promise.resolve() });
  return {
    told, throttled, line,
    /** So many at once, which take so long. */
    rush: async (together: number, took: number, status = 201): Promise<void> => {
      const sent = Array.from({ length: together }, () => line.send({ method: 'PATCH', path: '/' }));
      await expect.poll(() => waiting.length).toBe(together);
      clock.advance(millis(took));
      for (const answer of waiting.splice(0)) answer(answered(status));
      await Promise.all(sent);
    },
  };
}

test('what a request takes that makes its connection first says nothing about the pace', async () => {
  const { told, rush } = slowLine();
  await rush(3, 90);
  expect(told).toEqual([]);
  await rush(3, 10);
  expect(told).toEqual([10, 10, 10]);
  await rush(5, 20);
  expect(told).toEqual([10, 10, 10, 20, 20, 20]);
});

test('what is refused because there is too much to do counts also on a new connection', async () => {
  const { throttled, rush } = slowLine();
  await rush(2, 10, 429);
  expect(throttled).toEqual([0, 0]);
});

import { expect, test } from 'vitest';
import { openLine, type Line } from '../../../src/apply/line.ts';
import { createPace } from '../../../src/apply/pace.ts';
import { Failure } from '../../../src/model/failure.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import type { KubeRequest } from '../../../src/platform/kube/write.ts';
import { fixedRandom, manualClock } from '../../support/clock.ts';

const request: KubeRequest = { method: 'PATCH', path: '/x' };

/** A line whose connections take `connects` to come about, under a leader that another one follows 10 s after the start. */
function lineOf(connects: number): { readonly line: Line; readonly sent: readonly KubeRequest[] } {
  const clock = manualClock();
  const start = clock.monotonic();
  const sent: KubeRequest[] = [];
  const line = openLine({
    writer: {
      send: async (one, mayStill) => {
        clock.advance(millis(connects));
        await mayStill?.();
        sent.push(one);
        return { kind: 'answered', status: 200, retryAfter: null, body: {} };
      },
    },
    clock, random: fixedRandom(0), pace: createPace(),
    assertLeading: () => (clock.monotonic() - start < seconds(10) ? Promise.resolve() : Promise.reject(new Failure('not-leader', 'Another instance leads.'))),
  });
  return { line, sent };
}

test('who was stopped, or cut off, between asking for the lead and sending asks again, and sends nothing if another leads', async () => {
  const prompt = lineOf(5_000);
  expect(await prompt.line.send(request)).toMatchObject({ kind: 'answered' });
  expect(prompt.sent).toEqual([request]);
  const late = lineOf(12_000);
  await expect(late.line.send(request)).rejects.toMatchObject({ code: 'not-leader' });
  expect(late.sent).toEqual([]);
});

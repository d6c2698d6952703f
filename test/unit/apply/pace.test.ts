import { describe, expect, test } from 'vitest';
import { createPace, type Pace } from '../../../src/apply/pace.ts';
import { millis } from '../../../src/model/time.ts';

/** A server that works on `lanes` requests at once, each for 10 ms; the rest waits. Rounds of as many requests as the pace allows. */
function serve(pace: Pace, lanes: number, rounds: number, from = 0): number {
  let now = from;
  for (let round = 0; round < rounds; round += 1) {
    const together = pace.limit();
    for (let n = 0; n < together; n += 1) pace.answered({ began: millis(now), took: millis(10 * Math.ceil((n + 1) / lanes)), beside: n });
    now += 10 * Math.ceil(together / lanes);
  }
  return now;
}

describe('the pace', () => {
  test('doubles at first, then creeps to what a fast server takes, and no further than the most', () => {
    const pace = createPace();
    serve(pace, 1_000, 1);
    expect(pace.limit()).toBe(32);
    serve(pace, 1_000, 4);
    expect(pace.limit()).toBe(36);
    serve(pace, 1_000, 50);
    expect(pace.limit()).toBe(64);
  });

  test('stays where a slower one has a short queue, and keeps it busy', () => {
    const pace = createPace();
    serve(pace, 12, 1_000);
    expect(pace.limit()).toBeGreaterThanOrEqual(12);
    expect(pace.limit()).toBeLessThanOrEqual(36);
  });

  test('halves once for a rush of refusals, and creeps up again', () => {
    const pace = createPace();
    const now = serve(pace, 1_000, 40);
    for (let n = 0; n < 64; n += 1) pace.throttled(millis(now + n), millis(now - 5));
    expect(pace.limit()).toBe(32);
    serve(pace, 1_000, 4, now + 1_000);
    expect(pace.limit()).toBe(36);
    for (let n = 1; n < 20; n += 1) pace.throttled(millis(now + 10_000 * n), millis(now + 10_000 * n));
    expect(pace.limit()).toBe(1);
  });

  test('begins with one after a silence, and doubles', () => {
    const pace = createPace();
    const now = serve(pace, 1_000, 10);
    pace.silent(millis(now));
    expect(pace.limit()).toBe(1);
    serve(pace, 1_000, 4, now + 1);
    expect(pace.limit()).toBe(16);
  });

  test('one slow object among quick ones changes nothing; a limit that is not reached does not grow', () => {
    const pace = createPace();
    for (let round = 0; round < 10; round += 1) {
      for (let n = 0; n < 8; n += 1) pace.answered({ began: millis(round), took: millis(n === 0 ? 5_000 : 10), beside: 0 });
    }
    expect(pace.limit()).toBe(16);
  });

  test('steps down when everything takes long', () => {
    const pace = createPace();
    const now = serve(pace, 1_000, 40);
    for (let n = 0; n < 64; n += 1) pace.answered({ began: millis(now), took: millis(100), beside: 63 });
    expect(pace.limit()).toBe(48);
    // Those that began before say nothing of the pace since.
    for (let n = 0; n < 640; n += 1) pace.answered({ began: millis(now), took: millis(100), beside: 63 });
    expect(pace.limit()).toBe(48);
  });

  test('finds its way back where the server is slower for good', () => {
    const pace = createPace();
    let now: number = serve(pace, 1_000, 40);
    let least = 64;
    for (let round = 0; round < 60; round += 1) {
      now += 200;
      const together = pace.limit();
      for (let n = 0; n < together; n += 1) pace.answered({ began: millis(now), took: millis(100), beside: n });
      least = Math.min(least, pace.limit());
    }
    expect(least).toBe(16);
    expect(pace.limit()).toBeGreaterThan(32);
  });
});

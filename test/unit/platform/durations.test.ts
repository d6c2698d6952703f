import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDuration } from '../../../src/platform/durations.ts';

test.each([
  ['30s', 30_000],
  ['1m30s', 90_000],
  ['100ms', 100],
  ['1.5h', 5_400_000],
  ['.5s', 500],
  ['1.s', 1000],
  ['0', 0],
  ['1h1m1s1ms', 3_661_001],
  ['250us', 0.25],
  ['250µs', 0.25],
  ['500ns', 0.0005],
])('%s is %d ms', (text, ms) => {
  expect(parseDuration(text)).toBeCloseTo(ms, 9);
});

test.each(['', '30', '30 s', 's', '-30s', '+1s', '1d', '1e3s', '30S', '1m 30s', '.s', 'Infinity', '٣s'])('%j is no duration', (text) => {
  expect(parseDuration(text)).toBeNull();
});

test('hours, minutes, seconds and milliseconds add up', () => {
  const part = fc.nat({ max: 10_000 });
  fc.assert(
    fc.property(part, part, part, part, (h, m, s, ms) => {
      const text = `${String(h)}h${String(m)}m${String(s)}s${String(ms)}ms`;
      expect(parseDuration(text)).toBe(((h * 60 + m) * 60 + s) * 1000 + ms);
    }),
  );
});

test('a long text that is no duration is refused quickly', () => {
  expect(parseDuration('1'.repeat(100_000))).toBeNull();
});

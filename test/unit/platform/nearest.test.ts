import { expect, test } from 'vitest';
import { editDistance, nearest } from '../../../src/platform/nearest.ts';

test.each([
  ['', '', 0],
  ['abc', '', 3],
  ['', 'abc', 3],
  ['kitten', 'sitting', 3],
  ['flaw', 'lawn', 2],
])('from %j to %j it takes %d', (from, to, distance) => {
  expect(editDistance(from, to)).toBe(distance);
});

test('the nearest candidate is meant, if it is near', () => {
  expect(nearest('branhc', ['branch', 'token'])).toBe('branch');
  expect(nearest('PollIntervall', ['pollInterval', 'namespace'])).toBe('pollInterval');
  expect(nearest('flavour', ['branch', 'token'])).toBeNull();
  expect(nearest('x', [])).toBeNull();
});

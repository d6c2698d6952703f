import { expect, test } from 'vitest';
import { shortened, summedUp } from '../../../src/platform/event-groups.ts';

const events = (count: number, kind: string, reason: string) => Array.from({ length: count }, (_, n) => ({ kind, processor_id: String(n), reason, evidence: { n } }));

test('as many as a person reads are told one by one, more of one kind and reason as one', () => {
  const few = events(100, 'held', 'paused');
  const many = events(101, 'held', 'locked');
  expect(summedUp([...many, ...few, ...events(1, 'hold-ended', 'locked')])).toEqual([
    { kind: 'held', processor_id: null, reason: 'locked', evidence: { n: 0, processors: 101 } }, ...few, { kind: 'hold-ended', processor_id: '0', reason: 'locked', evidence: { n: 0 } },
  ]);
  expect(summedUp([])).toEqual([]);
});

test('of a group that is too long, what stands instead of it', () => {
  expect(shortened([1, 2, 3, 10, 4], (n) => String(n).length.toString(), { most: 2, instead: (all, first) => [first, all.length] })).toEqual([1, 4, 10]);
});

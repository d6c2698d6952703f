import { describe, expect, it, test } from 'vitest';
import { conflictsOfPolicy, conflictsOfThresholds } from '../../../src/model/policy-conflicts.ts';
import type { ProcessorPolicy } from '../../../src/model/snapshot.ts';
import { instant, millis, seconds } from '../../../src/model/time.ts';
import { isWithin, nextBegin, policyLayers, policyOf, timeOfDay } from '../../../src/plan/policy.ts';
import { indexWorld } from '../../../src/plan/world.ts';
import { testPolicy } from '../../support/policy.ts';
import { World } from '../../support/world.ts';

const clock = (hour: number, minute = 0, day = 5): ReturnType<typeof instant> => instant(Date.UTC(2026, 1, day, hour, minute));
const night = { fromMinute: 22 * 60, toMinute: 4 * 60 };
const noon = { fromMinute: 720, toMinute: 780 };

test.each([[night, 21, 59, false], [night, 22, 0, true], [night, 0, 0, true], [night, 3, 59, true], [night, 4, 0, false], [noon, 12, 0, true], [noon, 13, 0, false], [{ fromMinute: 0, toMinute: 1_440 }, 23, 59, true]])(
  'of %j, %i:%i is within: %s', (window, hour, minute, within) => {
    expect(isWithin(window, clock(hour, minute))).toBe(within);
  },
);

test('a window begins today or tomorrow, and never now', () => {
  expect(nextBegin(noon, clock(11, 59))).toBe(clock(12));
  expect(nextBegin(noon, clock(12))).toBe(clock(12, 0, 6));
  expect(nextBegin(noon, clock(13))).toBe(clock(12, 0, 6));
  expect(timeOfDay(night.toMinute)).toBe('04:00');
});

describe('the policy of a processor', () => {
  it('is its own over its template\'s over the default, field by field', () => {
    const world = new World();
    world.addNode('edge-1');
    world.addProcessor('cam', { home: 'edge-1' });
    world.policies.set('template/camera', { onFailure: 'hold', priority: 5 });
    world.policies.set('processor/cam', { priority: 9 });
    world.policies.set('processor/other', { onFailure: 'manual' });
    const indexed = indexWorld(world.snapshot());
    const spec = indexed.snapshot.fleet.processors[0]!;
    expect(policyOf(indexed, spec)).toEqual({ ...testPolicy.processors, onFailure: 'hold', priority: 9 });
    expect(policyLayers(indexed, spec).map(({ origin }) => origin)).toEqual(['default', 'template', 'processor']);
  });
});

describe('conflicts', () => {
  const codes = (change: Partial<typeof testPolicy>, unfenced: ProcessorPolicy['unfenced'] = 'replace'): readonly string[] =>
    conflictsOfThresholds({ ...testPolicy, ...change }, unfenced, seconds(5)).map(({ code }) => code);

  it('there are none in the defaults', () => {
    expect(codes({})).toEqual([]);
    expect(conflictsOfPolicy(testPolicy.processors)).toEqual([]);
  });

  it.each<[Partial<typeof testPolicy>, string]>([
    [{ heartbeatGap: seconds(61) }, 'gap-above-stale'],
    [{ intakeFresh: seconds(60) }, 'intake-above-stale'],
    [{ longestWindow: seconds(59) }, 'window-above-longest'],
    [{ heartbeatStale: millis(14_999), heartbeatGap: seconds(5), intakeFresh: seconds(5) }, 'stale-below-beats'],
    [{ lease: millis(14_999) }, 'lease-below-beats'],
  ])('%j is one', (change, code) => {
    expect(codes(change)).toEqual([code]);
  });

  it('a threshold of few beats is one only where nothing but silence is asked for', () => {
    expect(codes({ heartbeatStale: millis(14_999), heartbeatGap: seconds(5), intakeFresh: seconds(5) }, 'hold')).toEqual([]);
  });

  it('a window is needed, and has a length', () => {
    expect(conflictsOfPolicy({ failback: 'window', failbackWindow: null })).toMatchObject([{ code: 'window-missing' }]);
    expect(conflictsOfPolicy({ failback: 'auto', failbackWindow: { fromMinute: 5, toMinute: 5 } })).toMatchObject([{ code: 'window-empty' }]);
    expect(conflictsOfPolicy({ failback: 'window', failbackWindow: night })).toEqual([]);
  });
});

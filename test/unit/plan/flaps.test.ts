import { describe, expect, it, test } from 'vitest';
import { instant, seconds } from '../../../src/model/time.ts';
import type { RecordedVerdict, Verdict } from '../../../src/model/snapshot.ts';
import { flapsAfter, flapsAt, steadyWindow } from '../../../src/plan/flaps.ts';
import { plan } from '../../../src/plan/plan.ts';
import { testPolicy } from '../../support/policy.ts';
import { World } from '../../support/world.ts';

const hour = 3_600_000;
const at = instant(Date.UTC(2026, 0, 1));
const recorded = (verdict: Verdict, flaps: number, hoursAgo = 0): RecordedVerdict => ({ verdict, flaps, since: instant(at - hoursAgo * hour) });

test.each([[0, 60], [1, 60], [2, 120], [3, 240], [8, 7_680], [9, 14_400], [1_000_000, 14_400]])('after %i flaps a node must be steady for %i s', (flaps, s) => {
  expect(steadyWindow(flaps, testPolicy)).toBe(s * 1_000);
});

test('no window is no window, however often it failed', () => {
  expect(steadyWindow(1_000, { ...testPolicy, stabilityWindow: seconds(0) })).toBe(0);
});

describe('flaps', () => {
  it('are forgotten one by one in good health, and only there', () => {
    expect([0, 7.9, 8, 15.9, 16, 24, 240].map((hours) => flapsAt(recorded('healthy', 3, hours), at, testPolicy))).toEqual([3, 3, 2, 2, 1, 0, 0]);
    expect(flapsAt(recorded('lost', 3, 240), at, testPolicy)).toBe(3);
    expect(flapsAt(recorded('healthy', 3, -1), at, testPolicy), 'a verdict of the future forgets nothing').toBe(3);
  });

  it('count each entry into failure', () => {
    expect(flapsAfter(null, 'lost', at, testPolicy)).toBe(1);
    expect(flapsAfter(recorded('healthy', 2, 8), 'silent', at, testPolicy)).toBe(2);
    expect(flapsAfter(recorded('silent', 2), 'lost', at, testPolicy)).toBe(2);
    expect(flapsAfter(recorded('returning', 2), 'lost', at, testPolicy)).toBe(3);
    expect(flapsAfter(recorded('lost', 2), 'returning', at, testPolicy)).toBe(2);
  });
});

/** Up and down for so long each; answers the moves in each hour. */
function flap(upSec: number, downSec: number, hours: number): readonly number[] {
  const world = new World();
  world.addNode('edge-1');
  world.addProcessor('cam', { home: 'edge-1', fenced: true });
  const begin = world.now;
  const moves = Array.from({ length: hours }, () => 0);
  let left = 0;
  while (world.now - begin < hours * hour) {
    if (left <= 0) {
      const node = world.node('edge-1');
      node.beating = !node.beating;
      left += node.beating ? upSec : downSec;
    }
    world.advance(15_000);
    left -= 15;
    const result = plan(world.snapshot());
    world.apply(result);
    for (const { kind } of result.changes) if (kind === 'move') moves[Math.min(hours - 1, Math.floor((world.now - begin) / hour))]! += 1;
    // The agent of a stop does as it is told.
    if (world.placements.get('cam')?.phase === 'stopping') world.agent('cam').acknowledgedAt = world.now;
  }
  return moves;
}

test('a link that flaps for four hours costs a few moves at first, and then none', () => {
  expect(flap(180, 120, 4)).toEqual([5, 0, 0, 0]);
});

test('one that fails every hour costs two moves each time, until it has to be steady for longer than that', () => {
  expect(flap(55 * 60, 5 * 60, 10)).toEqual([0, 2, 2, 2, 2, 2, 2, 1, 0, 0]);
});

import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { simulationPage } from '../../../src/cli/simulate.ts';
import { Failure } from '../../../src/model/failure.ts';
import { parseInput, type RawInput } from '../../../src/operator/input.ts';
import { quantity } from '../../../src/model/quantity.ts';
import { simulate, simulateFleet, type Simulation } from '../../../src/operator/simulate.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { fleetOf } from './fleet.ts';

const manifests = { imagePullSecret: 'ecr-registry-secret', orchestratorUrl: 'http://dory' };

function simulated(snapshot: Snapshot, input: RawInput): Simulation {
  return simulateFleet(snapshot, parseInput(simulate.input, input), manifests);
}

const code = (snapshot: Snapshot, input: RawInput): string => {
  try {
    simulated(snapshot, input);
    return 'taken';
  } catch (error) {
    return error instanceof Failure ? error.code : String(error);
  }
};

const fleet = fleetOf({ 'edge-1': 3, 'edge-2': 2, 'edge-3': 1, 'edge-4': 1 });

describe('a simulation', () => {
  test('tells the commits as they would be called, with times, diffs, and what targets gain', () => {
    const told = simulated(fleet, { fail: ['edge-1'], diffs: 2 });
    expect(told).toMatchObject({ failed: [{ name: 'edge-1', processors: 3 }], quiet: true, unplaced: { count: 0 } });
    expect(told.commits).toHaveLength(1);
    const [commit] = told.commits;
    expect(commit).toMatchObject({ subject: 'failover(edge-1): move 3 processors (heartbeat stale 60 s)', count: 3 });
    expect(commit?.publishedAfterMs).toBe((commit?.decidedAfterMs ?? 0) + 2_000);
    expect(commit?.changes.map(({ diff }) => diff !== null)).toEqual([true, true, false]);
    expect(commit?.changes[0]?.diff).toMatch(/^-.*kubernetes.io\/hostname: edge-1$/m);
    // Three times the default of 500m and 512Mi.
    expect(told.targets).toEqual([{ target: 'managed', gained: 3, cpu: 1.5, memoryBytes: 3 * 512 * 2 ** 20 }]);
    expect(() => simulate.output.parse(told)).not.toThrow();
  });

  test('takes as long for a commit as it is told', () => {
    const [commit] = simulated(fleet, { fail: ['edge-1'], commitTakes: '30s' }).commits;
    expect((commit?.publishedAfterMs ?? 0) - (commit?.decidedAfterMs ?? 0)).toBe(30_000);
  });

  test('chooses by site and share, the same nodes each time, and more of the same for a larger share', () => {
    const names = (input: RawInput): string[] => simulated(fleet, input).failed.map(({ name }) => name);
    expect(names({ site: 'north' })).toEqual(['edge-1', 'edge-3']);
    const half = names({ at: '50%' });
    expect(half).toHaveLength(2);
    expect(names({ at: '50%' })).toEqual(half);
    expect(names({ at: '75%' })).toEqual(expect.arrayContaining(half));
    expect(names({ site: 'north', at: '10%' })).toHaveLength(1);
  });

  test.each([
    [{ fail: ['edge-9'] }, 'not-found'],
    [{ site: 'nowhere' }, 'not-found'],
    [{}, 'invalid-input'],
    [{ at: '0%' }, 'invalid-input'],
    [{ at: '50' }, 'invalid-input'],
    [{ fail: ['edge-1'], for: '48h' }, 'invalid-input'],
    [{ fail: ['edge-1'], how: 'asleep' }, 'invalid-input'],
  ])('refuses %j as %s', (input, expected) => {
    expect(code(fleet, input)).toBe(expected);
  });

  test('says on one page what is left without a place', () => {
    const most = simulated(fleet, { at: '75%' });
    expect(most.unplaced.count).toBeGreaterThan(0);
    expect(most.guard.map(({ state }) => state)).toContain('panic');
    const page = simulationPage(most, 'table', (_color, text) => text);
    expect(page).toContain(`Left without a place: ${String(most.unplaced.count)}.`);
    expect(page).toContain('dory approve guard');
  });

  test('has an input that the command line and a query can give', () => {
    expect(Object.keys(simulate.input.shape)).toEqual(expect.arrayContaining(['fail', 'site', 'at', 'diffs']));
    expect(simulate.output).toBeInstanceOf(z.ZodObject);
  });
});

test.each([['500m', 0.5], ['2', 2], ['1.5Gi', 1.5 * 2 ** 30], ['512Mi', 2 ** 29], ['1e3', 1000], ['128k', 128_000], ['100n', 1e-7]])('the quantity %s is %d', (text, expected) => {
  expect(quantity(text)).toBeCloseTo(expected, 10);
});

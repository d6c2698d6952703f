import { describe, expect, it } from 'vitest';
import type { RuleCode } from './checks.ts';
import { generate } from './generate.ts';
import { mutations } from './mutations.ts';
import { shrink } from './shrink.ts';
import { simulate, type Outcome } from './simulation.ts';

type CommonMutation = (typeof mutations)[number];

/** Which rules each bug breaks, and the first seed that showed it: others may do so before, once the rules of `plan` change. */
const caughtBy: Readonly<Record<CommonMutation, { readonly seed: number; readonly codes: readonly RuleCode[] }>> = {
  'lease-ignored': { seed: 33, codes: ['two-writers'] },
  'lease-not-recorded': { seed: 33, codes: ['two-writers'] },
  'pods-said-gone': { seed: 11, codes: ['two-writers'] },
  'git-not-asked': { seed: 30, codes: ['unjustified'] },
  'old-acknowledgement-counts': { seed: 52, codes: ['two-writers'] },
  'coverage-ignored': { seed: 1, codes: ['unjustified'] },
  'connection-kept': { seed: 13, codes: ['unjustified'] },
  'watch-age-ignored': { seed: 40, codes: ['unjustified'] },
  'returning-is-healthy': { seed: 9, codes: ['unjustified'] },
  'never-reported-is-silent': { seed: 62, codes: ['unjustified'] },
  'freshest-dropped': { seed: 617, codes: ['two-writers', 'paused'] },
  'leader-not-asserted': { seed: 5, codes: ['leader'] },
  'push-without-compare': { seed: 1, codes: ['commits'] },
  'push-of-own-changes-only': { seed: 31, codes: ['commits'] },
  'marked-before-pushed': { seed: 1, codes: ['marked'] },
  'epoch-not-raised': { seed: 1, codes: ['epoch'] },
  'retired-epoch-forgotten': { seed: 51, codes: ['epoch'] },
  'retired-target-forgotten': { seed: 1, codes: ['epoch', 'two-writers'] },
  'beats-count-for-home': { seed: 35, codes: ['unjustified'] },
  'stale-sender-leased': { seed: 1, codes: ['two-writers'] },
  'pause-ignored': { seed: 4, codes: ['paused'] },
  'lock-ignored': { seed: 1, codes: ['unjustified'] },
  'guard-ignored': { seed: 18, codes: ['unjustified'] },
  'idle-cycle-writes': { seed: 1, codes: ['rest'] },
};

const mostSeeds = 400;

function find(mutation: CommonMutation): { readonly seed: number; readonly outcome: Outcome } | null {
  const { seed: first } = caughtBy[mutation];
  for (let seed = first; seed < first + mostSeeds; seed += 1) {
    const outcome = simulate(generate({ seed, faults: null }), mutation);
    if (outcome.violation !== null) return { seed, outcome };
  }
  return null;
}

describe('a bug that is put in is found', () => {
  it.each(mutations)('%s', (mutation) => {
    const found = find(mutation);
    expect(found, `none of ${String(mostSeeds)} seeds breaks a rule`).not.toBeNull();
    expect(caughtBy[mutation].codes).toContain(found?.outcome.violation?.code);
  });
});

it('what is found shrinks to a few faults, and they replay', () => {
  const { seed } = find('lease-ignored')!;
  const fails = (choice: { seed: number; faults: readonly number[] | null }): boolean => simulate(generate(choice), 'lease-ignored').violation !== null;
  const least = shrink({ seed, faults: null }, fails);
  expect(least.faults!.length).toBeLessThan(generate({ seed, faults: null }).faults.length);
  expect(least.faults!.length).toBeGreaterThan(0);
  expect(fails(least)).toBe(true);
  for (const fault of least.faults!) expect(fails({ seed, faults: least.faults!.filter((f) => f !== fault) }), 'each of them is needed').toBe(false);
});

it('one seed is one story', () => {
  const run = () => simulate(generate({ seed: 7, faults: null }));
  expect(run()).toEqual(run());
});

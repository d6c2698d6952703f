import { describe, expect, it } from 'vitest';
import type { RuleCode } from './checks.ts';
import { generate } from './generate.ts';
import { cutoverMutations } from './mutations.ts';
import { simulate } from './simulation.ts';

/** Which rules each bug breaks, and the first seed that showed it: see `mutations.test.ts`. */
const caughtBy: Readonly<Record<(typeof cutoverMutations)[number], { readonly seed: number; readonly codes: readonly RuleCode[] }>> = {
  'foreign-ignored': { seed: 2, codes: ['two-writers'] },
  'renamed-ignored': { seed: 1, codes: ['two-writers'] },
  'leftovers-forced': { seed: 10, codes: ['two-writers'] },
  'taken-before-gone': { seed: 6, codes: ['two-writers'] },
  'stopped-without-proof': { seed: 115, codes: ['two-writers'] },
  'power-off-proves-at-once': { seed: 449, codes: ['two-writers'] },
};

const mostSeeds = 400;

describe('a bug that is put into a cutover is found', () => {
  it.each(cutoverMutations)('%s', (mutation) => {
    for (let { seed } = caughtBy[mutation]; seed < caughtBy[mutation].seed + mostSeeds; seed += 1) {
      const { violation } = simulate(generate({ cutover: true, seed, faults: null }), mutation);
      if (violation === null) continue;
      expect(caughtBy[mutation].codes).toContain(violation.code);
      return;
    }
    expect.fail(`none of ${String(mostSeeds)} seeds breaks a rule`);
  });
});

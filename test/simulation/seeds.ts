import { describe, expect, it } from 'vitest';
import type { Counts } from './checks.ts';
import { formatChoice, type Choice } from './script.ts';
import { live, shrink } from './shrink.ts';

const atOnce = 10;
/** One world instead of many: what a failure says to replay. */
export const chosenWorld = process.env['DORY_SIMULATION_SEED'] ?? '';

/** Lives through many seeds. The tests of two files run side by side, so each takes a share. */
export function describeSeeds(first: number, last: number, of: Pick<Choice, 'cutover'> = {}): void {
  const totals = { steps: 0 };
  const counts: Partial<Record<keyof Counts, number>> = {};
  const blocks = Array.from({ length: Math.ceil((last - first + 1) / atOnce) }, (_, i) => ({ from: first + i * atOnce, to: Math.min(last, first + (i + 1) * atOnce - 1) }));

  describe.skipIf(chosenWorld !== '')(`worlds ${String(first)} to ${String(last)}`, () => {
    it.each(blocks)('no rule is broken in $from to $to', ({ from, to }) => {
      for (let seed = from; seed <= to; seed += 1) {
        const outcome = live({ ...of, seed, faults: null });
        totals.steps += outcome.steps;
        for (const [name, count] of Object.entries(outcome.counts)) counts[name as keyof Counts] = (counts[name as keyof Counts] ?? 0) + (count as number);
        if (outcome.violation !== null) expect.fail(explain({ ...of, seed, faults: null }));
      }
    });

    it('takes steps enough, and things happen in them', () => {
      expect(totals.steps).toBeGreaterThan(500_000);
      const { decisions = 0, moves = 0, stops = 0, commits = 0, takeovers = 0, swept = 0, adopted = 0, renamed = 0, handedBack = 0, poweredOff = 0 } = counts;
      const expected = [decisions, moves, stops, commits, takeovers, ...(of.cutover === true ? [swept, adopted, renamed, handedBack, poweredOff] : [])];
      expect(Math.min(...expected)).toBeGreaterThan(50);
    });
  });
}

/** The smallest part of a failing seed, and its story. */
function explain(whole: Choice): string {
  const least = shrink(whole);
  const { violation, story } = live(least);
  return `${violation?.message ?? ''}\nreplay: DORY_SIMULATION_SEED=${formatChoice(least)} npx vitest run --project simulation\n${story.slice(-60).join('\n')}`;
}

import { generate } from './generate.ts';
import type { Choice } from './script.ts';
import { simulate, type Outcome } from './simulation.ts';

/** Lives through the world of a seed, or through a part of it. */
export function live(choice: Choice): Outcome {
  return simulate(generate(choice));
}

/**
 * The least of a failing seed that still fails: faults are left out, half of them, then fewer at a time, as long as some rule is
 * broken. The world itself stays that of the seed, so that the answer replays.
 */
export function shrink(whole: Choice, fails: (choice: Choice) => boolean = (choice) => live(choice).violation !== null): Choice {
  let kept = generate({ ...whole, faults: null }).faults.map((_, i) => i);
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length;) {
      const without = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (fails({ ...whole, faults: without })) kept = without;
      else from += size;
    }
  }
  return { ...whole, faults: kept };
}

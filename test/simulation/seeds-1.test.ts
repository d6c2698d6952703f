import { expect, it } from 'vitest';
import { parseChoice } from './script.ts';
import { chosenWorld, describeSeeds } from './seeds.ts';
import { live } from './shrink.ts';

describeSeeds(1, 400);

it.skipIf(chosenWorld === '')(`no rule is broken in the world ${chosenWorld}`, () => {
  const { violation, story } = live(parseChoice(chosenWorld));
  if (violation !== null) expect.fail(`${violation.message}\n${story.join('\n')}`);
});

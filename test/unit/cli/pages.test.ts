import { expect, it } from 'vitest';
import { paintPatch } from '../../../src/cli/plan-page.ts';

it('a diff shows what a terminal would obey, line by line', () => {
  const lines = paintPatch('--- a\n+++ b\n+name: \u001b[2J\u202e\n-name: x', (_color, text) => text).split('\n');
  expect(lines).toEqual(['--- a', '+++ b', '+name: \\u001b[2J\\u202e', '-name: x']);
});

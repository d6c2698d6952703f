import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import dory from '../../../config/lint/dory-rules.js';

/** The house rules alone, without types, on source text at a pretended place in the tree. */
async function rulesBroken(filePath: string, source: string): Promise<(string | null)[]> {
  const eslint = new ESLint({
    overrideConfigFile: true,
    overrideConfig: [{
      files: ['**/*.ts'],
      languageOptions: { parser: tseslint.parser },
      plugins: { dory },
      rules: { 'dory/direction': 'error', 'dory/pure': 'error', 'dory/settings-as-values': 'error' },
    }] as ESLint.Options['overrideConfig'],
  });
  const [result] = await eslint.lintText(source, { filePath });
  return (result?.messages ?? []).map(({ ruleId }) => ruleId);
}

describe('dory/direction', () => {
  it.each([
    ['src/plan/a.ts', '../platform/log.ts'],
    ['src/plan/a.ts', '../observe/rows.ts'],
    ['src/model/a.ts', '../plan/plan.ts'],
    ['src/commit/a.ts', '../render/render.ts'],
    ['src/decide/a.ts', '../cycle.ts'],
    ['src/render/a.ts', '../platform/pg.ts'],
    ['charts-ts/a.ts', '../src/render/render.ts'],
    ['src/cycle.ts', './cli/status.ts'],
    ['src/http/a.ts', '../observe/rows.ts'],
    ['src/http/a.ts', '../operator/registry.ts'],
    ['src/operator/a.ts', '../cli/status.ts'],
  ])('%s may not import %s', async (file, source) => {
    expect(await rulesBroken(file, `import { x } from '${source}';\nexport const y = x;`)).toEqual(['dory/direction']);
    expect(await rulesBroken(file, `export { x } from '${source}';`)).toEqual(['dory/direction']);
  });

  it.each([
    ['src/plan/a.ts', '../model/ids.ts'],
    ['src/render/a.ts', '../platform/digest.ts'],
    ['src/operator/a.ts', '../plan/plan.ts'],
    ['src/render/a.ts', '../../charts-ts/processor.ts'],
    ['src/cycle.ts', './plan/plan.ts'],
    ['charts-ts/main.ts', '../src/render/render.ts'],
    ['src/commit/a.ts', '../platform/git.ts'],
  ])('%s may import %s', async (file, source) => {
    expect(await rulesBroken(file, `import { x } from '${source}';\nexport const y = x;`)).toEqual([]);
  });
});

describe('dory/pure', () => {
  it.each([
    ['a clock', 'export const now = Date.now();'],
    ['a clock without arguments', 'export const now = new Date();'],
    ['randomness', 'export const x = Math.random();'],
    ['a node module', "import fs from 'node:fs';\nexport { fs };"],
    ['async', 'export async function f() { return 1; }'],
    ['a timer', 'setTimeout(() => undefined, 1);'],
    ['a console', "console.log('x');"],
  ])('refuses %s', async (_, source) => {
    expect(await rulesBroken('src/plan/a.ts', source)).toContain('dory/pure');
  });

  it('leaves dates of a given moment alone', async () => {
    expect(await rulesBroken('src/plan/a.ts', 'export const text = (ms: number) => new Date(ms).toISOString();')).toEqual([]);
  });
});

describe('dory/settings-as-values', () => {
  it.each(['process.env', 'process.exit', 'process.argv'])('refuses %s', async (what) => {
    expect(await rulesBroken('src/observe/a.ts', `export const x = ${what};`)).toContain('dory/settings-as-values');
  });
});

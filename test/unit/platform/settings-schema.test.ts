import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { settingKeys } from '../../../src/platform/settings-keys.ts';
import { settingsJsonSchema } from '../../../src/platform/settings-schema.ts';

const config = join(packageRoot(), 'config');

test('the published JSON schema is that of the program', async () => {
  const published: unknown = JSON.parse(await readFile(join(config, 'settings.schema.json'), 'utf8'));
  expect(published).toEqual(settingsJsonSchema());
});

test('the JSON schema requires nothing and refuses unknown settings', () => {
  const text = JSON.stringify(settingsJsonSchema());
  expect(text).not.toContain('"required"');
  expect(text).not.toContain('"secret"');
  expect(settingsJsonSchema()).toMatchObject({ additionalProperties: false });
});

test('every setting has its default in the file, and nothing else is there', async () => {
  const defaults: unknown = parse(await readFile(join(config, 'defaults.yaml'), 'utf8'));
  expect(leaves(defaults, [])).toEqual(settingKeys.map(({ path }) => path));
});

test('every setting says what it is for', () => {
  expect(settingKeys.filter(({ description }) => description === '')).toEqual([]);
});

function leaves(value: unknown, above: readonly string[]): readonly string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [above.join('.')];
  return Object.entries(value).flatMap(([name, inner]) => leaves(inner, [...above, name]));
}

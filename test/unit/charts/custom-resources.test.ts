import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { describe, expect, test } from 'vitest';
import { defaultSystemProps } from '../../../charts-ts/system/index.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { violations, type CrdSchema } from './crd-schema.ts';
import { find, systemObjects } from './objects.ts';

const root = packageRoot();
const schemaOf = (file: string): CrdSchema => {
  const crd = parse(readFileSync(join(root, 'config/crds', file), 'utf8')) as { spec: { versions: { name: string; schema: { openAPIV3Schema: CrdSchema } }[] } };
  const version = crd.spec.versions.find(({ name }) => name === 'v1');
  if (version === undefined) throw new Error(`${file} has no v1`);
  return version.schema.openAPIV3Schema;
};

describe.each([
  ['NodePool', 'dory-app-pool', 'karpenter.sh_nodepools.yaml'],
  ['EC2NodeClass', 'dory-app-nodeclass', 'karpenter.k8s.aws_ec2nodeclasses.yaml'],
])('%s', (kind, name, file) => {
  const object = find(systemObjects(defaultSystemProps), kind, name);

  test('is what the published schema accepts', () => {
    expect(violations(schemaOf(file), object)).toEqual([]);
  });

  test('would be refused with a field that the schema does not have, or without one that it needs', () => {
    const { spec } = object as unknown as { spec: Record<string, unknown> };
    expect(violations(schemaOf(file), { ...object, spec: { ...spec, wieght: 1 } })).toEqual(['.spec.wieght: no such field']);
    expect(violations(schemaOf(file), { ...object, spec: {} })).not.toEqual([]);
  });
});

test('`cdk8s import` writes the committed constructs again, byte for byte', async () => {
  const folder = await temporaryFolder();
  try {
    const files = ['karpenter.sh_nodepools.yaml', 'karpenter.k8s.aws_ec2nodeclasses.yaml'].map((name) => `config/crds/${name}`);
    const cli = join(root, 'node_modules/cdk8s-cli/bin/cdk8s');
    const options = ['--language', 'typescript', '--no-save', '--no-check-upgrade', '--output', folder.path];
    for (const file of files) await promisify(execFile)(process.execPath, [cli, 'import', file, ...options], { cwd: root });
    for (const name of ['karpenter.sh.ts', 'karpenter.k8s.aws.ts']) {
      expect(await readFile(join(folder.path, name), 'utf8')).toBe(await readFile(join(root, 'charts-ts/imports', name), 'utf8'));
    }
  } finally {
    await folder.remove();
  }
});

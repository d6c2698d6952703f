import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { defaultSystemProps } from '../../../charts-ts/system/index.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { at, find, systemObjects } from './objects.ts';

/** The job's own script and environment, with programs in the place of `aws` and `kubectl` that write down what they are given. */

const container = at(find(systemObjects(defaultSystemProps, ['plant-a']), 'CronJob', 'ecr-token-refresh'), 'spec.jobTemplate.spec.template.spec.containers.0');
const command = at(container, 'command') as string[];
const env = Object.fromEntries((at(container, 'env') as { name: string; value: string }[]).map(({ name, value }) => [name, value]));

const aws = `#!/bin/sh
echo "aws $*" >> "$HOME/calls"
[ -e "$HOME/aws-fails" ] && exit 1
echo token-of-the-registry
`;
const kubectl = `#!/bin/sh
echo "kubectl $*" >> "$HOME/calls"
case "$*" in
  *"--namespace $MISSING"*) exit 1 ;;
  create*) cat "$HOME/config.json" ;;
esac
`;

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  folder = await temporaryFolder();
  for (const [name, text] of [['aws', aws], ['kubectl', kubectl]] as const) {
    await writeFile(join(folder.path, name), text);
    await chmod(join(folder.path, name), 0o755);
  }
});
afterEach(async () => {
  await folder.remove();
});

async function run(missing: string): Promise<{ code: number; calls: readonly string[] }> {
  const [shell = '', ...args] = command;
  const environment = { ...env, HOME: folder.path, MISSING: missing, PATH: `${folder.path}:/usr/bin:/bin` };
  const code = await promisify(execFile)(shell, args, { env: environment }).then(() => 0, (error: unknown) => (error as { code: number }).code);
  const calls = await readFile(join(folder.path, 'calls'), 'utf8');
  return { code, calls: calls.trimEnd().split('\n').map((line) => line.replaceAll(folder.path, '~')) };
}

test('writes the registry\'s token to the Secret in each namespace', async () => {
  const { code, calls } = await run('none');
  expect(code).toBe(0);
  expect(calls[0]).toBe('aws ecr get-login-password --region us-east-2');
  expect(calls.filter((call) => call.includes(' create '))).toEqual(
    ['default', 'dory-system', 'kube-system', 'plant-a'].map(
      (namespace) => `kubectl create secret docker-registry ecr-registry-secret --namespace ${namespace} --from-file=.dockerconfigjson=~/config.json --dry-run=client --output=yaml`,
    ),
  );
  expect(calls.filter((call) => call.includes(' apply --server-side ')).length).toBe(4);
  const auth = Buffer.from('AWS:token-of-the-registry').toString('base64');
  expect(JSON.parse(await readFile(join(folder.path, 'secret.yaml'), 'utf8'))).toEqual({
    auths: { '<ACCOUNT_ID>.dkr.ecr.us-east-2.amazonaws.com': { username: 'AWS', password: 'token-of-the-registry', auth } },
  });
});

test('no argument holds the token', async () => {
  const { calls } = await run('none');
  expect(calls.join('\n')).not.toContain('token-of-the-registry');
});

test('a namespace that is missing fails the job, after all others got theirs', async () => {
  const { code, calls } = await run('dory-system');
  expect(code).toBe(1);
  expect(calls.filter((call) => call.includes(' apply ')).length).toBe(3);
});

test('without a token no Secret is touched', async () => {
  await writeFile(join(folder.path, 'aws-fails'), '');
  const { code, calls } = await run('none');
  expect(code).not.toBe(0);
  expect(calls).toHaveLength(1);
});

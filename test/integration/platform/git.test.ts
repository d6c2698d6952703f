import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import { createGit } from '../../../src/platform/git.ts';
import { temporaryFolder } from '../../support/temp.ts';

/** What becomes of a git that is this script. */
async function ended(script: string, timeout = 60_000): Promise<unknown> {
  const folder = await temporaryFolder();
  onTestFinished(() => folder.remove());
  await writeFile(join(folder.path, 'git'), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder.path, 'git'), 0o700);
  return createGit({ directory: folder.path, path: folder.path, timeout: millis(timeout) }).run(['version']).catch((error: unknown) => error);
}

test('a git that says no, one that others kill, and one that is killed because it says nothing are told apart', async () => {
  expect(await ended('exit 1')).toMatchObject({ name: 'GitExit', killed: false, timedOut: false });
  expect(await ended('kill -9 $$')).toMatchObject({ name: 'GitExit', killed: true, timedOut: false });
  expect(await ended('/bin/sleep 600', 300)).toMatchObject({ name: 'GitExit', killed: true, timedOut: true });
});

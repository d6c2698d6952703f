import { expect, test } from 'vitest';
import type { Clone } from '../../../src/commit/clone.ts';
import { BrokenClone } from '../../../src/commit/outcome.ts';
import { createPlumbing, type Plumbing } from '../../../src/commit/plumbing.ts';
import type { GitSettings } from '../../../src/commit/settings.ts';
import { GitExit } from '../../../src/platform/git.ts';

/** Git that always ends like this. */
function plumbing(ended: { readonly timedOut: boolean; readonly killed: boolean }): Plumbing {
  const clone: Clone = { dir: '/nowhere', git: { run: (args) => Promise.reject(new GitExit(args[0] ?? '', { stdout: '', stderr: '', ...ended })) } };
  const person = { name: 'dory', email: 'dory@example.com' };
  const settings: GitSettings = { url: '/remote', branch: 'main', author: person, committer: person, dataDir: '/nowhere', cluster: 'test', owner: 'o', auth: { kind: 'none' }, caFile: null, signingKeyFile: null, path: null };
  return createPlumbing(clone, settings, { protocol: 'file', url: '/remote' });
}

test('a git that was killed has not said that the branch was rewritten', async () => {
  expect(await plumbing({ timedOut: false, killed: false }).isAncestor('a', 'b')).toBe(false);
  await expect(plumbing({ timedOut: false, killed: true }).isAncestor('a', 'b')).rejects.toBeInstanceOf(BrokenClone);
  await expect(plumbing({ timedOut: true, killed: true }).isAncestor('a', 'b')).rejects.toBeInstanceOf(BrokenClone);
});

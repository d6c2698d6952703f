import { describe, expect, test } from 'vitest';
import { checkSettings, type GitSettings } from '../../../src/commit/settings.ts';
import { Failure } from '../../../src/model/failure.ts';

const person = { name: 'dory', email: 'dory@localhost' };
const settings = (changes: Partial<GitSettings>): GitSettings => ({
  url: '/srv/fleet.git', branch: 'main', author: person, committer: person, dataDir: '/data', cluster: 'alpha', owner: 'o',
  auth: { kind: 'none' }, caFile: null, signingKeyFile: null, path: null, ...changes,
});

describe('remotes', () => {
  test.each([
    ['/srv/fleet.git', 'file'], ['file:///srv/fleet.git', 'file'], ['https://git.example.com/fleet.git', 'https'], ['https://git.example.com:8443/a/b', 'https'],
    ['http://127.0.0.1:3000/fleet.git', 'http'], ['http://[::1]/fleet.git', 'http'], ['ssh://git@git.example.com:22/fleet.git', 'ssh'], ['git@git.example.com:org/fleet.git', 'ssh'],
  ])('%s is used by %s', (url, protocol) => {
    expect(checkSettings(settings({ url }))).toEqual({ url, protocol });
  });

  test.each([
    'ext::sh -c "id"', 'fd::7', '--upload-pack=id', '-x', 'relative/path', 'ftp://example.com/x', 'git://example.com/x', 'http://git.example.com/fleet.git',
    'https://git.example.com/a\nb', '/srv/a\u0000b', 'git@-oProxyCommand=id:x', 'git@host:-x', '-git@host:x', 'ssh://-oProxyCommand=id/x', '',
  ])('%j is refused', (url) => {
    expect(() => checkSettings(settings({ url }))).toThrow(expect.objectContaining({ code: 'settings-invalid' }) as Failure);
  });

  test.each(['https://user:hunter2@git.example.com/x', 'https://hunter2@git.example.com/x', 'ssh://git:hunter2@git.example.com/x'])('a credential in %s is refused, and not repeated', (url) => {
    const failure = refusal({ url });
    expect(failure.code).toBe('settings-invalid');
    expect(failure.mend).toContain('git.token');
    expect(`${failure.message} ${failure.mend} ${failure.stack ?? ''}`).not.toContain('hunter2');
  });
});

test.each([
  { branch: '-f' }, { branch: 'a..b' }, { branch: 'a\nb' }, { branch: 'x.lock' }, { branch: 'refs/heads/../x' }, { branch: 'a:b' },
  { cluster: '../x' }, { cluster: 'A' }, { cluster: '' }, { author: { name: 'a\nb', email: 'x' } }, { author: { name: 'a <b', email: 'x' } }, { committer: { name: 'a', email: 'x>' } }, { committer: { name: ' ', email: 'x' } },
  { auth: { kind: 'token', username: 'x', token: () => Promise.resolve('t') } },
] satisfies Partial<GitSettings>[])('%j is refused', (changes) => {
  expect(refusal(changes).code).toBe('settings-invalid');
});

function refusal(changes: Partial<GitSettings>): Failure {
  try {
    checkSettings(settings(changes));
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

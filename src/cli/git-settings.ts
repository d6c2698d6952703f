import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createBareRepository } from '../commit/clone.ts';
import type { GitAuth, GitSettings } from '../commit/settings.ts';
import { Failure } from '../model/failure.ts';
import type { Settings } from '../platform/settings-schema.ts';

/** Git settings of the commit stage; without a URL a bare repository of our own, made where it is not there yet. */
export async function gitSettings(settings: Settings, owner: string, path: string): Promise<GitSettings> {
  const { git, dataDir, cluster } = settings;
  const author = { name: git.authorName, email: git.authorEmail };
  return {
    url: git.url === null ? await localRepository(dataDir, git.branch, path) : remoteUrl(git.url),
    branch: git.branch,
    author,
    committer: { name: git.committerName ?? author.name, email: git.committerEmail ?? author.email },
    dataDir: resolve(dataDir),
    cluster,
    owner,
    auth: authOf(settings),
    caFile: git.caFile,
    signingKeyFile: git.signingKeyFile === null ? null : resolve(git.signingKeyFile),
    path,
  };
}

function authOf({ git }: Settings): GitAuth {
  const { url, token, tokenFile, username, sshKeyFile, sshKnownHostsFile } = git;
  if (url !== null && isSsh(url)) return { kind: 'ssh', keyFile: absolute(sshKeyFile), knownHostsFile: absolute(sshKnownHostsFile) };
  if (token === null && tokenFile === null) return { kind: 'none' };
  return { kind: 'token', username, token: () => (tokenFile === null ? Promise.resolve(token ?? '') : readToken(tokenFile)) };
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new Failure('git-refused', `git.tokenFile can't be read: ${cause instanceof Error ? cause.message : String(cause)}.`, { mend: 'Mount the Secret there, or name another file.', cause });
  }
}

function isSsh(url: string): boolean {
  return url.startsWith('ssh://') || (!url.includes('://') && /^[\w.-]+@[\w.-]+:/.test(url));
}

/** A path means the same from every folder. */
function remoteUrl(url: string): string {
  return url.includes('://') || isSsh(url) ? url : resolve(url);
}

function absolute(file: string | null): string | null {
  return file === null ? null : resolve(file);
}

/** Where the repository of our own lies. */
export async function localRepository(dataDir: string, branch: string, path: string): Promise<string> {
  const directory = resolve(dataDir, 'repository.git');
  await createBareRepository(directory, branch, path);
  return directory;
}

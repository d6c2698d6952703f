import { appendFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestText } from '../platform/digest.ts';
import { createGit, type Git } from '../platform/git.ts';
import type { Random } from '../platform/random.ts';
import { defaultTimeouts, usualPath, type GitSettings, type Remote } from './settings.ts';

/**
 * The bare clone: state derived from the remote, that may be thrown away at any time.
 *
 * It counts as made when its last file, the marker, is there; anything else that lies in its place was left by a crash
 * and goes. A clone that turns out to be broken (a stale lock, a torn pack) is moved aside, so that a git process
 * that outlived its parent finds its files, then removed.
 */
export interface Clone {
  readonly dir: string;
  readonly git: Git;
}

const ownConfig = 'dory-config';
/** Written last; raised when older clones can't be used. */
const marker = { name: 'dory-clone', text: 'format 1\n' };

export async function openClone(settings: GitSettings, remote: Remote, random: Random): Promise<Clone> {
  const dir = cloneFolder(settings, remote);
  const path = settings.path ?? usualPath;
  const timeout = (settings.timeouts ?? defaultTimeouts).local;
  if (!(await isMade(dir))) {
    await discardClone(dir, random);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await createGit({ directory: dir, path, timeout }).run(['init', '--quiet', '--bare', '--template=', '--object-format=sha1']);
    await appendFile(join(dir, 'config'), section('include', [['path', ownConfig]]));
    await writeFile(join(dir, marker.name), marker.text);
  }
  await writeFile(join(dir, ownConfig), configuration(settings));
  return { dir, git: createGit({ directory: dir, path, timeout, env: environment(dir, settings, remote) }) };
}

/** An empty repository to push to. It stays as it is where it exists. */
export async function createBareRepository(directory: string, branch: string, path: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await createGit({ directory, path, timeout: defaultTimeouts.local }).run(['init', '--quiet', '--bare', '--template=', '--object-format=sha1', `--initial-branch=${branch}`]);
}

export async function discardClone(dir: string, random: Random): Promise<void> {
  const aside = `${dir}.discarded-${random.hex(4)}`;
  try {
    await rename(dir, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  // A git that outlived its parent may write into it meanwhile; what can't be removed now is only space.
  await rm(aside, { recursive: true, force: true, maxRetries: 3 });
}

export function cloneFolder({ dataDir, branch, cluster }: GitSettings, { url }: Remote): string {
  return join(dataDir, `git-${digestText([url, branch, cluster].join('\n')).slice(0, 12)}`);
}

async function isMade(dir: string): Promise<boolean> {
  return (await readFile(join(dir, marker.name), 'utf8').catch(() => '')) === marker.text;
}

/**
 * `fsync`: after a power cut the clone is cloned anew. `unpackLimit`: one pack is written faster than its loose objects.
 * `compression`: half the time for a twentieth more space, until the clone is repacked. Hooks and automatic
 * maintenance would be other people's programs, and work at the wrong moment.
 */
function configuration({ caFile, signingKeyFile }: GitSettings): string {
  return [
    section('core', [['hooksPath', '/dev/null'], ['fsync', 'none'], ['logAllRefUpdates', 'false']]),
    section('gc', [['auto', '0']]),
    section('maintenance', [['auto', 'false']]),
    section('pack', [['compression', '1']]),
    section('fastimport', [['unpackLimit', '1']]),
    section('fetch', [['unpackLimit', '1']]),
    section('http', caFile === null ? [] : [['sslCAInfo', caFile]]),
    section('gpg', [['format', 'ssh']]),
    section('user', signingKeyFile === null ? [] : [['signingKey', signingKeyFile]]),
  ].join('');
}

function environment(dir: string, { auth }: GitSettings, { protocol }: Remote): Record<string, string> {
  return {
    GIT_CONFIG_GLOBAL: globalConfigFile(dir),
    GIT_ALLOW_PROTOCOL: protocol,
    ...(auth.kind === 'ssh' ? { GIT_SSH_COMMAND: sshCommand(auth.keyFile, auth.knownHostsFile), GIT_SSH_VARIANT: 'ssh' } : {}),
  };
}

/** No agent, no configuration, no question: only the key that is set, and only hosts that are known. A silent host is given up after 30 s. */
function sshCommand(keyFile: string | null, knownHostsFile: string | null): string {
  const options = [
    'BatchMode=yes', 'IdentityAgent=none', ...(keyFile === null ? [] : ['IdentitiesOnly=yes', `IdentityFile=${sshQuoted(keyFile)}`]), 'StrictHostKeyChecking=yes', 'ConnectTimeout=15', 'ServerAliveInterval=10', 'ServerAliveCountMax=3',
    ...(knownHostsFile === null ? [] : [`UserKnownHostsFile=${sshQuoted(knownHostsFile)}`, 'GlobalKnownHostsFile=/dev/null']),
  ];
  return ['ssh', '-F', 'none', ...options.flatMap((option) => ['-o', option])].map(shellQuoted).join(' ');
}

function globalConfigFile(dir: string): string {
  return join(dir, 'dory-global');
}

/**
 * What the remote's side of git must see as well, when that is a process on this machine, and the token: it is in no
 * argument, no environment and no URL, only in this file, that only this user reads.
 */
export async function writeGlobalConfig({ dir }: Clone, settings: GitSettings, remote: Remote): Promise<void> {
  const text = [
    // A repository on this machine may be another user's: that we were told to use it is enough.
    section('safe', remote.protocol === 'file' ? [['directory', '*']] : []),
    settings.auth.kind === 'token' ? section(`http ${quoted(remote.url)}`, [['extraHeader', authorization(settings.auth.username, await settings.auth.token())]]) : '',
  ].join('');
  const file = globalConfigFile(dir);
  if ((await readFile(file, 'utf8').catch(() => null)) === text) return;
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

/** The token goes when the program does. */
export async function forgetToken({ dir }: Clone): Promise<void> {
  await rm(globalConfigFile(dir), { force: true });
}

/** Basic: what all hosts take over git's https; they look at the token, and few at the name. */
function authorization(username: string, token: string): string {
  return `Authorization: Basic ${Buffer.from(`${username}:${token}`).toString('base64')}`;
}

function section(name: string, entries: readonly (readonly [string, string])[]): string {
  return entries.length === 0 ? '' : `[${name}]\n${entries.map(([key, value]) => `\t${key} = ${quoted(value)}\n`).join('')}`;
}

/** As git's configuration files quote. */
function quoted(value: string): string {
  return `"${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

function sshQuoted(value: string): string {
  return `"${value}"`;
}

function shellQuoted(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`;
}

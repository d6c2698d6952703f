import type { Instant, Millis } from '../model/time.ts';
import { instant } from '../model/time.ts';
import { Failure } from '../model/failure.ts';
import { GitExit, type Git } from '../platform/git.ts';
import { writeGlobalConfig, type Clone } from './clone.ts';
import { gitDate, importStreams, type CommitDraft } from './fast-import.ts';
import { parseDifferences, type Differences } from './listing.ts';
import { BrokenClone, locally, remoteFailure } from './outcome.ts';
import { plainText } from './plain-text.ts';
import { defaultTimeouts, type GitSettings, type Remote } from './settings.ts';

/** The few git commands that the commit stage is made of, each one process. */
export interface Plumbing {
  /** Brings the clone up to the remote's branch; null where there is none. */
  fetch(): Promise<string | null>;
  /** From `parent` (null: no branch) to its child, or not at all. `rejected`: somebody was faster. */
  push(commit: string, parent: string | null): Promise<'pushed' | 'rejected'>;
  /** Writes a commit into the clone, signed where a key is set. */
  write(draft: CommitDraft): Promise<string>;
  /** Of our folder. */
  differences(from: string | null, to: string): Promise<Differences>;
  /** Commits that changed our folder on the branch that ends in `to`, newest first; those that `from` has are left out. */
  log(to: string, options: { readonly from: string | null; readonly limit: number }): Promise<readonly CommitEntry[]>;
  /** Contents of these blobs, in this order. */
  blobs(names: readonly string[]): Promise<readonly Buffer[]>;
  /** False too where the clone does not have it. */
  isAncestor(ancestor: string, of: string): Promise<boolean>;
  repack(): Promise<void>;
}

export interface CommitEntry {
  readonly commit: string;
  readonly committerEmail: string;
  /** `Name <address>`, made plain: people choose it. */
  readonly author: string;
  readonly at: Instant;
  /** Values of the trailers, where there is exactly one. */
  readonly revision: string;
  readonly cluster: string;
}

const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';
const trackingRef = 'refs/dory/remote';
/** Somebody was faster: found by git here (`[rejected]`), or by the remote when it took the lock (`[remote rejected]`). */
const raced = /fetch first|non-fast-forward|stale info|cannot lock ref|failed to lock|failed to update ref|incorrect old value|already exists|unable to lock/i;

export function createPlumbing(clone: Clone, settings: GitSettings, remote: Remote): Plumbing {
  const timeout = (settings.timeouts ?? defaultTimeouts).network;
  const folder = `clusters/${settings.cluster}`;
  const branch = `refs/heads/${settings.branch}`;
  const local: Local = async (args, options) => {
    try {
      return await clone.git.run(args, options);
    } catch (error) {
      throw locally(error);
    }
  };
  return {
    fetch: () => fetch(clone, { settings, remote, branch, local, timeout }),
    push: (commit, parent) => push(clone, { settings, remote, branch, commit, parent, timeout }),
    write: (draft) => write(local, settings, draft),
    differences: async (from, to) => parseDifferences(await local(['diff-tree', '-r', '-z', '--raw', '--no-renames', '--no-abbrev', from ?? emptyTree, to, '--', folder])),
    log: async (to, { from, limit }) => parseLog(await local([
      'log', '--first-parent', `--max-count=${String(limit)}`, `--format=${logFormat}`, ...(from === null ? [] : [`^${from}`]), to, '--', folder,
    ])),
    blobs: async (names) => names.length === 0 ? [] : parseBatch(await local(['cat-file', '--batch'], { input: Buffer.from(names.map((name) => `${name}\n`).join('')) }), names),
    isAncestor: (ancestor, of) => clone.git.run(['merge-base', '--is-ancestor', ancestor, of]).then(() => true, (error: unknown) => {
      // One that was killed has not said no.
      if (error instanceof GitExit && !error.killed) return false;
      throw locally(error);
    }),
    repack: async () => {
      await local(['-c', 'pack.threads=1', 'repack', '--quiet', '--geometric=2', '-d']);
    },
  };
}

type Local = Git['run'];

interface Conversation {
  readonly settings: GitSettings;
  readonly remote: Remote;
  readonly branch: string;
  readonly timeout: Millis;
}

async function fetch(clone: Clone, { settings, remote, branch, timeout, local }: Conversation & { readonly local: Local }): Promise<string | null> {
  await writeGlobalConfig(clone, settings, remote).catch((error: unknown) => { throw locally(error); });
  try {
    await clone.git.run(['fetch', '--verbose', '--no-tags', '--no-write-fetch-head', '--', remote.url, `+${branch}:${trackingRef}`], { timeout });
  } catch (error) {
    if (!(error instanceof GitExit)) throw error;
    if (error.stderr.includes("couldn't find remote ref")) return null;
    throw remoteFailure(error);
  }
  return (await local(['rev-parse', '--verify', trackingRef])).toString('latin1').trim();
}

interface Step {
  readonly commit: string;
  readonly parent: string | null;
}

/**
 * Compare and swap: the lease names the commit's own parent, so that nothing but a fast-forward passes, and not even that where the
 * branch was rewound meanwhile (it would bring back what somebody took out). Not thin: the remote would complete the
 * pack again, and that takes longer than to send a few hundred small objects.
 */
async function push(clone: Clone, { settings, remote, branch, commit, parent, timeout }: Conversation & Step): Promise<'pushed' | 'rejected'> {
  await writeGlobalConfig(clone, settings, remote).catch((error: unknown) => { throw locally(error); });
  try {
    await clone.git.run(['push', '--porcelain', '--no-thin', `--force-with-lease=${branch}:${parent ?? ''}`, '--', remote.url, `${commit}:${branch}`], { timeout });
    return 'pushed';
  } catch (error) {
    if (!(error instanceof GitExit)) throw error;
    const rejection = error.timedOut ? undefined : /^!\t[^\t]*\t(.*)$/m.exec(error.stdout)?.[1];
    if (rejection === undefined) throw remoteFailure(error);
    if (raced.test(rejection)) return 'rejected';
    throw new Failure('git-refused', `The Git remote refused the commit: ${plainText(rejection, 200)}`, {
      mend: `Let this program's user push to ${settings.branch}: a hook or a rule of the host is against it${reasonGiven(error.stderr)}.`,
      cause: error,
    });
  }
}

function reasonGiven(stderr: string): string {
  const lines = stderr.split('\n').filter((line) => line.startsWith('remote:')).map((line) => line.slice('remote:'.length).trim());
  return lines.length === 0 ? '' : ` (${plainText(lines.join(' '), 300)})`;
}

async function write(local: Local, settings: GitSettings, draft: CommitDraft): Promise<string> {
  let commit = '';
  // Differences from whatever file came before are kept by every later `git gc` in place of the better ones, from the last version,
  // that it would find: 170 KB a commit against 230, of 100 files. In a first commit there is nothing better.
  const depth = draft.parent === null ? '50' : '0';
  for (const input of importStreams(draft)) {
    commit = (await local(['fast-import', '--quiet', '--done', '--force', `--depth=${depth}`], { input })).toString('latin1').trim();
  }
  return settings.signingKeyFile === null ? commit : sign(local, settings.signingKeyFile, draft, commit);
}

/** The same commit again, with a signature: fast-import of the git that people have can't carry one. */
async function sign(local: Local, keyFile: string, { parent, author, committer, at, message }: CommitDraft, commit: string): Promise<string> {
  const date = `@${gitDate(at)}`;
  const env = {
    GIT_AUTHOR_NAME: author.name, GIT_AUTHOR_EMAIL: author.email, GIT_AUTHOR_DATE: date,
    GIT_COMMITTER_NAME: committer.name, GIT_COMMITTER_EMAIL: committer.email, GIT_COMMITTER_DATE: date,
  };
  try {
    const signed = await local(['commit-tree', '-S', ...(parent === null ? [] : ['-p', parent]), '-F', '-', `${commit}^{tree}`], { input: Buffer.from(message), env });
    return signed.toString('latin1').trim();
  } catch (error) {
    if (!(error instanceof BrokenClone) || !/sign|key|passphrase/i.test(error.detail)) throw error;
    throw new Failure('git-refused', `The commit can't be signed: ${error.detail}`, {
      mend: `Set git.signingKeyFile to an SSH private key without a passphrase that this user alone can read; ${JSON.stringify(keyFile)} is none.`,
      cause: error,
    });
  }
}

const logFormat = ['%H', '%ce', '%an <%ae>', '%ct', '%(trailers:key=Dory-Revision,valueonly,separator=%x2C)', '%(trailers:key=Dory-Cluster,valueonly,separator=%x2C)'].join('%x00');

function parseLog(output: Buffer): readonly CommitEntry[] {
  return output.toString().split('\n').filter((line) => line !== '').map((line) => {
    const [commit, committerEmail, author, at, revision, cluster] = line.split('\0');
    if (commit === undefined || committerEmail === undefined || author === undefined || revision === undefined || cluster === undefined) {
      throw new Error('commit: git log printed something unknown');
    }
    return { commit, committerEmail, author: plainText(author, 100), at: instant(Number(at) * 1000), revision, cluster };
  });
}

/** `<name> blob <size>`, content, line end: again and again. */
function parseBatch(output: Buffer, names: readonly string[]): readonly Buffer[] {
  let at = 0;
  return names.map((name) => {
    const end = output.indexOf('\n', at);
    const [found, type, size] = output.toString('latin1', at, end).split(' ');
    if (found !== name || type !== 'blob') throw new BrokenClone(`missing blob ${name}`);
    const content = output.subarray(end + 1, end + 1 + Number(size));
    at = end + 1 + Number(size) + 1;
    return content;
  });
}

import { Failure } from '../model/failure.ts';
import type { RevisionId } from '../model/ids.ts';
import { millis, type Instant } from '../model/time.ts';
import type { FileChange, Listing } from '../model/tree.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { backoff } from '../platform/retry.ts';
import { cloneFolder, discardClone, forgetToken, openClone, type Clone } from './clone.ts';
import { inspect, isOurs, type Known } from './inspect.ts';
import { applyDifferences } from './listing.ts';
import { repackIfNeeded } from './maintenance.ts';
import { BrokenClone, locally } from './outcome.ts';
import { createPlumbing, type CommitEntry, type Plumbing } from './plumbing.ts';
import { checkSettings, type GitSettings } from './settings.ts';

/**
 * The branch on the remote, and our folder in it. Fast-forward only: never a merge, never force; people's commits
 * outside our folder stay.
 *
 * What it believes our folder to hold is what `head` showed last, with what was published since. A push that was overtaken is
 * written again on the new head if nobody touched our folder meanwhile; if somebody did, the caller is told, and the
 * next `head` shows what they did.
 */
export interface Repository {
  /** Asks the remote. @throws Failure `git-unreachable`, `git-refused`, `git-foreign-folder`, `git-corrupt`, `git-missing` */
  head(): Promise<Head>;
  /** One commit on the remote with exactly these files changed. @throws Failure as `head`, `git-rejected`, and what `leaderCheck` throws */
  publish(request: PublishRequest): Promise<Published>;
  /** The newest commit of ours, and all that it holds, as far as the remote was last seen or written; asks the remote if it never was. Throws as `head`. */
  ownTree(): Promise<OwnTree | null>;
  /** Contents of these blobs of `ownTree`, in this order. @throws Failure `git-corrupt` */
  readBlobs(names: readonly string[]): Promise<readonly Uint8Array[]>;
  /** Every file of ours in a commit whose path is wanted, by its path. It must have been the head, or its ancestor. */
  readFiles(commit: string, wanted?: (path: string) => boolean): Promise<ReadonlyMap<string, Uint8Array>>;
  /** Repacks the clone where that pays. Runs beside everything else, and by itself after some commits. */
  maintain(): Promise<void>;
  /** Waits for what is running. */
  close(): Promise<void>;
}

export interface Head {
  /** Null: there is no such branch. */
  readonly commit: string | null;
  /** Of our folder; paths from the root of the repository. */
  readonly files: Listing;
  /** From `.dory/change.json`. */
  readonly revision: RevisionId | null;
  /** The newest commit of ours. */
  readonly ours: OwnCommit | null;
  /** What others did to our folder since then. */
  readonly foreign: ForeignEdits | null;
  /** The branch no longer holds the commit that it held when we last looked: deleted, recreated or rewritten. */
  readonly rewritten: boolean;
}

export interface OwnCommit {
  readonly commit: string;
  readonly revision: RevisionId;
}

/** What a commit of ours holds; what others changed since then is not in it. */
export interface OwnTree extends OwnCommit {
  /** Of our folder; paths from the root of the repository. */
  readonly files: Listing;
}

export interface ForeignEdits {
  /** Newest first. */
  readonly commits: readonly CommitEntry[];
  /** Sorted. */
  readonly paths: readonly string[];
}

export interface PublishRequest {
  /** Those that the remote has already are left out of the commit. */
  readonly files: readonly FileChange[];
  readonly message: string;
  readonly revision: RevisionId;
  /** The commit's date: a decision has the same commit id on the same parent, whoever writes it, whenever. */
  readonly decidedAt: Instant;
  /** Called before each push; throws if we no longer lead. */
  readonly leaderCheck: () => Promise<void>;
}

type Published =
  | { readonly kind: 'pushed'; readonly commit: string; readonly parent: string | null; readonly attempts: number }
  /** The remote has all of it: an earlier push arrived, and its answer did not. */
  | { readonly kind: 'unchanged'; readonly commit: string | null }
  /** Somebody else changed our folder. Nothing was written. */
  | { readonly kind: 'diverged'; readonly paths: readonly string[]; readonly head: string | null; readonly edits: readonly CommitEntry[] };

export interface RepositoryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Each round takes some 100 ms, and one of several writers always succeeds. */
const overtaken = { attempts: 8, first: millis(20), longest: millis(500) };

/** @throws Failure `settings-invalid` */
export function openRepository(settings: GitSettings, ports: RepositoryPorts): Repository {
  const remote = checkSettings(settings);
  const state: State = { settings, ports, folder: `clusters/${settings.cluster}/`, open: null, known: null, synced: false, reclone: false, published: 0 };
  const dir = cloneFolder(settings, remote);
  const { log, random } = ports;
  let tail: Promise<unknown> = Promise.resolve();
  let repacking: Promise<void> = Promise.resolve();

  const exclusive = <T>(work: () => Promise<T>): Promise<T> => {
    const run = tail.then(work, work);
    tail = run.catch(() => undefined);
    return run;
  };
  const open = async (): Promise<Opened> => {
    if (state.reclone) await discardClone(dir, random).catch((error: unknown) => { throw locally(error); });
    state.reclone = false;
    if (state.open !== null) return state.open;
    const clone = await openClone(settings, remote, random).catch((error: unknown) => { throw locally(error); });
    state.synced = false;
    state.open = { clone, git: createPlumbing(clone, settings, remote) };
    return state.open;
  };
  /** Works on the clone; once more on a new one, if it breaks. */
  const work = <T>(use: (git: Plumbing) => Promise<T>): Promise<T> =>
    exclusive(async () => {
      try {
        return await use((await open()).git);
      } catch (error) {
        if (!(error instanceof BrokenClone)) throw error;
        log.warn({ detail: error.detail }, 'the clone is broken: cloning anew');
      }
      return onNewClone(state, async () => use((await open()).git));
    });
  const maintain = (): Promise<void> => {
    const { open: opened } = state;
    repacking = repacking.then(async () => { if (opened !== null) await repackIfNeeded(opened.clone.dir, opened.git, ports); });
    return repacking;
  };

  return {
    head: () => work((git) => head(state, git)),
    publish: async (request) => {
      checkPaths(request.files, state.folder);
      const published = await work((git) => publish(state, git, request));
      if (published.kind === 'pushed' && (state.published += 1) % commitsBeforeRepack === 0) void maintain();
      return published;
    },
    ownTree: () => work((git) => ownTree(state, git)),
    readBlobs: (names) => work((git) => readBlobs(git, names)),
    readFiles: (commit, wanted = () => true) => work((git) => readFiles(git, commit, wanted)),
    maintain,
    close: async () => {
      await exclusive(async () => { if (state.open !== null) await forgetToken(state.open.clone); });
      await repacking;
    },
  };
}

interface Opened {
  readonly clone: Clone;
  readonly git: Plumbing;
}

interface State {
  readonly settings: GitSettings;
  readonly ports: RepositoryPorts;
  readonly folder: string;
  open: Opened | null;
  /** What we believe; null before the first look. */
  known: Known | null;
  /** Whether the clone has `known.commit`: not before the first fetch, nor in a new clone. */
  synced: boolean;
  reclone: boolean;
  published: number;
}

/** A pack each: with some dozens of them, finding an object begins to show. */
const commitsBeforeRepack = 32;

async function onNewClone<T>(state: State, use: () => Promise<T>): Promise<T> {
  state.open = null;
  state.reclone = true;
  try {
    return await use();
  } catch (error) {
    if (!(error instanceof BrokenClone)) throw error;
    state.open = null;
    state.reclone = true;
    throw new Failure('git-corrupt', `Git fails on a new clone as well: ${error.detail}`, {
      mend: `See that ${state.settings.dataDir} has space left and can be written; then let \`git fsck\` check the remote.`,
      cause: error,
    });
  }
}

async function head(state: State, git: Plumbing): Promise<Head> {
  const commit = await git.fetch();
  const look = await inspect({ git, settings: state.settings, known: state.known, synced: state.synced }, commit);
  state.known = look.known;
  state.synced = true;
  const { files, revision, ours, foreign } = look.known;
  return { commit, files: new Map(files), revision, ours, foreign, rewritten: look.rewritten };
}

async function publish(state: State, git: Plumbing, request: PublishRequest): Promise<Published> {
  const { clock, random } = state.ports;
  for (let attempt = 1; attempt <= overtaken.attempts; attempt += 1) {
    if (!state.synced || attempt > 1) {
      const diverged = await catchUp(state, git, request);
      if (diverged !== null) return diverged;
    }
    const known = state.known;
    if (known === null) throw new Error('commit: caught up with nothing');
    const files = request.files.filter(({ path, blob }) => (known.files.get(path) ?? null) !== blob);
    if (files.length === 0) return { kind: 'unchanged', commit: known.ours?.commit ?? known.commit };
    const commit = await commitAndPush(state, git, { ...request, files }, known.commit);
    if (commit !== null) {
      const { commit: parent } = known;
      applyDifferences(known.files, new Map(files.map(({ path, blob }) => [path, blob])));
      state.known = { ...known, commit, revision: request.revision, ours: { commit, revision: request.revision }, foreign: null };
      return { kind: 'pushed', commit, parent, attempts: attempt };
    }
    await clock.sleep(backoff(overtaken, attempt, random));
  }
  throw new Failure('git-rejected', `Others were faster ${String(overtaken.attempts)} times in a row.`, { mend: 'It is tried again; if this lasts, see who pushes to this branch all the time.' });
}

/** Null: somebody was faster. */
async function commitAndPush({ settings }: State, git: Plumbing, { files, message, decidedAt, leaderCheck }: PublishRequest, parent: string | null): Promise<string | null> {
  const commit = await git.write({ parent, author: settings.author, committer: settings.committer, at: decidedAt, message, files });
  await leaderCheck();
  return (await git.push(commit, parent)) === 'pushed' ? commit : null;
}

/** Follows the remote, unless somebody else changed our folder. A commit of ours whose answer was lost is no surprise. */
async function catchUp(state: State, git: Plumbing, { revision }: PublishRequest): Promise<Published | null> {
  const { settings, known } = state;
  const commit = await git.fetch();
  const look = await inspect({ git, settings, known, synced: state.synced }, commit);
  const allOurs = look.since.length > 0 && look.since.every((entry) => isOurs(entry, settings)) && (look.known.revision ?? 0) <= revision;
  if (known !== null && look.changed.size > 0 && (look.rewritten || !allOurs)) {
    return { kind: 'diverged', paths: [...look.changed.keys()].sort(), head: commit, edits: look.since.filter((entry) => !isOurs(entry, settings)) };
  }
  state.known = look.known;
  state.synced = true;
  return null;
}

async function ownTree(state: State, git: Plumbing): Promise<OwnTree | null> {
  if (state.known === null || !state.synced) await head(state, git);
  const { ours = null, foreign = null, files = new Map<string, string>() } = state.known ?? {};
  if (ours === null) return null;
  // What is known is what the head shows, which others may have changed since.
  if (foreign === null) return { ...ours, files: new Map(files) };
  const own = new Map<string, string>();
  applyDifferences(own, await git.differences(null, ours.commit));
  return { ...ours, files: own };
}

/** So many at a time, so that their contents are not held three times over. */
const blobsAtOnce = 2000;

async function readBlobs(git: Plumbing, names: readonly string[]): Promise<readonly Uint8Array[]> {
  const contents: Uint8Array[] = [];
  for (let i = 0; i < names.length; i += blobsAtOnce) contents.push(...(await git.blobs(names.slice(i, i + blobsAtOnce))));
  return contents;
}

async function readFiles(git: Plumbing, commit: string, wanted: (path: string) => boolean): Promise<ReadonlyMap<string, Uint8Array>> {
  const listed = [...(await git.differences(null, commit))].flatMap(([path, blob]) => (blob === null || !wanted(path) ? [] : [{ path, blob: blob.slice(blob.indexOf(':') + 1) }]));
  const contents = await readBlobs(git, listed.map(({ blob }) => blob));
  return new Map(listed.map(({ path }, n) => [path, contents[n] ?? new Uint8Array()]));
}

/** Removing is allowed of whatever lies in our folder; writing, of names that no shell, file system or URL trips over. */
function checkPaths(files: readonly FileChange[], folder: string): void {
  for (const { path, blob } of files) {
    const inside = path.startsWith(folder) && !path.split('/').some((part) => part === '' || part === '.' || part === '..' || part.toLowerCase() === '.git');
    if (!inside || (blob !== null && !/^[\w./-]+$/.test(path))) throw new Error(`commit: ${JSON.stringify(path)} is no path of ours`);
  }
}

import type { Pool } from 'pg';
import { detectedAt } from './commit/detected.ts';
import { commitMessage } from './commit/message.ts';
import type { Head, Repository } from './commit/repository.ts';
import { changesOf, committedRevision, eventsOf, isApproved, markCommitted, pendingRevisions, readRevision, readState, recordBehind, recordForeignEdit, type PendingChange, type PendingRevision, type StateRow } from './commit/revisions.ts';
import { databaseBehind, Failure } from './model/failure.ts';
import type { RevisionId } from './model/ids.ts';
import { after, type Instant, type Millis } from './model/time.ts';
import type { FileChange, ManifestTree } from './model/tree.ts';
import { readManifestInputs } from './observe/manifest-inputs.ts';
import { summarize, type ChangeSummary } from './render/change.ts';
import { emptyRenderState, render, type RenderState } from './render/render.ts';
import type { RenderSettings } from './render/settings.ts';

/**
 * From the rows of decided revisions to files on the remote: render and commit, put together.
 *
 * What it remembers (the last tree, files not yet pushed) only saves work: with nothing remembered, the tree is rendered
 * from the rows and compared with what the remote shows. Steps: nothing pending → no render, no git process. Pending →
 * the changed rows are rendered → pushed → marked as committed in the database. A crash in between is met by the next
 * cycle: the rows are still pending, and files that arrived already don't differ any more.
 */
export interface Publisher {
  /**
   * Whether what is decided now can be published, and will be the newest there is: before the first decision, and before each
   * one that stops a live writer, the remote is asked; what it showed last, the database must know.
   * @throws Failure `database-behind`, `git-*`
   */
  assertPublishable(decision: { readonly stops: boolean }): Promise<void>;
  render(): Promise<Rendered | null>;
  commit(rendered: Rendered): Promise<Publication>;
  /** Asks the remote whether somebody else changed our folder; what was changed is restored by the next `render`. */
  checkRemote(): Promise<ForeignEdit | null>;
}

export interface Rendered {
  readonly tree: ManifestTree;
  /** What the remote lacks. */
  readonly files: readonly FileChange[];
  /** Oldest first; empty where only a foreign edit is restored. */
  readonly pending: readonly PendingRevision[];
  /** Of all of `pending`. */
  readonly changes: readonly PendingChange[];
}

export type Publication =
  /** `waited`: when each of its revisions was decided. `detected`: when the signals that they answer crossed their thresholds. */
  | { readonly kind: 'pushed'; readonly commit: string; /** The branch's commit before; null: there was none. */ readonly before: string | null; readonly files: number; readonly revision: RevisionId; readonly waited: readonly Instant[]; readonly detected: readonly Instant[] }
  /** The remote had all of it already: an earlier push arrived, and its answer did not. */
  | { readonly kind: 'already-there'; readonly commit: string | null; readonly revision: RevisionId }
  /** Not urgent: waits for others to share a commit with. */
  | { readonly kind: 'postponed'; readonly until: Instant };

interface ForeignEdit {
  readonly paths: readonly string[];
  readonly commit: string | null;
}

export interface PublisherOptions {
  readonly pool: Pool;
  readonly repository: Repository;
  readonly renderSettings: Omit<RenderSettings, 'owner' | 'layout'>;
  /** Named in commits: `dory 0.2.0`. */
  readonly renderer: string;
  readonly coalesce: Millis;
  /** Other people's edits in our folder: undone at once, or only after a person approved. */
  readonly foreignEdits: 'restore' | 'hold';
  /** The database's clock as far as we know it: the newest snapshot's. */
  readonly now: () => Instant;
  /** Reads the lease again; throws `Failure('not-leader')`. */
  readonly assertLeading: () => Promise<void>;
}

interface Memory {
  state: RenderState | null;
  revision: RevisionId | 0;
  tree: ManifestTree | null;
  unpublished: Map<string, FileChange>;
  lastPushAt: Instant | null;
  /** The remote may show other bytes than ours: render everything and compare. */
  restore: boolean;
  /** The head at which somebody else's edit was told last. */
  foreign: string | null;
  /** The newest revision that the remote was seen to have; null before it was asked. */
  shown: number | null;
}

export function createPublisher(options: PublisherOptions): Publisher {
  const memory: Memory = { state: null, revision: 0, tree: null, unpublished: new Map(), lastPushAt: null, restore: false, foreign: null, shown: null };
  return {
    assertPublishable: async ({ stops }) => {
      if (stops || memory.shown === null) await look(options, memory);
      await assertKnown(options, memory);
    },
    render: async () => {
      const pending = await pendingRevisions(options.pool);
      if (pending.length === 0 && !memory.restore) return null;
      await assertKnown(options, memory);
      const changes = await pendingChanges(options.pool, pending);
      const tree = await bringUpToDate(options, memory, pending, changes);
      if (pending.length === 0 && memory.unpublished.size === 0) {
        // What others changed they have changed back.
        memory.restore = false;
        return null;
      }
      return { tree, files: [...memory.unpublished.values()], pending, changes };
    },
    commit: (rendered) => commit(options, memory, rendered),
    checkRemote: () => checkRemote(options, memory),
  };
}

async function bringUpToDate(options: PublisherOptions, memory: Memory, pending: readonly PendingRevision[], changes: readonly PendingChange[]): Promise<ManifestTree> {
  const { pool } = options;
  const last = pending.at(-1);
  if (memory.state === null || memory.restore) return rebuild(options, memory, changes);
  if (last === undefined || last.id <= memory.revision) return memory.tree ?? bug('a state without a tree');
  const inputs = await readManifestInputs(pool, memory.revision);
  return keep(memory, render(memory.state, { ...inputs, revision: last.id, change: await summaryOf(pool, last.id, changes) }), inputs.revision);
}

/** Renders everything from the rows, and keeps of it what the remote does not have. */
async function rebuild(options: PublisherOptions, memory: Memory, changes: readonly PendingChange[]): Promise<ManifestTree> {
  const { pool, renderSettings, foreignEdits } = options;
  const head = await look(options, memory);
  const state = await assertKnown(options, memory);
  const edits = standing(head);
  if (edits !== null && foreignEdits === 'hold' && !(await isApproved(pool, 'foreign-edit'))) throw held(edits);
  const settings: RenderSettings = { ...renderSettings, owner: state.owner, layout: state.layout ?? 'flat' };
  const inputs = await readManifestInputs(pool, 0);
  if (inputs.revision === 0) bug('asked to render before anything was decided');
  memory.unpublished.clear();
  const rendered = render(emptyRenderState(settings), { ...inputs, revision: inputs.revision, change: await summaryOf(pool, inputs.revision, changes) });
  const tree = keep(memory, rendered, inputs.revision);
  for (const [path, blob] of head.files) {
    if (tree.files.get(path) === blob) memory.unpublished.delete(path);
    else if (!tree.files.has(path)) memory.unpublished.set(path, { path, blob: null, content: null });
  }
  return tree;
}

async function look({ repository }: PublisherOptions, memory: Memory): Promise<Head> {
  const head = await repository.head();
  memory.shown = Math.max(memory.shown ?? 0, head.revision ?? 0);
  return head;
}

/** Neither Git nor we have seen a revision that the database lacks. */
async function assertKnown({ pool }: PublisherOptions, memory: Memory): Promise<StateRow> {
  const state = await readState(pool);
  const shown = Math.max(memory.shown ?? 0, memory.revision);
  if (shown <= state.revision) return state;
  // What was rendered from rows that are gone is worth nothing.
  Object.assign(memory, { state: null, tree: null, revision: 0 });
  await recordBehind(pool, shown, state.revision);
  throw databaseBehind(shown, state.revision);
}

function keep(memory: Memory, rendered: ReturnType<typeof render>, revision: RevisionId | 0): ManifestTree {
  memory.state = rendered.state;
  memory.tree = rendered.tree;
  memory.revision = revision;
  for (const file of rendered.files) memory.unpublished.set(file.path, file);
  return rendered.tree;
}

async function commit(options: PublisherOptions, memory: Memory, rendered: Rendered): Promise<Publication> {
  const { pending, tree, files } = rendered;
  const revision = tree.revision;
  const until = postponed(options, memory, pending);
  if (until !== null) return { kind: 'postponed', until };
  const published = await options.repository.publish({
    files,
    revision,
    message: await messageFor(options, rendered),
    decidedAt: pending.at(-1)?.decidedAt ?? options.now(),
    leaderCheck: options.assertLeading,
  });
  if (published.kind === 'diverged') {
    await restoreLater(options, memory, { paths: published.paths, commit: published.head });
    throw new Failure('git-diverged', `Somebody else changed ${String(published.paths.length)} of our files on the remote.`);
  }
  const commit = published.commit ?? bug('nothing to push, and nothing on the remote');
  await markCommitted(options.pool, revision, { commit, treeDigest: tree.digest });
  for (const { path } of files) memory.unpublished.delete(path);
  memory.restore = false;
  memory.shown = Math.max(memory.shown ?? 0, revision);
  memory.lastPushAt = options.now();
  if (published.kind === 'unchanged') return { kind: 'already-there', commit, revision };
  return { kind: 'pushed', commit, before: published.parent, files: files.length, revision, waited: pending.map(({ decidedAt }) => decidedAt), detected: detectedAt(pending, rendered.changes) };
}

/** Hosts ask for few pushes: what nobody waits for goes out with what somebody does, or when the last push is long enough ago. */
function postponed({ coalesce, now }: PublisherOptions, { lastPushAt, restore }: Memory, pending: readonly PendingRevision[]): Instant | null {
  if (lastPushAt === null || restore || pending.some(({ urgent }) => urgent)) return null;
  const until = after(lastPushAt, coalesce);
  return until > now() ? until : null;
}

async function checkRemote(options: PublisherOptions, memory: Memory): Promise<ForeignEdit | null> {
  // Before: what is pushed meanwhile may not be in the head.
  const committed = await committedRevision(options.pool);
  const head = await look(options, memory);
  await assertKnown(options, memory);
  const edits = standing(head);
  // Who did not see the branch before can't see that it was set back; our own record can.
  if (edits === null && !head.rewritten && (head.revision ?? 0) >= committed) return null;
  const edit = { paths: edits?.paths ?? [], commit: head.commit };
  await restoreLater(options, memory, edit);
  return edit;
}

/** What others changed and did not change back. */
function standing({ foreign }: Head): Head['foreign'] {
  return foreign !== null && foreign.paths.length > 0 ? foreign : null;
}

async function restoreLater({ pool }: PublisherOptions, memory: Memory, edit: ForeignEdit): Promise<void> {
  // One that is held is seen at every look, and told once.
  if (memory.foreign !== edit.commit) await recordForeignEdit(pool, edit.paths, edit.commit);
  memory.foreign = edit.commit;
  memory.restore = true;
}

async function pendingChanges(pool: Pool, pending: readonly PendingRevision[]): Promise<readonly PendingChange[]> {
  const [first, last] = [pending[0], pending.at(-1)];
  return first === undefined || last === undefined ? [] : changesOf(pool, first.id, last.id);
}

async function messageFor({ pool, renderer, renderSettings }: PublisherOptions, { pending, changes, tree }: Rendered): Promise<string> {
  const [first, last] = [pending[0], pending.at(-1)];
  const events = first === undefined || last === undefined ? [] : await eventsOf(pool, first.id, last.id);
  return commitMessage({ cluster: renderSettings.cluster, renderer, pending, changes, events, revision: tree.revision, treeDigest: tree.digest });
}

/** The file that tells of the last change tells of the last revision, whatever else is published with it: rows alone decide bytes. */
async function summaryOf(pool: Pool, revision: RevisionId, pending: readonly PendingChange[]): Promise<ChangeSummary> {
  const own = pending.filter((change) => change.revision === revision);
  return summarize(await readRevision(pool, revision), own.length > 0 ? own : await changesOf(pool, revision, revision));
}

function held({ paths, commits }: NonNullable<Head['foreign']>): Failure {
  return new Failure('git-held', `Commit ${commits[0]?.commit.slice(0, 12) ?? '?'} changed ${String(paths.length)} of our files (${paths[0] ?? ''}), and git.foreignEdits is hold: nothing is written.`, {
    mend: 'Revert that commit, or let it be undone with `dory approve foreign-edit --reason …`.',
  });
}

function bug(what: string): never {
  throw new Error(`publisher: ${what}`);
}

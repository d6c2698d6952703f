import { Failure } from '../model/failure.ts';
import type { RevisionId } from '../model/ids.ts';
import { applyDifferences, differences, type Differences } from './listing.ts';
import type { CommitEntry, Plumbing } from './plumbing.ts';
import type { ForeignEdits, OwnCommit } from './repository.ts';
import type { GitSettings } from './settings.ts';

/** What a commit shows of our folder. */
export interface Known {
  readonly commit: string | null;
  readonly files: Map<string, string>;
  readonly revision: RevisionId | null;
  readonly ours: OwnCommit | null;
  readonly foreign: ForeignEdits | null;
}

export interface Look {
  readonly known: Known;
  /** Against what was known before. */
  readonly changed: Differences;
  /** Commits in our folder since then, newest first; all that there are if the branch was rewritten. */
  readonly since: readonly CommitEntry[];
  readonly rewritten: boolean;
}

/** Looks further back in vain only where so many people's commits in our folder have none of ours among them. */
const logLimit = 200;

interface Before {
  readonly git: Plumbing;
  readonly settings: GitSettings;
  readonly known: Known | null;
  readonly synced: boolean;
}

/** Follows from what was known to a commit that was fetched. @throws Failure `git-foreign-folder` */
export async function inspect({ git, settings, known, synced }: Before, commit: string | null): Promise<Look> {
  const before: Known = known ?? { commit: null, files: new Map(), revision: null, ours: null, foreign: null };
  if (synced && before.commit === commit) return { known: before, changed: new Map(), since: [], rewritten: false };
  if (commit === null) {
    const gone: Known = { commit, files: new Map(), revision: null, ours: null, foreign: null };
    return { known: gone, changed: differences(before.files, gone.files), since: [], rewritten: before.commit !== null };
  }
  const continues = before.commit !== null && (await git.isAncestor(before.commit, commit));
  const from = continues ? before.commit : null;
  const files = new Map(continues ? before.files : []);
  const steps = await git.differences(from, commit);
  applyDifferences(files, steps);
  const since = await git.log(commit, { from, limit: logLimit });
  const { owner, revision } = await readOwnFiles(git, settings, files);
  const { ours, edits } = ownAndForeign(since, settings, continues ? before : null);
  refuseForeignFolder(settings, owner, files.size > 0 && ours === null);
  return {
    known: { commit, files, revision, ours, foreign: edits.length === 0 ? null : { commits: edits, paths: await pathsSince(git, ours, commit) } },
    changed: continues ? steps : differences(before.files, files),
    since,
    rewritten: before.commit !== null && !continues,
  };
}

/** A commit that a person amended or reverted keeps our text, or quotes it; its committer tells. */
export function isOurs({ committerEmail, cluster, revision }: CommitEntry, { committer, cluster: own }: GitSettings): boolean {
  return committerEmail === committer.email && cluster === own && /^\d+$/.test(revision);
}

function ownAndForeign(since: readonly CommitEntry[], settings: GitSettings, before: Known | null): { readonly ours: OwnCommit | null; readonly edits: readonly CommitEntry[] } {
  const at = since.findIndex((entry) => isOurs(entry, settings));
  const newest = since[at];
  if (newest === undefined) return { ours: before?.ours ?? null, edits: [...since, ...(before?.foreign?.commits ?? [])] };
  return { ours: { commit: newest.commit, revision: Number(newest.revision) as RevisionId }, edits: since.slice(0, at) };
}

async function pathsSince(git: Plumbing, ours: OwnCommit | null, commit: string): Promise<readonly string[]> {
  return [...(await git.differences(ours?.commit ?? null, commit)).keys()].sort();
}

/** People may have broken these files: what can't be read is not there. */
async function readOwnFiles(git: Plumbing, { cluster }: GitSettings, files: ReadonlyMap<string, string>): Promise<{ readonly owner: string | null; readonly revision: RevisionId | null }> {
  const names = ['owner.json', 'change.json'].map((name) => files.get(`clusters/${cluster}/.dory/${name}`) ?? null);
  const contents = [...(await git.blobs(names.filter((name) => name !== null && !name.includes(':')).map(String)))];
  const [owner, change] = names.map((name) => (name === null || name.includes(':') ? null : parsed(contents.shift())));
  const revision = change?.['revision'];
  return {
    owner: typeof owner?.['owner'] === 'string' ? owner['owner'] : null,
    revision: typeof revision === 'number' && Number.isSafeInteger(revision) && revision > 0 ? (revision as RevisionId) : null,
  };
}

function parsed(content: Buffer | undefined): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(content?.toString() ?? '');
    return typeof value === 'object' && value !== null ? { ...value } : null;
  } catch {
    return null;
  }
}

function refuseForeignFolder({ cluster, owner: own }: GitSettings, owner: string | null, unknownFiles: boolean): void {
  const folder = `clusters/${cluster}/`;
  if (owner !== null && owner !== own) {
    throw new Failure('git-foreign-folder', `${folder} on this branch belongs to another database.`, {
      mend: `Choose another cluster name, or another branch; to take the folder over for good, remove ${folder}.dory/owner.json from the branch once the other instance is gone.`,
    });
  }
  if (owner === null && unknownFiles) {
    throw new Failure('git-foreign-folder', `${folder} on this branch holds files that this program did not write.`, {
      mend: `Choose another cluster name, or move these files away.`,
    });
  }
}

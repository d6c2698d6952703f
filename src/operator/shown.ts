import type { Head, Repository } from '../commit/repository.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Phase } from '../model/placement.ts';
import type { Layout } from '../model/tree.ts';
import { processorHash } from '../render/names.ts';

/** One line of the repository's overviews: a placement as Git shows it. */
export interface Shown {
  /** As its file is called, without the ending. */
  readonly name: string;
  /** Null where no row of ours has the id that the file's name is made from, and its manifest does not tell it either. */
  readonly id: ProcessorId | null;
  /** A node's name, or `managed`. */
  readonly target: string;
  readonly epoch: number;
  readonly phase: Phase;
}

/**
 * Every placement that the head of the branch shows, sorted by name.
 * @param known ids of which files may be there
 */
export async function readShown(repository: Repository, head: Head, known: Iterable<ProcessorId>): Promise<readonly Shown[]> {
  if (head.commit === null) return [];
  const ids = new Map([...known].map((id) => [processorHash(id).slice(0, 12), id]));
  const overviews = await repository.readFiles(head.commit, (path) => path.endsWith('/placements.tsv'));
  const lines = [...overviews].flatMap(([path, content]) => linesOf(path.slice(0, path.lastIndexOf('/')), content));
  const strange = new Set(lines.filter(({ name }) => !ids.has(name.slice(-12))).map(({ path }) => path));
  const manifests = strange.size === 0 ? new Map<string, Uint8Array>() : await repository.readFiles(head.commit, (path) => strange.has(path));
  return lines
    .map(({ path, ...line }) => ({ ...line, id: ids.get(line.name.slice(-12)) ?? idIn(manifests.get(path)) }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** What `.dory/owner.json` says of the folders; null if it is not there, or says nothing that we know. */
export async function readLayout(repository: Repository, head: Head): Promise<Layout | null> {
  if (head.commit === null) return null;
  const [content] = (await repository.readFiles(head.commit, (path) => path.endsWith('/.dory/owner.json'))).values();
  const found = /"layout": "(flat|64|64x16)"/.exec(Buffer.from(content ?? []).toString('utf8'))?.[1];
  return (found ?? null) as Layout | null;
}

function linesOf(folder: string, content: Uint8Array): readonly (Omit<Shown, 'id'> & { readonly path: string })[] {
  // Below the line that names the columns.
  const lines = Buffer.from(content).toString('utf8').split('\n').slice(1);
  return lines.flatMap((line) => {
    const [name = '', target = '', epoch = '', phase] = line.split('\t');
    // What a person broke there is not there.
    if (!/^[1-9]\d*$/.test(epoch) || (phase !== 'active' && phase !== 'stopping')) return [];
    return [{ name, target, epoch: Number(epoch), phase, path: `${folder}/${name}.yaml` }];
  });
}

function idIn(manifest: Uint8Array | undefined): ProcessorId | null {
  const found = /^ {4}processor-id: "?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"?$/m.exec(Buffer.from(manifest ?? []).toString('utf8'));
  return (found?.[1] ?? null) as ProcessorId | null;
}

import { Failure } from '../model/failure.ts';
import type { ProcessorId } from '../model/ids.ts';

/** What is kept of a rendered processor: enough for the overview and for finding its file. */
export interface Entry {
  readonly id: ProcessorId;
  /** Its file's name, without the ending. */
  readonly stem: string;
  readonly namespace: string;
  /** Its line of the overview. */
  readonly line: string;
}

/** The processors of one folder. */
export interface Leaf {
  /** Sorted by `stem`. */
  readonly entries: readonly Entry[];
  /** What the folder's files add to the digest of the tree: see `tree.ts`. */
  readonly digestLines: string;
}

export interface EntriesChange {
  readonly entries: readonly Entry[];
  /** Entries that are gone, or that have a successor. */
  readonly replaced: readonly Entry[];
}

/** Two processors with one file name are a failure: twelve digits of their hashes agree, and their slugs. */
export function changeEntries(before: readonly Entry[], changed: ReadonlyMap<ProcessorId, Entry>, removed: ReadonlySet<ProcessorId>): EntriesChange {
  const touched = ({ id }: Entry): boolean => changed.has(id) || removed.has(id);
  const entries = [...before.filter((entry) => !touched(entry)), ...changed.values()].sort((a, b) => (a.stem < b.stem ? -1 : 1));
  for (const [i, entry] of entries.entries()) {
    const other = entries[i - 1];
    if (other?.stem !== entry.stem) continue;
    throw new Failure('render-invalid', `processors ${other.id} and ${entry.id} would share the file ${entry.stem}.yaml`, {
      mend: 'Give one of them another id or slug.',
    });
  }
  return { entries, replaced: before.filter(touched) };
}

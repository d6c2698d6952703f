import type { Listing } from '../model/tree.ts';

/** What differs between two commits: path → blob as in a `Listing`, null where the file is gone. */
export type Differences = ReadonlyMap<string, string | null>;

/**
 * Output of `git diff-tree -r -z --raw --no-renames`. Paths are strings of bytes (Latin-1).
 * A file that is executable, a link or a submodule is no file of ours, whatever it holds: its mode goes before its name.
 */
export function parseDifferences(output: Buffer): Differences {
  const fields = output.toString('latin1').split('\0');
  const found = new Map<string, string | null>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [, mode, , blob] = (fields[i] ?? '').split(' ');
    const path = fields[i + 1];
    if (mode === undefined || blob === undefined || path === undefined) throw new Error('commit: git diff-tree printed something unknown');
    found.set(path, mode === '000000' ? null : mode === '100644' ? blob : `${mode}:${blob}`);
  }
  return found;
}

/** From one listing to another. */
export function differences(from: Listing, to: Listing): Differences {
  const found = new Map<string, string | null>();
  for (const path of from.keys()) if (!to.has(path)) found.set(path, null);
  for (const [path, blob] of to) if (from.get(path) !== blob) found.set(path, blob);
  return found;
}

export function applyDifferences(files: Map<string, string>, changed: Differences): void {
  for (const [path, blob] of changed) {
    if (blob === null) files.delete(path);
    else files.set(path, blob);
  }
}

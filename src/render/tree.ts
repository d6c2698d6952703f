import type { Digest } from '../model/ids.ts';
import type { Listing } from '../model/tree.ts';
import { digestText } from '../platform/digest.ts';

/**
 * SHA-256 over the lines `<path> <blob>`, sorted by path and ended. Paths are ASCII, so any sort by code agrees.
 *
 * This is the definition; `render` hashes the same text, put together from the folders' shares of it, of which it keeps all
 * that did not change.
 */
export function treeDigest(files: Listing): Digest {
  return digestText(digestLines(files.keys(), files));
}

/** The lines of some of the files. */
export function digestLines(paths: Iterable<string>, files: Listing): string {
  return [...paths].sort().map((path) => `${path} ${files.get(path) ?? ''}\n`).join('');
}

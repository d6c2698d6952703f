import type { Digest, RevisionId } from './ids.ts';

/** A file of ours in the repository, by its path from the repository's root (`clusters/<cluster>/…`). */
export interface FileChange {
  readonly path: string;
  /** Null: the file is removed. */
  readonly content: Uint8Array | null;
  /** Git's name for the content (SHA-1 of the blob); null: the file is removed. */
  readonly blob: string | null;
}

/** Every file of ours: path → Git's blob name. */
export type Listing = ReadonlyMap<string, string>;

/** The tree that a revision renders to. Content of unchanged files is not held. */
export interface ManifestTree {
  readonly revision: RevisionId;
  readonly files: Listing;
  /** SHA-256 over the sorted `path blob` lines. */
  readonly digest: Digest;
}

/**
 * How files spread over folders under `processors/`: none, 64 of them, or 64 × 16. Chosen once, because Git's cost is
 * the width of the directories that a change touches, and because an Argo CD Application should hold 500 to 1,000 objects.
 */
export type Layout = 'flat' | '64' | '64x16';

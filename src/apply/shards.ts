import { byText, type Digest } from '../model/ids.ts';
import { digestText } from '../platform/digest.ts';
import type { Synced } from './compare.ts';
import type { DesiredTree } from './objects.ts';

/** A folder of the committed tree. */
export interface Shard {
  /** `clusters/NAME/processors/1f` */
  readonly shard: string;
  /** Of its documents. */
  readonly digest: string;
  /** `keyOf` of its objects. */
  readonly keys: readonly string[];
  /** `apps/v1/StatefulSet`, sorted. */
  readonly kinds: readonly string[];
}

/** A folder as it was left on the cluster, with all of its objects in place. */
export interface LeftShard {
  /** Of its documents. */
  readonly digest: string;
  /** Of what our fields of its objects amounted to; null where that was not written down. */
  readonly owned: string | null;
  /** Of its objects, and of what it had before and could not be deleted. */
  readonly kinds: readonly string[];
}

/** Of a file. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

/** The tree by folders, each with the digest of what it holds. */
export function byShard(tree: DesiredTree): readonly Shard[] {
  const shards = new Map<string, { readonly keys: string[]; readonly digests: string[]; readonly kinds: Set<string> }>();
  for (const [key, { path, digest, ref }] of tree.objects) {
    const name = folderOf(path);
    const shard = shards.get(name) ?? { keys: [], digests: [], kinds: new Set() };
    shards.set(name, shard);
    shard.keys.push(key);
    shard.digests.push(digest);
    shard.kinds.add(`${ref.apiVersion}/${ref.kind}`);
  }
  return [...shards].sort(([a], [b]) => byText(a, b)).map(([shard, { keys, digests, kinds }]) => ({
    shard, keys: keys.sort(byText), digest: digestText(digests.sort(byText).join('\n')), kinds: [...kinds].sort(byText),
  }));
}

/** Of what our fields of a folder's objects amount to; null if that is not known of all of them. */
export function ownedOf({ keys }: Pick<Shard, 'keys'>, owned: (key: string) => Digest | null): string | null {
  const lines: string[] = [];
  for (const key of keys) {
    const digest = owned(key);
    if (digest === null) return null;
    lines.push(`${key} ${digest}`);
  }
  return digestText(lines.join('\n'));
}

/** What our fields of an object amounted to when it was as this tree has it; null if it is not known to be. */
export function syncedOwned(tree: DesiredTree, synced: ReadonlyMap<string, Synced>): (key: string) => Digest | null {
  return (key) => {
    const found = synced.get(key);
    return found !== undefined && found.desired === tree.objects.get(key)?.digest ? found.owned : null;
  };
}

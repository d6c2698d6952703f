import { byText } from '../model/ids.ts';
import { digestText } from '../platform/digest.ts';
import type { DesiredTree } from './objects.ts';

/** A folder of the committed tree. */
export interface Shard {
  readonly shard: string;
  /** Of its documents. */
  readonly digest: string;
  readonly keys: readonly string[];
}

/** The tree by folders, each with the digest of what it holds. */
export function byShard(tree: DesiredTree): readonly Shard[] {
  const shards = new Map<string, { readonly keys: string[]; readonly digests: string[] }>();
  for (const [key, { path, digest }] of tree.objects) {
    const name = path.slice(0, path.lastIndexOf('/'));
    const shard = shards.get(name) ?? { keys: [], digests: [] };
    shards.set(name, shard);
    shard.keys.push(key);
    shard.digests.push(digest);
  }
  return [...shards].sort(([a], [b]) => byText(a, b)).map(([shard, { keys, digests }]) => ({ shard, keys, digest: digestText(digests.sort(byText).join('\n')) }));
}

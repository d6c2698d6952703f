import type { Pool } from 'pg';
import { keyOf, refOfKey, type DesiredEntry, type DesiredTree, type ObjectRef } from './objects.ts';

/** One of the system's own objects that this database had applied. */
export interface SystemObject {
  readonly key: string;
  readonly ref: ObjectRef;
  /** Of the file that it came from, from the root of the repository. */
  readonly path: string;
}

/**
 * The system's own objects that were sent, or were about to be, and are not known to be gone: `dory.system_objects`. No label tells them
 * apart from those of another installation, so what is not written here is not ours to delete.
 */
export interface SystemObjects {
  /** To be called before this tree is applied. Written where it has more than is known. Throws as `leading`. */
  expect(tree: DesiredTree): Promise<void>;
  /** Those that came last first. */
  all(): Promise<readonly SystemObject[]>;
  /** They are gone, or are not ours any more. Throws as `leading`. */
  drop(keys: readonly string[]): Promise<void>;
  /** Another instance may have written meanwhile. */
  forget(): void;
}

/** @param leading reads the lease again before anything is written; throws `Failure('not-leader')` */
export function createSystemObjects(pool: Pool, leading: () => Promise<void>): SystemObjects {
  /** By key, in the order in which they came. */
  let memory: Map<string, string> | null = null;
  /** Of which all is known. */
  let last: DesiredTree | null = null;
  const remembered = async (): Promise<Map<string, string>> => (memory ??= await read(pool));
  return {
    expect: async (tree) => {
      if (last === tree) return;
      const known = await remembered();
      const more = [...tree.objects.values()].filter((entry) => isOfSystem(entry) && known.get(keyOf(entry.ref)) !== entry.path);
      if (more.length > 0) await write(pool, leading, more);
      for (const { ref, path } of more) known.set(keyOf(ref), path);
      last = tree;
    },
    all: async () => [...await remembered()].map(([key, path]) => ({ key, path, ref: refOfKey(key) })).reverse(),
    drop: async (keys) => {
      if (keys.length === 0) return;
      await leading();
      await pool.query('delete from dory.system_objects where object = any($1)', [keys]);
      for (const key of keys) memory?.delete(key);
    },
    forget: () => {
      memory = null;
      last = null;
    },
  };
}

/** Of the system's own manifests, and not a processor's. */
export function isOfSystem({ path, processorId }: Pick<DesiredEntry, 'path' | 'processorId'>): boolean {
  return processorId === null && /^clusters\/[^/]+\/system\//.test(path);
}

async function read(pool: Pool): Promise<Map<string, string>> {
  const { rows } = await pool.query<{ object: string; path: string }>('select object, path from dory.system_objects order by place');
  return new Map(rows.map(({ object, path }) => [object, path]));
}

async function write(pool: Pool, leading: () => Promise<void>, entries: readonly DesiredEntry[]): Promise<void> {
  await leading();
  await pool.query(
    `insert into dory.system_objects (object, path) select o ->> 'object', o ->> 'path' from jsonb_array_elements($1::jsonb) with ordinality as e (o, n) order by n
     on conflict (object) do update set path = excluded.path`,
    [JSON.stringify(entries.map(({ ref, path }) => ({ object: keyOf(ref), path })))],
  );
}

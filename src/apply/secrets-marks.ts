import type { Credentials } from '../model/credentials.ts';
import type { Mark, Marker } from './secrets-live.ts';

/** Marks of the credentials of each Secret, by its keys. */
type Marks = ReadonlyMap<string, ReadonlyMap<string, Mark>>;

export interface CredentialSource {
  /** The credentials of these Secrets, or of all. */
  readonly credentials: (names: readonly string[] | null) => AsyncIterable<readonly [string, Credentials]>;
  /** By Secret, something that changes with the row that its credentials come from, and says nothing of them. */
  readonly credentialRows: () => Promise<ReadonlyMap<string, string>>;
}

/** What the database has, read again only of rows that changed; values are not kept. */
export interface MarkBook {
  readonly marks: Marks;
  /** @returns the Secrets of which a value is another one than at the last look: none at the first */
  refresh(): Promise<ReadonlySet<string>>;
}

export function createMarkBook({ credentials, credentialRows, mark }: CredentialSource & { readonly mark: Marker }): MarkBook {
  const marks = new Map<string, ReadonlyMap<string, Mark>>();
  let rows: ReadonlyMap<string, string> | null = null;
  return {
    marks,
    refresh: async () => {
      const now = await credentialRows();
      const changed = rows === null ? null : [...now].filter(([name, row]) => rows?.get(name) !== row).map(([name]) => name);
      const found = changed?.length === 0 ? new Map<string, ReadonlyMap<string, Mark>>() : await marksOf(credentials(changed), mark);
      const replaced = new Set([...found].filter(([name, values]) => differs(marks.get(name), values)).map(([name]) => name));
      for (const name of changed ?? []) if (!found.has(name)) marks.delete(name);
      for (const name of [...marks.keys()]) if (!now.has(name)) marks.delete(name);
      for (const [name, values] of found) marks.set(name, values);
      rows = now;
      return replaced;
    },
  };
}

/** Of a key that both have: one that came or went changes the manifests that refer to it. */
function differs(before: ReadonlyMap<string, Mark> | undefined, after: ReadonlyMap<string, Mark>): boolean {
  return before !== undefined && [...after].some(([key, mark]) => before.has(key) && before.get(key) !== mark);
}

export async function marksOf(credentials: AsyncIterable<readonly [string, Credentials]>, mark: Marker): Promise<Map<string, ReadonlyMap<string, Mark>>> {
  const marks = new Map<string, ReadonlyMap<string, Mark>>();
  for await (const [name, values] of credentials) marks.set(name, new Map([...values].map(([key, value]) => [key, mark(Buffer.from(value.reveal(), 'utf8'))])));
  return marks;
}

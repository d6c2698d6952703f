import { digestText } from '../platform/digest.ts';
import { isMap } from '../platform/kube/object.ts';
import { Failure } from '../model/failure.ts';
import type { Epoch, ProcessorId, RevisionId } from '../model/ids.ts';
import type { Listing } from '../model/tree.ts';
import { positive } from './live.ts';
import { keyOf, type DesiredEntry, type DesiredObject, type DesiredTree } from './objects.ts';
import { parseManifest } from './plain-yaml.ts';

/** Where committed trees come from: the newest commit of ours on the remote, as far as it was seen or written. */
export interface CommittedTrees {
  newest(): Promise<{ readonly commit: string; readonly revision: RevisionId; readonly files: Listing } | null>;
  /** Contents of blobs, in this order. */
  blobs(names: readonly string[]): Promise<readonly Uint8Array[]>;
}

/**
 * What should be on the cluster: the objects of the newest commit of ours. Its cost follows the change: only files whose
 * blobs are new are read, and of each only what names it is kept.
 */
export interface DesiredReader {
  /** Null: there is no commit of ours. @throws Failure as the repository, `render-invalid` if a file is no manifest */
  newest(): Promise<DesiredTree | null>;
  /** With their texts, in this order. */
  load(entries: readonly DesiredEntry[]): Promise<readonly DesiredObject[]>;
}

export interface DesiredSettings {
  /** `clusters/NAME/` */
  readonly folder: string;
  /** Whether the manifests of the system itself are applied too. */
  readonly system: boolean;
}

export function createDesiredReader(trees: CommittedTrees, settings: DesiredSettings): DesiredReader {
  let last: DesiredTree | null = null;
  /** By path. */
  let read = new Map<string, FileEntries>();
  return {
    newest: async () => {
      const committed = await trees.newest();
      if (committed === null || committed.commit === last?.commit) return committed === null ? null : last;
      const files = [...committed.files].filter(([path]) => isManifest(path, settings));
      const unread = files.filter(([path, blob]) => read.get(path)?.blob !== blob);
      const found = new Map(await readFiles(trees, unread));
      const kept = new Map<string, FileEntries>();
      for (const [path] of files) {
        const entries = found.get(path) ?? read.get(path);
        if (entries !== undefined) kept.set(path, entries);
      }
      last = { commit: committed.commit, revision: committed.revision, objects: objectsOf(kept) };
      read = kept;
      return last;
    },
    load: (entries) => load(trees, entries),
  };
}

interface FileEntries {
  readonly blob: string;
  readonly entries: readonly DesiredEntry[];
}

function isManifest(path: string, { folder, system }: DesiredSettings): boolean {
  return path.endsWith('.yaml') && (path.startsWith(`${folder}processors/`) || (system && path.startsWith(`${folder}system/`)));
}

/** So many are read before others get their turn. */
const filesAtOnce = 500;

async function readFiles(trees: CommittedTrees, files: readonly (readonly [string, string])[]): Promise<readonly (readonly [string, FileEntries])[]> {
  const found: (readonly [string, FileEntries])[] = [];
  for (let i = 0; i < files.length; i += filesAtOnce) {
    const some = files.slice(i, i + filesAtOnce);
    const contents = await trees.blobs(some.map(([, blob]) => blob));
    some.forEach(([path, blob], n) => found.push([path, { blob, entries: entriesOf(path, blob, textOf(contents[n])) }]));
  }
  return found;
}

function textOf(content: Uint8Array | undefined): string {
  return Buffer.from(content ?? []).toString('utf8');
}

/** @throws Failure `render-invalid` if two documents name one object */
function objectsOf(files: ReadonlyMap<string, FileEntries>): ReadonlyMap<string, DesiredEntry> {
  const objects = new Map<string, DesiredEntry>();
  for (const entry of [...files.values()].flatMap(({ entries }) => entries)) {
    const key = keyOf(entry.ref);
    const other = objects.get(key);
    if (other !== undefined) throw unusable(entry.path, `${other.path} has ${key} as well`);
    objects.set(key, entry);
  }
  return objects;
}

/** As they stand between the lines that part them. */
function documentsOf(text: string): readonly string[] {
  return text.split(/^---\n/m).filter((document) => /^[^#\s]/m.test(document));
}

function entriesOf(path: string, blob: string, text: string): readonly DesiredEntry[] {
  return documentsOf(text).map((document, place) => ({ path, blob, place, digest: digestText(document), ...copied(scan(document) ?? identify(document, path)) }));
}

/** A part of a string holds the whole of it in memory: a name would keep all of its document. */
function copied(identity: Identity): Identity {
  return JSON.parse(JSON.stringify(identity)) as Identity;
}

async function load(trees: CommittedTrees, entries: readonly DesiredEntry[]): Promise<readonly DesiredObject[]> {
  const blobs = [...new Set(entries.map(({ blob }) => blob))];
  const contents = await trees.blobs(blobs);
  const documents = new Map(blobs.map((blob, n) => [blob, documentsOf(textOf(contents[n]))]));
  return entries.map(({ ref, path, digest, processorId, epoch, blob, place }) => ({ ref, path, digest, processorId, epoch, yaml: documents.get(blob)?.[place] ?? '' }));
}

type Identity = Pick<DesiredEntry, 'ref' | 'processorId' | 'epoch' | 'revision'>;

const head = /^apiVersion: ([\w./-]+)\nkind: (\w+)\nmetadata:\n((?: {2}.*\n)+)/;

/** Our own renderer sorts keys and quotes no name: what names an object is found without a parser. Null: it is of another form. */
export function scan(document: string): Identity | null {
  const [, apiVersion, kind, metadata] = head.exec(document) ?? [];
  if (apiVersion === undefined || kind === undefined || metadata === undefined) return null;
  const name = /^ {2}name: ([a-z0-9.-]+)$/m.exec(metadata)?.[1];
  if (name === undefined || /^ {2}(?:namespace|labels|annotations): *["'{&*!|>]/m.test(metadata)) return null;
  const namespace = /^ {2}namespace: ([a-z0-9-]+)$/m.exec(metadata)?.[1] ?? null;
  const value = (key: string): string | undefined => new RegExp(`^ {4}${key}: "?([\\w-]+)"?$`, 'm').exec(metadata)?.[1];
  return identity({ apiVersion, kind, namespace, name }, value('processor-id'), value('dory\\.io/epoch'), value('dory\\.io/revision'));
}

function identity(ref: DesiredEntry['ref'], processorId: string | undefined, epoch: string | undefined, revision: string | undefined): Identity {
  return { ref, processorId: (processorId ?? null) as ProcessorId | null, epoch: positive(epoch) as Epoch | null, revision: positive(revision) as RevisionId | null };
}

export function identify(document: string, path: string): Identity {
  const manifest = parseManifest(document, path);
  const { apiVersion, kind, metadata } = isMap(manifest) ? manifest : {};
  const { name, namespace, labels, annotations } = isMap(metadata) ? metadata : {};
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || typeof name !== 'string') throw unusable(path, 'a document in it lacks apiVersion, kind or metadata.name');
  const text = (map: unknown, key: string): string | undefined => isMap(map) && typeof map[key] === 'string' ? map[key] : undefined;
  return identity({ apiVersion, kind, name, namespace: typeof namespace === 'string' ? namespace : null }, text(labels, 'processor-id'), text(annotations, 'dory.io/epoch'), text(annotations, 'dory.io/revision'));
}

function unusable(path: string, why: string): Failure {
  return new Failure('render-invalid', `${path} can't be applied: ${why}.`, {
    mend: 'Somebody else wrote this file, or this is a bug: undo the commit, or let it be undone with `dory approve foreign-edit --reason …`.',
  });
}

import { printProcessor, type ProcessorProps } from '../../charts-ts/processor.ts';
import { Failure } from '../model/failure.ts';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import type { ManifestInput } from '../model/placement.ts';
import type { FileChange, Listing, ManifestTree } from '../model/tree.ts';
import { blobName, digestText } from '../platform/digest.ts';
import type { ChangeSummary } from './change.ts';
import { changePath, fixedFiles, folderOf, json, leafOf, manifestPath, overview, overviewLine, overviewPath, supportPath } from './layout.ts';
import { changeEntries, type Entry, type Leaf } from './leaf.ts';
import { processorHash, processorStem } from './names.ts';
import { processorProps } from './props.ts';
import type { RenderSettings } from './settings.ts';
import { printShape, shapeKey, stamp, type Shape } from './shape.ts';
import { digestLines } from './tree.ts';
import { checkPlacement, checkWorkload } from './validate.ts';

/**
 * The tree of one revision, and what the next one needs: names, not bytes. A value: rendering from it again, in another
 * direction, is allowed.
 */
export interface RenderState {
  readonly settings: RenderSettings;
  /** Path → Git's blob name of every file. */
  readonly files: Listing;
  readonly leaves: ReadonlyMap<string, Leaf>;
  /** How many processors each namespace in use has. */
  readonly namespaces: ReadonlyMap<string, number>;
  /** Paths of the files that are no processor's and no overview. */
  readonly shared: ReadonlySet<string>;
  readonly shapes: ReadonlyMap<string, Shape>;
}

export interface RenderDelta {
  readonly revision: RevisionId;
  /** In any order, none twice. */
  readonly changed: readonly ManifestInput[];
  /** None of `changed`. One that is not there is gone already. */
  readonly removed: readonly ProcessorId[];
  readonly change: ChangeSummary;
}

export interface Rendered {
  readonly state: RenderState;
  readonly tree: ManifestTree;
  /** Sorted by path: files whose bytes differ from the state's. */
  readonly files: readonly FileChange[];
}

export function emptyRenderState(settings: RenderSettings): RenderState {
  return { settings, files: new Map(), leaves: new Map(), namespaces: new Map(), shared: new Set(), shapes: new Map() };
}

/**
 * Renders what changed. From the empty state with every row, or by any sequence of increments that ends in the same rows:
 * the same bytes. Throws `Failure('render-invalid')` and leaves the state as it was.
 */
export function render(state: RenderState, delta: RenderDelta): Rendered {
  const work = startWork(state);
  for (const [leaf, group] of groupByLeaf(state.settings, delta)) renderLeaf(work, leaf, group);
  writeShared(work, delta.change);
  const files = [...work.changes.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  return {
    state: { settings: state.settings, files: work.files, leaves: work.leaves, namespaces: work.namespaces, shared: work.shared, shapes: keptShapes(work) },
    tree: { revision: delta.revision, files: work.files, digest: digestOfTree(work) },
    files,
  };
}

/** As `treeDigest` defines it: our other files lie before (`.dory/`) or behind (`system/`) the folders of processors. */
function digestOfTree({ settings, leaves, files, shared }: Work): Digest {
  const folders = [...leaves.keys()].sort().map((folder) => leaves.get(folder)?.digestLines ?? '');
  const processors = `${folderOf(settings)}/processors`;
  const before = digestLines([...shared].filter((path) => path < processors), files);
  const behind = digestLines([...shared].filter((path) => path > processors), files);
  return digestText([before, ...folders, behind].join(''));
}

/** Copies of the state's maps, private to one call. */
interface Work {
  readonly settings: RenderSettings;
  readonly before: Listing;
  readonly files: Map<string, string>;
  readonly leaves: Map<string, Leaf>;
  readonly namespaces: Map<string, number>;
  readonly shared: Set<string>;
  readonly shapes: Map<string, Shape>;
  readonly usedShapes: Map<string, Shape>;
  /** The namespaces of the state before, sorted and joined. */
  readonly usedNamespaces: string;
  readonly changes: Map<string, FileChange>;
  readonly scratch: Uint8Array;
  stamped: number;
}

/** Bytes: more than nearly every file; a longer one gets its own. */
const scratchSize = 65_536;

function startWork({ settings, files, leaves, namespaces, shared, shapes }: RenderState): Work {
  return {
    settings,
    before: files,
    files: new Map(files),
    leaves: new Map(leaves),
    namespaces: new Map(namespaces),
    shared: new Set(shared),
    shapes: new Map(shapes),
    usedShapes: new Map(),
    usedNamespaces: [...namespaces.keys()].sort().join(),
    changes: new Map(),
    scratch: new Uint8Array(scratchSize),
    stamped: 0,
  };
}

interface Group {
  readonly changed: Map<ProcessorId, { readonly input: ManifestInput; readonly hash: string }>;
  readonly removed: Set<ProcessorId>;
}

function groupByLeaf(settings: RenderSettings, { changed, removed }: RenderDelta): ReadonlyMap<string, Group> {
  const groups = new Map<string, Group>();
  const seen = new Set<ProcessorId>();
  const groupOf = (id: ProcessorId, hash: string): Group => {
    if (seen.has(id)) throw new Failure('render-invalid', `processor ${id} is listed twice in one change`);
    seen.add(id);
    const leaf = leafOf(settings, hash);
    const group = groups.get(leaf) ?? { changed: new Map(), removed: new Set() };
    groups.set(leaf, group);
    return group;
  };
  for (const input of changed) {
    const hash = processorHash(input.spec.id);
    groupOf(input.spec.id, hash).changed.set(input.spec.id, { input, hash });
  }
  for (const id of removed) groupOf(id, processorHash(id)).removed.add(id);
  return groups;
}

function renderLeaf(work: Work, folder: string, { changed, removed }: Group): void {
  const entries = new Map<ProcessorId, Entry>();
  for (const [id, { input, hash }] of changed) {
    const stem = processorStem(input.workload.slug, hash);
    entries.set(id, { id, stem, namespace: input.spec.namespace, line: overviewLine(stem, input.placement) });
  }
  const { entries: all, replaced } = changeEntries(work.leaves.get(folder)?.entries ?? [], entries, removed);
  for (const entry of replaced) {
    count(work.namespaces, entry.namespace, -1);
    // A slug can change, and then its file has another name.
    if (entries.get(entry.id)?.stem !== entry.stem) remove(work, manifestPath(folder, entry.stem));
  }
  for (const { namespace } of entries.values()) count(work.namespaces, namespace, 1);
  for (const { input, hash } of changed.values()) {
    write(work, manifestPath(folder, processorStem(input.workload.slug, hash)), manifest(work, input));
  }
  if (all.length === 0) {
    work.leaves.delete(folder);
    remove(work, overviewPath(folder));
    return;
  }
  write(work, overviewPath(folder), fixed(overview(all.map(({ line }) => line))));
  const paths = [overviewPath(folder), ...all.map(({ stem }) => manifestPath(folder, stem))];
  work.leaves.set(folder, { entries: all, digestLines: digestLines(paths, work.files) });
}

function count(namespaces: Map<string, number>, namespace: string, by: 1 | -1): void {
  const left = (namespaces.get(namespace) ?? 0) + by;
  if (left > 0) namespaces.set(namespace, left);
  else namespaces.delete(namespace);
}

/** Files that are nobody's in particular. */
function writeShared(work: Work, change: ChangeSummary): void {
  const { settings, namespaces } = work;
  const files = new Map([...fixedFiles(settings), [changePath(settings), json(change)]]);
  const used = [...namespaces.keys()].sort();
  const system = supportPath(settings, '');
  if (work.before.size > 0 && used.join() === work.usedNamespaces) {
    writeAll(work, files);
    return;
  }
  for (const [name, text] of settings.supportFiles(used)) files.set(supportPath(settings, name), text);
  for (const path of work.shared) {
    if (!path.startsWith(system) || files.has(path)) continue;
    work.shared.delete(path);
    remove(work, path);
  }
  writeAll(work, files);
}

function writeAll(work: Work, files: ReadonlyMap<string, string>): void {
  for (const [path, text] of files) {
    work.shared.add(path);
    write(work, path, fixed(text));
  }
}

/** How to make a file's text; made again when its content is asked for, so that a first render of all holds none of it. */
type MakeText = () => string;

function fixed(text: string): MakeText {
  return () => text;
}

function manifest(work: Work, input: ManifestInput): MakeText {
  const props = processorProps(input, work.settings);
  checkPlacement(input, props.name);
  const { shape, isNew } = shapeFor(work, props);
  if (isNew || work.stamped % sampleEvery === 0) checkSample(shape, props);
  work.stamped += 1;
  return () => stamp(shape, processorProps(input, work.settings));
}

/** Of the stamped manifests, one of each new shape and one of this many are compared with what cdk8s prints (0.7 ms each). */
const sampleEvery = 1_000;

function checkSample(shape: Shape, props: ProcessorProps): void {
  if (stamp(shape, props) === printProcessor(props)) return;
  throw new Failure('render-invalid', `processor ${props.processorId}: the stamped manifest is not what cdk8s prints`, {
    mend: 'This is a bug: please report it with the row of the processor and of its template.',
  });
}

function shapeFor(work: Work, props: ProcessorProps): { readonly shape: Shape; readonly isNew: boolean } {
  const key = shapeKey(props);
  const known = work.shapes.get(key);
  if (known === undefined) checkWorkload(props.processorId, props.workload);
  const shape = known ?? printShape(props);
  work.shapes.set(key, shape);
  work.usedShapes.set(key, shape);
  return { shape, isNew: known === undefined };
}

/** About 3 KB each; a fleet of a hundred templates has up to four of each. */
const shapesKept = 512;

function keptShapes({ shapes, usedShapes }: Work): ReadonlyMap<string, Shape> {
  return shapes.size <= shapesKept ? shapes : usedShapes;
}

function write(work: Work, path: string, makeText: MakeText): void {
  const blob = blobOf(work, makeText());
  work.files.set(path, blob);
  if (work.before.get(path) === blob) return void work.changes.delete(path);
  work.changes.set(path, {
    path,
    blob,
    get content() {
      return Buffer.from(makeText());
    },
  });
}

/** Through one buffer: at 50,000 texts the allocations cost more than the hashes. */
function blobOf({ scratch }: Work, text: string): string {
  const { read, written } = new TextEncoder().encodeInto(text, scratch);
  return blobName(read === text.length ? scratch.subarray(0, written) : Buffer.from(text));
}

function remove(work: Work, path: string): void {
  if (work.files.delete(path) && work.before.has(path)) work.changes.set(path, { path, blob: null, content: null });
}

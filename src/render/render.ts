import { Failure } from '../model/failure.ts';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import type { ManifestInput } from '../model/placement.ts';
import type { FileChange, Listing, ManifestTree } from '../model/tree.ts';
import { blobName, digestText } from '../platform/digest.ts';
import type { ChangeSummary } from './change.ts';
import { argocdPath, changePath, fixedFiles, folderOf, json, leafOf, leavesOf, manifestPath, overview, overviewLine, overviewPath, supportPath } from './layout.ts';
import { changeEntries, type Entry, type Leaf } from './leaf.ts';
import { processorHash, processorStem } from './names.ts';
import { processorProps } from './props.ts';
import type { RenderSettings } from './settings.ts';
import { stamp, type Shape } from './shape.ts';
import { keptShapes, shapeOf, startStamper, type Stamper } from './stamper.ts';
import { digestLines } from './tree.ts';
import { checkPlacement } from './validate.ts';

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
  /** Sorted by path: files whose bytes differ from the state's. Their content is made each time it is asked for. */
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
  if (state.shared.size === 0 && keepsLeaves(state.settings)) for (const folder of leavesOf(state.settings)) renderOverview(work, folder, []);
  for (const [folder, group] of groupByLeaf(state.settings, delta)) renderLeaf(work, folder, group);
  renderShared(work, state, delta.change);
  const { settings, files, leaves, namespaces, shared, stamper, changes } = work;
  return {
    state: { settings, files, leaves, namespaces, shared, shapes: keptShapes(stamper) },
    tree: { revision: delta.revision, files, digest: digestOfTree(work) },
    files: [...changes.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
}

/** Copies of the state's maps, private to one call, and what comes of it. */
interface Work {
  readonly settings: RenderSettings;
  readonly before: Listing;
  readonly files: Map<string, string>;
  readonly leaves: Map<string, Leaf>;
  readonly namespaces: Map<string, number>;
  readonly shared: Set<string>;
  readonly stamper: Stamper;
  readonly changes: Map<string, FileChange>;
  readonly scratch: Uint8Array;
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
    stamper: startStamper(shapes),
    changes: new Map(),
    scratch: new Uint8Array(scratchSize),
  };
}

/** What changes in one folder. */
interface Group {
  readonly changed: Map<ProcessorId, { readonly input: ManifestInput; readonly stem: string }>;
  readonly removed: Set<ProcessorId>;
}

function groupByLeaf(settings: RenderSettings, { changed, removed }: RenderDelta): ReadonlyMap<string, Group> {
  const groups = new Map<string, Group>();
  const seen = new Set<ProcessorId>();
  const groupOf = (id: ProcessorId, hash: string): Group => {
    if (seen.has(id)) throw new Failure('render-invalid', `processor ${id} is listed twice in one change`);
    seen.add(id);
    const folder = leafOf(settings, hash);
    const group = groups.get(folder) ?? { changed: new Map(), removed: new Set() };
    groups.set(folder, group);
    return group;
  };
  for (const input of changed) {
    const hash = processorHash(input.spec.id);
    groupOf(input.spec.id, hash).changed.set(input.spec.id, { input, stem: processorStem(input.workload.slug, hash) });
  }
  for (const id of removed) groupOf(id, processorHash(id)).removed.add(id);
  return groups;
}

function renderLeaf(work: Work, folder: string, { changed, removed }: Group): void {
  const entries = new Map<ProcessorId, Entry>();
  for (const [id, { input, stem }] of changed) {
    entries.set(id, { id, stem, namespace: input.spec.namespace, line: overviewLine(stem, input.placement) });
  }
  const { entries: all, replaced } = changeEntries(work.leaves.get(folder)?.entries ?? [], entries, removed);
  for (const { id, stem, namespace } of replaced) {
    count(work.namespaces, namespace, -1);
    // A slug can change, and then its file has another name.
    if (entries.get(id)?.stem !== stem) remove(work, manifestPath(folder, stem));
  }
  for (const { namespace } of entries.values()) count(work.namespaces, namespace, 1);
  for (const { input, stem } of changed.values()) write(work, manifestPath(folder, stem), manifest(work, input));
  renderOverview(work, folder, all);
}

/** A folder that is gone fails Argo CD's sync, and what ran there last would stay for ever. */
function keepsLeaves({ argocdFiles }: RenderSettings): boolean {
  return argocdFiles !== null;
}

function renderOverview(work: Work, folder: string, entries: readonly Entry[]): void {
  const path = overviewPath(folder);
  if (entries.length === 0 && !keepsLeaves(work.settings)) {
    work.leaves.delete(folder);
    remove(work, path);
    return;
  }
  write(work, path, fixed(overview(entries.map(({ line }) => line))));
  const paths = [path, ...entries.map(({ stem }) => manifestPath(folder, stem))];
  work.leaves.set(folder, { entries, digestLines: digestLines(paths, work.files) });
}

function count(namespaces: Map<string, number>, namespace: string, by: 1 | -1): void {
  const left = (namespaces.get(namespace) ?? 0) + by;
  if (left > 0) namespaces.set(namespace, left);
  else namespaces.delete(namespace);
}

/** Files that are no processor's: those of the settings, the last change, and what the namespaces in use need. */
function renderShared(work: Work, state: RenderState, change: ChangeSummary): void {
  const { settings, shared } = work;
  const files = new Map([...fixedFiles(settings), [changePath(settings), json(change)]]);
  const [before, used] = [state.namespaces, work.namespaces].map((namespaces) => [...namespaces.keys()].sort());
  if (shared.size === 0 || used?.join() !== before?.join()) {
    const systemFiles = settings.supportFiles(used ?? []);
    for (const [name, text] of systemFiles) files.set(supportPath(settings, name), text);
    for (const [name, text] of settings.argocdFiles?.(settings.layout, systemFiles) ?? []) files.set(argocdPath(settings, name), text);
    for (const path of shared) {
      if (files.has(path)) continue;
      shared.delete(path);
      remove(work, path);
    }
  }
  for (const [path, text] of files) {
    shared.add(path);
    write(work, path, fixed(text));
  }
}

/** As `treeDigest` defines it: our other files lie before (`.dory/`) or behind (`system/`) the folders of processors. */
function digestOfTree({ settings, leaves, files, shared }: Work): Digest {
  const folders = [...leaves.keys()].sort().map((folder) => leaves.get(folder)?.digestLines ?? '');
  const processors = `${folderOf(settings)}/processors`;
  const others = (behind: boolean): string => digestLines([...shared].filter((path) => path > processors === behind), files);
  return digestText([others(false), ...folders, others(true)].join(''));
}

/** Makes a file's text; called again when its content is asked for, so that a first render of 50,000 does not hold 200 MB. */
type MakeText = () => string;

function fixed(text: string): MakeText {
  return () => text;
}

function manifest({ settings, stamper }: Work, input: ManifestInput): MakeText {
  const props = processorProps(input, settings);
  checkPlacement(input, props.name);
  const shape = shapeOf(stamper, props);
  return () => stamp(shape, processorProps(input, settings));
}

function write(work: Work, path: string, makeText: MakeText): void {
  const blob = blobOf(work, makeText());
  work.files.set(path, blob);
  if (work.before.get(path) === blob) return;
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

import { targetName, type Placement } from '../model/placement.ts';
import { formatInstant } from '../model/time.ts';
import type { RenderSettings } from './settings.ts';

/** Where each file of ours lies. Everything is below `clusters/<cluster>/`. */
export function folderOf({ cluster }: Pick<RenderSettings, 'cluster'>): string {
  return `clusters/${cluster}`;
}

/** The folder of a processor, by the first bits of its hash: 6 of them name one of 64 folders, the next 4 one of 16 in it. */
export function leafOf(settings: Pick<RenderSettings, 'cluster' | 'layout'>, hash: string): string {
  const root = `${folderOf(settings)}/processors`;
  if (settings.layout === 'flat') return root;
  const bits = Number.parseInt(hash.slice(0, 3), 16);
  const first = (bits >> 6).toString(16).padStart(2, '0');
  return settings.layout === '64' ? `${root}/${first}` : `${root}/${first}/${((bits >> 2) & 15).toString(16)}`;
}

/** Every folder that `leafOf` can name. */
export function leavesOf(settings: Pick<RenderSettings, 'cluster' | 'layout'>): ReadonlySet<string> {
  return new Set(Array.from({ length: 1024 }, (_, bits) => leafOf(settings, (bits << 2).toString(16).padStart(3, '0'))));
}

export function manifestPath(leaf: string, stem: string): string {
  return `${leaf}/${stem}.yaml`;
}

export function overviewPath(leaf: string): string {
  return `${leaf}/placements.tsv`;
}

const overviewHeader = 'name\ttarget\tepoch\tphase\treason\tsince\n';

/** The overview that people read: one line a processor, in the order of the folder's files. */
export function overview(lines: readonly string[]): string {
  return overviewHeader + lines.join('');
}

/** One line of the overview, ended. The id is in the manifest: a uuid here would be most of what a commit adds to the repository. No value can hold a tab: names are DNS names, the rest are codes and numbers of ours. */
export function overviewLine(stem: string, placement: Placement): string {
  const { target, epoch, phase, reason, since } = placement;
  // Joined to its end, so that it is kept as one text and not as a list of its parts.
  return [stem, targetName(target), String(epoch), phase, reason, `${formatInstant(since)}\n`].join('\t');
}

/** Raised when a reader of an older repository would misread a newer one. */
const formatVersion = 1;

/** Files that depend on the settings alone. */
export function fixedFiles(settings: RenderSettings): ReadonlyMap<string, string> {
  const { cluster, owner, layout } = settings;
  const folder = folderOf(settings);
  return new Map([
    [`${folder}/.dory/owner.json`, json({ format: formatVersion, owner, cluster, layout })],
    [`${folder}/.gitattributes`, attributes],
  ]);
}

const attributes = `# Written by Dory: change the database, not these files.
# Bytes are applied as they are committed; no tool may convert line ends.
* -text
.dory/** linguist-generated
`;

export function changePath(settings: RenderSettings): string {
  return `${folderOf(settings)}/.dory/change.json`;
}

export function supportPath(settings: RenderSettings, name: string): string {
  return `${folderOf(settings)}/system/${name}`;
}

export function argocdPath(settings: RenderSettings, name: string): string {
  return `${folderOf(settings)}/argocd/${name}`;
}

/** JSON for people and machines: two spaces, ended. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

import { createTwoFilesPatch } from 'diff';
import type { ManifestInput } from '../model/placement.ts';
import { renderWithCdk8s, type ChartSettings } from '../render/props.ts';

/** A unified diff of one manifest, as Git would show it; null: there is none on this side. */
export function manifestDiff(name: string, before: ManifestInput | null, after: ManifestInput | null, settings: ChartSettings): string {
  const text = (input: ManifestInput | null): string => (input === null ? '' : renderWithCdk8s(input, settings));
  const [oldName, newName] = [before === null ? '/dev/null' : `a/${name}`, after === null ? '/dev/null' : `b/${name}`];
  const patch = createTwoFilesPatch(oldName, newName, text(before), text(after), undefined, undefined, { context: 3 });
  return patch.split('\n').slice(1).join('\n');
}

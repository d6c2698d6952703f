import { isMap, type KubeObject } from '../platform/kube/object.ts';
import { canonicalJson } from '../platform/digest.ts';
import { appliedValues, inOneForm, itemKeys, type Fields } from './fields.ts';
import { isOurEntry, managersOf, ourValues } from './live.ts';

/** Who changed what of our fields, and when. Values are left out: they may be secret. */
export interface Drift {
  /** Field paths, as people write them: `spec.template.spec.containers[processor].image`. Sorted as in the document; at most `mostFields`. */
  readonly fields: readonly string[];
  readonly who: readonly Culprit[];
}

interface Culprit {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  /** RFC 3339 by the server's clock; null where it tells none. */
  readonly when: string | null;
}

/** Enough to see what was done. */
const mostFields = 20;

/** Of an object that was in sync: what the committed document has, and our fields no longer do. */
export function driftOf(manifest: unknown, object: KubeObject): Drift {
  const managers = managersOf(object);
  const fields = [...changedPaths(inOneForm(appliedValues(manifest)), inOneForm(ourValues(object, managers) ?? {}), [])];
  // Who owns one of these fields now; a field that was removed is owned by nobody.
  const who = managers.filter((entry) => !isOurEntry(entry) && fields.some((path) => covers(entry.fields, path)));
  return { fields: fields.slice(0, mostFields).map(shown), who: who.map(({ manager, operation, time }) => ({ manager, operation, when: time })) };
}

/** Steps from the root: names of fields, and items of a list. */
type Path = readonly (string | Named)[];

function* changedPaths(wanted: unknown, found: unknown, path: Path): Generator<Path> {
  if (isMap(wanted) && isMap(found) && Object.keys(wanted).length > 0) {
    for (const [name, value] of Object.entries(wanted)) yield* changedPaths(value, found[name], [...path, name]);
    return;
  }
  if (isNamedList(wanted) && isNamedList(found)) {
    for (const item of wanted) yield* changedPaths(item, itemOf(found, item.name), [...path, item]);
    return;
  }
  if (found === undefined || canonicalJson(wanted) !== canonicalJson(found)) yield path;
}

type Named = Readonly<Record<string, unknown>> & { readonly name: string };

function isNamedList(value: unknown): value is readonly Named[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => isMap(item) && typeof item['name'] === 'string');
}

function itemOf(list: readonly Named[], name: string): Named | undefined {
  return list.find((item) => item.name === name);
}

/** Whether these fields hold a place in an object, or something that it lies in. */
function covers(fields: Fields, path: Path): boolean {
  let at = fields;
  for (const [n, step] of path.entries()) {
    if (n > 0 && Object.keys(at).length === 0) return true;
    const below = typeof step === 'string' ? at[`f:${step}`] : itemFields(at, step);
    if (below === undefined) return false;
    at = below;
  }
  return true;
}

/** Of the element that names this item: by its name, or by other keys, of which the server fills in what the document lacks. */
function itemFields(fields: Fields, item: Named): Fields | undefined {
  return Object.entries(fields).find(([element]) => {
    const known = Object.entries(itemKeys(element) ?? {}).filter(([key]) => key in item);
    return known.length > 0 && known.every(([key, value]) => item[key] === value);
  })?.[1];
}

function shown(path: Path): string {
  return path.map((step, n) => (typeof step === 'string' ? `${n === 0 ? '' : '.'}${step}` : `[${step.name}]`)).join('');
}

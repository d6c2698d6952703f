import type { Digest } from '../model/ids.ts';
import { quantity } from '../model/quantity.ts';
import { canonicalJson, digestOf } from '../platform/digest.ts';

/**
 * Who owns what of an object: `metadata.managedFields`, in the form FieldsV1. Keys of it name a field (`f:`), an item of a list by its
 * keys (`k:`), by its value (`v:`), or by its place (`i:`); `.` is the map or item itself. `{}` owns everything below.
 */
export interface FieldManager {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  /** Of a subresource, such as `status`; empty for the object itself. */
  readonly subresource: string;
  /** RFC 3339, as the server says it; null where it doesn't. */
  readonly time: string | null;
  readonly fields: Fields;
}

export interface Fields {
  readonly [element: string]: Fields;
}

type Values = Readonly<Record<string, unknown>>;

/** The values that these fields have in an object; what the fields don't name is left out. */
export function ownedValues(object: unknown, fields: Fields): unknown {
  const elements = Object.entries(fields).filter(([element]) => element !== '.');
  if (elements.length === 0) return '.' in fields ? emptyOf(object) : object;
  if (Array.isArray(object)) return object.flatMap((item: unknown, place) => ownedItem(item, place, elements));
  if (!isMap(object)) return undefined;
  const owned: Record<string, unknown> = {};
  for (const [element, below] of elements) {
    const name = element.startsWith('f:') ? element.slice(2) : null;
    if (name === null || !Object.hasOwn(object, name)) continue;
    // Not by assignment: a key may be called __proto__.
    Object.defineProperty(owned, name, { value: ownedValues(object[name], below), enumerable: true, configurable: true, writable: true });
  }
  return owned;
}

/** The item itself is owned, and nothing in it. */
function emptyOf(value: unknown): unknown {
  return Array.isArray(value) ? [] : isMap(value) ? {} : value;
}

function ownedItem(item: unknown, place: number, elements: readonly (readonly [string, Fields])[]): readonly unknown[] {
  const found = elements.find(([element]) => names(element, item, place));
  return found === undefined ? [] : [ownedValues(item, found[1])];
}

function names(element: string, item: unknown, place: number): boolean {
  const rest = element.slice(2);
  if (element.startsWith('i:')) return rest === String(place);
  const value = parsed(rest);
  if (element.startsWith('v:')) return canonicalJson(value) === canonicalJson(item);
  return element.startsWith('k:') && isMap(value) && isMap(item) && Object.entries(value).every(([key, wanted]) => canonicalJson(item[key] ?? null) === canonicalJson(wanted));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // A form that we don't know names nothing that we know.
    return undefined;
  }
}

/** What any of these names. */
export function unionOf(sets: readonly Fields[]): Fields {
  const [first = {}, ...others] = sets;
  return others.reduce(union, first);
}

function union(a: Fields, b: Fields): Fields {
  const [x, y] = [Object.keys(a).length === 0, Object.keys(b).length === 0];
  // A field that is named as a whole, and of which parts are named as well.
  if (x || y) return x && y ? {} : { '.': {}, ...a, ...b };
  const merged: Record<string, Fields> = { ...a };
  for (const [element, below] of Object.entries(b)) {
    const other = merged[element];
    merged[element] = other === undefined ? below : union(other, below);
  }
  return merged;
}

/**
 * Equal for what was applied and for what the server shows of it, if it kept the values as they are. Where it writes them
 * in another way, or fills in more, they differ, and only an apply can tell; amounts of resources (`2000m`, `2`) are told apart by what they amount to.
 */
export function ownedDigest(values: unknown): Digest {
  return digestOf(withAmounts(values, false));
}

function withAmounts(value: unknown, areAmounts: boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => withAmounts(item, false));
  if (!isMap(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, below]) => [key, areAmounts ? amount(below) : withAmounts(below, key === 'limits' || key === 'requests')]));
}

function amount(value: unknown): unknown {
  const read = typeof value === 'string' ? quantity(value) : Number.NaN;
  return Number.isNaN(read) ? value : read;
}

/** Of a committed document: what server-side apply takes from it. Identity is nobody's field. */
export function appliedValues(manifest: unknown): unknown {
  if (!isMap(manifest)) return manifest;
  const kept = without(manifest, ['apiVersion', 'kind', 'metadata']);
  const metadata = isMap(manifest['metadata']) ? without(manifest['metadata'], ['name', 'namespace']) : {};
  return Object.keys(metadata).length === 0 ? kept : { ...kept, metadata };
}

function without(map: Values, names: readonly string[]): Values {
  return Object.fromEntries(Object.entries(map).filter(([name]) => !names.includes(name)));
}

export function isMap(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

import type { Digest } from '../model/ids.ts';
import { quantity } from '../model/quantity.ts';
import { canonicalJson, digestOf } from '../platform/digest.ts';
import { isMap } from '../platform/kube/object.ts';

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
  const elements = Object.keys(fields);
  if (elements.length === 0) return object;
  if (elements.length === 1 && elements[0] === '.') return emptyOf(object);
  if (Array.isArray(object)) {
    const wanted = elements.filter((element) => element !== '.').map((element) => listElement(element, fields[element] ?? {}));
    return object.flatMap((item: unknown, place) => ownedItem(item, place, wanted));
  }
  if (!isMap(object)) return undefined;
  const owned: Record<string, unknown> = {};
  for (const element of elements) {
    const name = element.startsWith('f:') ? element.slice(2) : null;
    if (name !== null && Object.hasOwn(object, name)) set(owned, name, ownedValues(object[name], fields[element] ?? {}));
  }
  return owned;
}

/** As assignment does, which is many times faster; but a key may be called __proto__. */
function set(map: Record<string, unknown>, name: string, value: unknown): void {
  if (name === '__proto__') Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true });
  else map[name] = value;
}

/** The item itself is owned, and nothing in it. */
function emptyOf(value: unknown): unknown {
  return Array.isArray(value) ? [] : isMap(value) ? {} : value;
}

interface ListElement {
  readonly names: (item: unknown, place: number) => boolean;
  readonly below: Fields;
}

function ownedItem(item: unknown, place: number, elements: readonly ListElement[]): readonly unknown[] {
  // They stand in the order of their names, as most lists of ours do.
  const first = elements[place];
  const found = first?.names(item, place) === true ? first : elements.find(({ names }) => names(item, place));
  return found === undefined ? [] : [ownedValues(item, found.below)];
}

/** Read once for the whole list. */
function listElement(element: string, below: Fields): ListElement {
  const rest = element.slice(2);
  if (element.startsWith('i:')) return { below, names: (_, place) => rest === String(place) };
  if (element.startsWith('v:')) {
    const value = parsed(rest);
    return { below, names: (item) => isSame(item, value) };
  }
  const keys = Object.entries(itemKeys(element) ?? {});
  return { below, names: (item) => keys.length > 0 && isMap(item) && keys.every(([key, wanted]) => isSame(item[key] ?? null, wanted)) };
}

/** By which keys an element names an item of a list; null if it names none so. */
export function itemKeys(element: string): Values | null {
  const value = element.startsWith('k:') ? parsed(element.slice(2)) : undefined;
  return isMap(value) ? value : null;
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === 'object' && typeof b === 'object' && canonicalJson(a) === canonicalJson(b));
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
 * Equal for what was applied and for what the server shows of it, if it kept the values, however it writes them. Where it fills in
 * more, they differ, and only an apply can tell.
 */
export function ownedDigest(values: unknown): Digest {
  return digestOf(inOneForm(values));
}

/** Amounts of resources (`2000m`, `2`) by what they amount to, and without what the server adds to fields that are owned as a whole. */
export function inOneForm(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => inOneForm(item));
  if (!isMap(value)) return value;
  const areAmounts = key === 'limits' || key === 'requests';
  const kept = key === 'fieldRef' && value['apiVersion'] === 'v1' ? without(value, ['apiVersion']) : value;
  const form: Record<string, unknown> = {};
  for (const [name, below] of Object.entries(kept)) set(form, name, areAmounts ? amount(below) : inOneForm(below, name));
  return form;
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

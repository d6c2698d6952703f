import type { Problem, ProblemCode } from '../model/fleet.ts';
import { isResourceQuantity } from '../model/kubernetes-names.ts';
import { isCredential, shown } from './secrets.ts';

/** An object of a JSON column, with what was found wrong in the column so far. Readers return the default beside a problem. */
export interface Section {
  readonly path: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly problems: Problem[];
}

/** The object in a JSON column. Also one that was encoded twice; NULL and `null` are an empty one. */
export function readJson(text: string | null, path: string, problems: Problem[]): Section {
  const empty: Section = { path, fields: {}, problems };
  if (text === null || text.trim() === '') return empty;
  let value: unknown;
  try {
    value = JSON.parse(text);
    if (typeof value === 'string') value = JSON.parse(value);
  } catch {
    // The parser's message quotes the text, which may hold credentials.
    report(empty, 'invalid-json', path, null, 'Make it valid JSON: an object.');
    return empty;
  }
  if (value === null) return empty;
  if (isObject(value)) return { path, fields: value, problems };
  report(empty, 'invalid-value', path, null, 'Make it a JSON object.');
  return empty;
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function readSection(parent: Section, key: string): Section {
  const path = at(parent, key);
  const value = present(parent, key);
  if (isObject(value)) return { path, fields: value, problems: parent.problems };
  if (value !== undefined) report(parent, 'invalid-value', path, null, 'Make it a JSON object, or leave it out.');
  return { path, fields: {}, problems: parent.problems };
}

export function readChoice<T extends string>(section: Section, key: string, choices: readonly T[], fallback: T): T {
  const value = present(section, key);
  if (value === undefined) return fallback;
  const choice = choices.find((each) => each === value);
  if (choice === undefined) reject(section, key, 'invalid-value', `Choose one of ${choices.join(', ')}.`);
  return choice ?? fallback;
}

/** A quantity as Kubernetes reads it; a JSON number counts as the text that it is written as. */
export function readQuantity(section: Section, key: string, fallback: string, valid: (text: string) => boolean = isResourceQuantity): string {
  const value = present(section, key);
  if (value === undefined) return fallback;
  const text = typeof value === 'number' ? String(value) : value;
  if (typeof text === 'string' && valid(text)) return text;
  reject(section, key, 'invalid-quantity', 'Write a Kubernetes quantity such as 500m, 2, 512Mi or 2Gi (letters O and l are not digits).');
  return fallback;
}

export interface Range {
  readonly min: number;
  readonly max: number;
}

export function readInteger<T extends number | null>(section: Section, key: string, { min, max }: Range, fallback: T): number | T {
  const value = present(section, key);
  if (value === undefined) return fallback;
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  reject(section, key, 'invalid-value', `Write a whole number from ${String(min)} to ${String(max)}, without quotes.`);
  return fallback;
}

export function readFlag<T extends boolean | null>(section: Section, key: string, fallback: T): boolean | T {
  const value = present(section, key);
  if (value === undefined) return fallback;
  if (typeof value === 'boolean') return value;
  reject(section, key, 'invalid-value', 'Write true or false, without quotes.');
  return fallback;
}

export function readTexts(section: Section, key: string): readonly string[] {
  const value = present(section, key);
  if (value === undefined) return [];
  if (Array.isArray(value) && value.every((each) => typeof each === 'string')) return value;
  reject(section, key, 'invalid-value', 'Make it a list of strings.');
  return [];
}

/** JSON's null says as much as no field at all. */
export function present(section: Section, key: string): unknown {
  return section.fields[key] ?? undefined;
}

/** Reports what stands at `key`, unless it could be a credential. */
export function reject(section: Section, key: string, code: ProblemCode, mend: string): void {
  report(section, code, at(section, key), shownUnder(key, present(section, key)), mend);
}

export function report(section: Section, code: ProblemCode, field: string, value: string | null, mend: string): void {
  section.problems.push({ code, field, value, mend });
}

/** A value under its key, as far as an error may show it. Objects and lists are not shown: they may hold anything. */
function shownUnder(key: string, value: unknown): string | null {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return null;
  return isCredential(key, String(value)) ? null : shown(String(value));
}

/** The path of a field. A key that could itself be a credential is told by its place. */
export function at(section: Section, key: string): string {
  const safe = shown(key);
  if (safe === null) return `${section.path}[${String(Object.keys(section.fields).indexOf(key))}]`;
  return /^[A-Za-z_][\w-]*$/.test(safe) ? `${section.path}.${safe}` : `${section.path}[${JSON.stringify(safe)}]`;
}

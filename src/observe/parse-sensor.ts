import type { EnvVar, Problem, ProblemCode, SensorSpec } from '../model/fleet.ts';
import type { SensorId } from '../model/ids.ts';
import { byName, canBeWritten, envVarMaker, unwritable, type MakeEnvVar } from './parse-env.ts';
import { at, isObject, readJson, report, type Section } from './parse-json.ts';
import type { SensorRow } from './rows.ts';
import { isCredential, snakeCase } from './secrets.ts';

export type SensorResult = { readonly ok: true; readonly sensor: SensorSpec } | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Makes a parser for many sensors: their settings as variables `SENSOR_<KEY>`, beside `SENSOR_ID` and `SENSOR_TYPE`.
 * `metadata` describes a sensor to people and is not passed on.
 */
export function sensorParser(make: MakeEnvVar = envVarMaker()): (row: SensorRow) => SensorResult {
  const names = new Map<string, string>();
  const nameOf = (key: string): string => {
    const name = names.get(key) ?? `SENSOR_${snakeCase(key).toUpperCase()}`;
    names.set(key, name);
    return name;
  };
  return (row) => parseSensor(row, nameOf, make);
}

function parseSensor(row: SensorRow, nameOf: (key: string) => string, make: MakeEnvVar): SensorResult {
  const secret = `dory-sensor-${row.id}`;
  const root = readJson(row.connectionConfig, 'sensors.connection_config', []);
  const typeVar = make('SENSOR_TYPE', row.type ?? '', secret);
  const byVariable = new Map<string, EnvVar>([
    ['SENSOR_ID', { name: 'SENSOR_ID', value: row.id }],
    ['SENSOR_TYPE', typeVar],
  ]);
  for (const { path, value } of settingsOf(root.fields as JsonObject, [])) {
    // The row's own id and type have these names already.
    const joined = path.join('_');
    const key = /^(?:id|type)$/i.test(joined) ? `connection_${joined}` : joined;
    const name = nameOf(key);
    const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
    const objection = objectionTo(name, value, text, byVariable);
    if (objection !== null) report(root, objection[0], fieldAt(root, path), null, objection[1]);
    else if (typeof value === 'object' && holdsCredential(key, value, 0)) byVariable.set(name, make(name, text, secret, true));
    else {
      const made = make(name, text, secret);
      byVariable.set(name, made);
      if (!canBeWritten(made)) report(root, 'invalid-value', fieldAt(root, path), null, unwritable);
    }
  }
  if (!canBeWritten(typeVar)) report(root, 'invalid-value', 'sensors.sensor_type', null, unwritable);
  if (root.problems.length > 0) return { ok: false, problems: root.problems };
  return { ok: true, sensor: { env: [...byVariable.values()].sort(byName), id: row.id as SensorId, type: row.type ?? '' } };
}

function objectionTo(name: string, value: Json, text: string, taken: ReadonlyMap<string, EnvVar>): readonly [ProblemCode, string] | null {
  if (name === 'SENSOR_') return ['invalid-name', 'Rename it: it has no letter or digit to make a variable name of.'];
  if (taken.has(name)) return ['invalid-name', `Rename it: another setting becomes ${name} too.`];
  if (text.includes('\0')) return ['invalid-value', 'Remove the NUL character.'];
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) return ['invalid-value', 'Put it in quotes: as a number it has more digits than JSON keeps.'];
  return null;
}

interface Setting {
  /** The keys that lead to it. */
  readonly path: readonly string[];
  /** A scalar, a list, or an object that is too deep to be taken apart. */
  readonly value: Json;
}

/** Deeper objects are passed on as JSON. */
const deepest = 8;

function* settingsOf(object: JsonObject, prefix: readonly string[]): Generator<Setting> {
  for (const [name, value] of Object.entries(object)) {
    const path = [...prefix, name];
    if (isObject(value) && path.length <= deepest) yield* settingsOf(value, path);
    else if (value !== null) yield { path, value };
  }
}

/** As a person finds it: keys that could be credentials are told by their place. */
function fieldAt(root: Section, path: readonly string[]): string {
  const [name = '', ...rest] = path;
  const field = at(root, name);
  const inner = root.fields[name];
  return rest.length > 0 && isObject(inner) ? fieldAt({ path: field, fields: inner, problems: root.problems }, rest) : field;
}

/** What `JSON.parse` returns. */
type Json = null | boolean | number | string | readonly Json[] | JsonObject;
interface JsonObject {
  readonly [key: string]: Json;
}

/** Whether a list, or an object in it, has a credential anywhere. What is nested too deep to look into counts as one. */
function holdsCredential(key: string, value: Json, depth: number): boolean {
  if (value === null) return false;
  if (typeof value !== 'object') return isCredential(key, String(value));
  if (depth > deepest) return true;
  if (isList(value)) return value.some((each) => holdsCredential(key, each, depth + 1));
  return Object.entries(value).some(([name, each]) => holdsCredential(`${key}_${name}`, each, depth + 1));
}

/** `Array.isArray` does not know lists that can't be changed. */
function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

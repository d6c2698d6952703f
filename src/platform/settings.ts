import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LineCounter, YAMLParseError, parse } from 'yaml';
import { Failure } from '../model/failure.ts';
import { packageRoot } from './package-root.ts';
import { conflicts, describeIssue, misspelledVariables } from './settings-problems.ts';
import { settingKeys, type SettingKey } from './settings-keys.ts';
import { accepts, settingsSchema, type Settings } from './settings-schema.ts';

/** Where settings come from. Precedence: environment, flags, file, defaults. */
export interface SettingsSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** By name without dashes, as in `settingKeys`: `{ 'poll-interval': '30s' }`. Others are not looked at. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly file: SettingsFile | null;
  /** The text of `config/defaults.yaml`. */
  readonly defaults: string;
}

interface SettingsFile {
  /** As the person named it: for messages. */
  readonly name: string;
  readonly text: string;
}

/** The variable beside the flag `--config`. */
const fileVariable = 'DORY_CONFIG';
/** Of commands that ask a server; they are no settings of one. */
const clientVariables = ['DORY_SERVER', 'DORY_TOKEN', 'DORY_TOKEN_FILE'];

/**
 * Reads the defaults and the file that `DORY_CONFIG` or `--config` names, and resolves.
 * @throws Failure `settings-invalid`
 */
export async function loadSettings(given: Pick<SettingsSources, 'env' | 'flags'>): Promise<Settings> {
  const defaults = await readFile(join(packageRoot(), 'config', 'defaults.yaml'), 'utf8');
  const name = [given.env[fileVariable], given.flags['config']].find(isGiven);
  const file = name === undefined ? null : await readSettingsFile(String(name));
  return resolveSettings({ ...given, file, defaults });
}

async function readSettingsFile(name: string): Promise<SettingsFile> {
  try {
    return { name, text: await readFile(name, 'utf8') };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Failure('settings-invalid', `The settings file can't be read: ${reason}.`, { mend: `Check --config and ${fileVariable}.`, cause: error });
  }
}

/** Pure. @throws Failure `settings-invalid`, whose message has a line for each thing that is wrong. */
export function resolveSettings(sources: SettingsSources): Settings {
  // Each goes over those before it.
  const layers = [
    fileLayer({ name: 'config/defaults.yaml', text: sources.defaults }),
    layer(settingKeys.filter((key) => key.weakVariable), (key) => sources.env[key.variable], (key) => key.variable),
    ...(sources.file === null ? [] : [fileLayer(sources.file)]),
    layer(settingKeys, (key) => (key.flag === null ? undefined : sources.flags[key.flag]), (key) => `--${key.flag ?? ''}`),
    layer(settingKeys.filter((key) => !key.weakVariable), (key) => sources.env[key.variable], (key) => key.variable),
  ];
  const tree = layers.reduce<Section>((below, { values }) => over(below, values), {});
  const parsed = settingsSchema.safeParse(tree);
  const origin = (path: string): string => layers.findLast(({ values }) => at(values, path) !== undefined)?.origin(path) ?? '';
  const problems = [
    ...misspelledVariables(sources.env, [fileVariable, ...clientVariables]),
    ...(parsed.success ? conflicts(parsed.data) : parsed.error.issues.flatMap((issue) => describeIssue(issue, (path) => at(tree, path), origin))),
  ];
  if (parsed.success && problems.length === 0) return parsed.data;
  throw new Failure('settings-invalid', ['The settings are not valid:', ...problems.map((line) => `  ${line}`)].join('\n'), {
    mend: 'config/defaults.yaml has every setting, with what it is for.',
  });
}

type Section = Readonly<Record<string, unknown>>;

/** One source of settings, as a tree like that of the file. */
interface Layer {
  readonly values: Section;
  /** How a person would name the place where it gives the setting at `path`. */
  readonly origin: (path: string) => string;
}

function layer(keys: readonly SettingKey[], read: (key: SettingKey) => unknown, name: (key: SettingKey) => string): Layer {
  const given = keys.filter((key) => isGiven(read(key)));
  const values = given.reduce<Section>((tree, key) => over(tree, nested(key.path, read(key))), {});
  return {
    values: typed(values),
    origin: (path) => {
      const key = given.find((candidate) => candidate.path === path);
      return key === undefined ? '' : name(key);
    },
  };
}

function fileLayer(file: SettingsFile): Layer {
  const values = parseYaml(file) ?? {};
  if (!isSection(values)) throw new Failure('settings-invalid', `${file.name} must hold settings, as config/defaults.yaml does.`);
  return { values: typed(values), origin: () => file.name };
}

function parseYaml(file: SettingsFile): unknown {
  const lineCounter = new LineCounter();
  try {
    // Pretty errors quote the line, which may hold a token.
    return parse(file.text, { prettyErrors: false, lineCounter });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const line = error instanceof YAMLParseError ? `:${String(lineCounter.linePos(error.pos[0]).line)}` : '';
    throw new Failure('settings-invalid', `${file.name}${line} is not YAML: ${error.message}`);
  }
}

/**
 * Texts of flags and variables, and numbers of a file where a text is expected, as what the setting takes. What it does not take
 * stays, to be reported.
 */
function typed(values: Section): Section {
  return settingKeys.reduce<Section>((tree, { path, schema }) => {
    const value = at(tree, path);
    const taken = readings(value).find((reading) => accepts(schema, reading));
    return taken === undefined || taken === value ? tree : over(tree, nested(path, taken));
  }, values);
}

/** What a value may stand for, the likeliest first. */
function readings(value: unknown): readonly unknown[] {
  if (value === 'true' || value === 'false') return [value, value === 'true'];
  if (typeof value === 'string') return [value, ...(/^\d+$/.test(value) ? [Number(value)] : []), value.split(',')];
  return typeof value === 'number' ? [value, String(value)] : [];
}

/** An empty variable or flag sets nothing: manifests can't leave one out. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== '';
}

function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `a.b`, 1 → `{ a: { b: 1 } }` */
function nested(path: string, value: unknown): Section {
  return path.split('.').reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Section;
}

function at(tree: Section, path: string): unknown {
  return path.split('.').reduce<unknown>((section, name) => (isSection(section) && Object.hasOwn(section, name) ? section[name] : undefined), tree);
}

/** A tree over another. An empty section, which YAML reads as null, hides nothing. */
function over(below: Section, above: Section): Section {
  const merged = Object.entries(above).map(([name, value]) => {
    const under = Object.hasOwn(below, name) ? below[name] : undefined;
    if (!isSection(under)) return [name, value];
    return [name, isSection(value) ? over(under, value) : (value ?? under)];
  });
  return { ...below, ...(Object.fromEntries(merged) as Section) };
}

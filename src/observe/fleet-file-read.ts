import { isMap, isNode, isScalar, LineCounter, parseDocument, type Document } from 'yaml';
import { Failure } from '../model/failure.ts';
import { uuid } from '../model/ids.ts';
import { millis, type Millis } from '../model/time.ts';
import { digestText } from '../platform/digest.ts';
import { parseDuration } from '../platform/durations.ts';
import { fleetFileSchema, type FleetFile } from './fleet-file-schema.ts';

type Path = readonly PropertyKey[];

/** Something that is wrong in the file, and where. */
interface Complaint {
  readonly path: Path;
  readonly message: string;
}

/** The file with an id for every row and every reference resolved. */
export interface ReadFleetFile {
  readonly file: FleetFile;
  readonly templateIds: ReadonlyMap<string, string>;
  readonly sensorIds: ReadonlyMap<string, string>;
  /** In the order of `file.nodes`. */
  readonly nodeIds: readonly string[];
  /** In the order of `file.processors`. */
  readonly processorIds: readonly string[];
  /** The node of that name, or of `organization/name`; undefined for `managed`. */
  readonly nodeIdOf: (reference: string) => string | undefined;
}

/** @throws Failure `fleet-file-invalid`, with every error and its line. */
export function readFleetFile(text: string): ReadFleetFile {
  const lines = new LineCounter();
  // Its own messages quote the file, which may hold credentials.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, merge: true });
  if (document.errors.length > 0) {
    throw invalid(document.errors.map(({ code, pos }) => `line ${String(lines.linePos(pos[0]).line)}: not valid YAML (${code})`));
  }
  const tell = ({ path, message }: Complaint): string => `line ${String(lineOf(document, lines, path))}, ${pathText(path)}: ${message}`;
  const result = fleetFileSchema.safeParse(toValue(document));
  if (!result.success) throw invalid(result.error.issues.map(tell));
  const resolved = resolve(result.data);
  if (resolved.complaints.length > 0) throw invalid(resolved.complaints.map(tell));
  return resolved.read;
}

/** An empty file is an empty fleet. */
function toValue(document: Document): unknown {
  try {
    return document.toJS() ?? {};
  } catch {
    throw invalid(['an alias refers to nothing, or there are too many of them']);
  }
}

function invalid(errors: readonly string[]): Failure {
  return new Failure('fleet-file-invalid', ['The fleet file has errors:', ...errors.map((each) => `  ${each}`)].join('\n'), {
    mend: 'The format is described in config/fleet.schema.json; config/fleet.example.yaml shows it.',
  });
}

function resolve(file: FleetFile): { readonly read: ReadFleetFile; readonly complaints: readonly Complaint[] } {
  const complaints: Complaint[] = [];
  const complain = (message: string, ...path: Path): void => void complaints.push({ path, message });
  const templateIds = new Map(file.templates.map(({ slug, id }) => [slug, id ?? uuidOf('template', slug)]));
  const sensorIds = new Map(file.sensors.map(({ name, id }) => [name, id ?? uuidOf('sensor', name)]));
  const nodeIds = file.nodes.map(({ name, organization, id }) => id ?? uuidOf('node', `${organization ?? ''}/${name}`));
  const processorIds = file.processors.map(({ name, id }) => id ?? uuidOf('processor', name ?? ''));
  const byReference = nodeReferences(file, nodeIds);

  const refer = (known: ReadonlySet<string>, what: string, reference: string | undefined, ...path: Path): void => {
    if (reference !== undefined && !known.has(reference)) complain(`there is no ${what} '${reference}'`, ...path);
  };
  const referToNode = (reference: string | undefined, ...path: Path): void => {
    const found = reference === undefined || reference === 'managed' ? 1 : (byReference.get(reference)?.length ?? 0);
    if (found === 0) complain(`there is no node '${reference ?? ''}'`, ...path);
    if (found > 1) complain(`there are ${String(found)} nodes '${reference ?? ''}': write organization/name`, ...path);
  };
  unique(file.templates.map(({ slug }) => slug), 'slug', (message, i) => complain(message, 'templates', i, 'slug'));
  unique(file.sensors.map(({ name }) => name), 'name', (message, i) => complain(message, 'sensors', i, 'name'));
  unique(nodeIds, 'node', (message, i) => complain(message, 'nodes', i, 'name'));
  unique(processorIds, 'processor', (message, i) => complain(message, 'processors', i));
  const [templates, sensors] = [new Set(templateIds.keys()), new Set(sensorIds.keys())];
  file.nodes.forEach((node, i) => {
    referToNode(node.failoverTarget, 'nodes', i, 'failoverTarget');
    node.apps.forEach(({ template }, j) => refer(templates, 'template', template, 'nodes', i, 'apps', j, 'template'));
  });
  file.processors.forEach((processor, i) => {
    refer(templates, 'template', processor.template, 'processors', i, 'template');
    refer(sensors, 'sensor', processor.sensor, 'processors', i, 'sensor');
    referToNode(processor.node, 'processors', i, 'node');
    if (typeof processor.current === 'object') referToNode(processor.current.target, 'processors', i, 'current', 'target');
  });
  const nodeIdOf = (reference: string): string | undefined => byReference.get(reference)?.[0];
  return { read: { file, templateIds, sensorIds, nodeIds, processorIds, nodeIdOf }, complaints };
}

function nodeReferences(file: FleetFile, ids: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const references = new Map<string, string[]>();
  file.nodes.forEach(({ name, organization }, i) => {
    for (const reference of organization === undefined ? [name] : [name, `${organization}/${name}`]) {
      references.set(reference, [...(references.get(reference) ?? []), ids[i] ?? '']);
    }
  });
  return references;
}

function unique(keys: readonly string[], what: string, complain: (message: string, index: number) => void): void {
  const seen = new Set<string>();
  keys.forEach((key, i) => {
    if (seen.has(key)) complain(`another one has this ${what} already`, i);
    seen.add(key);
  });
}

/** The uuid itself in lower case, or one (version 8) made from the name: the same on every machine. */
export function uuidOf(kind: string, name: string): string {
  if (uuid.test(name)) return name.toLowerCase();
  const hex = digestText(`dory fleet file ${kind} ${name}`);
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}

function pathText(path: Path): string {
  return path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${String(step)}]` : `${text}${text === '' ? '' : '.'}${String(step)}`), '') || 'the file';
}

/** The line of what stands at `path`, or of the nearest thing around it that is there. */
function lineOf(document: Document, lines: LineCounter, path: Path): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const found: unknown = document.getIn(path.slice(0, length), true);
    const node = isNode(found) ? found : null;
    const start = node?.range?.[0];
    if (start !== undefined) return lines.linePos(keyStart(document, path.slice(0, length)) ?? start).line;
  }
  return 1;
}

/** A map begins on the line after its key, but it is the key that one looks for. */
function keyStart(document: Document, path: Path): number | undefined {
  const parent: unknown = document.getIn(path.slice(0, -1), true);
  if (!isMap(parent)) return undefined;
  const key = parent.items.find((pair) => isScalar(pair.key) && pair.key.value === path.at(-1))?.key;
  return isScalar(key) ? key.range?.[0] : undefined;
}

/** A duration that the schema let through, in whole milliseconds. */
export function ageMs(text: string): Millis {
  return millis(Math.round(parseDuration(text) ?? 0));
}

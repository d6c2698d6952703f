import type { Fleet, Home, Problem, ProcessorSpec, Quarantined, Workload } from '../model/fleet.ts';
import { byText, type Digest, type NodeId, type ProcessorId } from '../model/ids.ts';
import { isDnsLabel } from '../model/kubernetes-names.ts';
import { digestText } from '../platform/digest.ts';
import { parseNodes, parseSwitches, type Nodes } from './parse-nodes.ts';
import { sensorParser, type SensorResult } from './parse-sensor.ts';
import { parseTemplate, type TemplateResult } from './parse-template.ts';
import type { ProcessorRow, Tables } from './rows.ts';
import { versionsShown, type SecretVersions } from './secret-versions.ts';
import { shown } from './secrets.ts';

/**
 * The tables, parsed as far as each can be on its own. What a table was parsed to is kept while its rows stay, so that
 * one changed row costs one parse; credentials are not kept.
 */
export interface Parsed {
  readonly templates: ReadonlyMap<string, Memo<TemplateResult>>;
  readonly sensors: ReadonlyMap<string, Memo<SensorResult>>;
  readonly nodes: Nodes;
  readonly switches: Fleet['switches'];
  readonly processors: readonly ProcessorRow[];
}

interface Memo<T> {
  /** Of the rows that the result comes from. */
  readonly hash: string;
  readonly result: T;
}

const nothing: Parsed = { templates: new Map(), sensors: new Map(), nodes: parseNodes([]), switches: [], processors: [] };

/** Parses the tables that were read; the others are as they were in `before`. */
export function parseTables(tables: Partial<Tables>, before: Parsed = nothing): Parsed {
  const { templates, versions, sensors, nodes, switches, processors = before.processors } = tables;
  return {
    templates: templates === undefined || versions === undefined ? before.templates : parseTemplates({ templates, versions }, before),
    sensors: sensors === undefined ? before.sensors : parseSensors(sensors, before),
    nodes: nodes === undefined ? before.nodes : parseNodes(nodes),
    switches: switches === undefined ? before.switches : parseSwitches(switches),
    processors,
  };
}

function parseTemplates({ templates, versions }: Pick<Tables, 'templates' | 'versions'>, before: Parsed): Parsed['templates'] {
  const active = new Map<string | null, (typeof versions)[number][]>();
  for (const version of versions) {
    const own = active.get(version.templateId);
    if (own === undefined) active.set(version.templateId, [version]);
    else own.push(version);
  }
  return new Map(
    templates.map((row) => {
      const own = active.get(row.id) ?? [];
      const hash = [row.hash, ...own.map((version) => version.hash)].join(' ');
      return [row.id, memoised(before.templates.get(row.id), hash, () => parseTemplate(row, own))];
    }),
  );
}

function parseSensors(rows: Tables['sensors'], before: Parsed): Parsed['sensors'] {
  const parse = sensorParser();
  return new Map(rows.map((row) => [row.id, memoised(before.sensors.get(row.id), row.hash, () => parse(row))]));
}

function memoised<T>(before: Memo<T> | undefined, hash: string, parse: () => T): Memo<T> {
  return before?.hash === hash ? before : { hash, result: parse() };
}

/** Each desired processor: its spec, or what is wrong with it. */
export type Assembly = ReadonlyMap<ProcessorId, Assembled>;

interface Assembled extends Sources {
  readonly result: { readonly ok: true; readonly spec: ProcessorSpec } | { readonly ok: false; readonly problems: readonly Problem[] };
}

/** What a result is made from; while all of these are the same, so is the result. */
interface Sources {
  readonly hash: string;
  readonly template: TemplateResult | undefined;
  readonly sensor: SensorResult | undefined;
  readonly node: readonly Problem[] | undefined;
  readonly secretVersions: string | undefined;
}

/** Joins the parsed tables to processors, keeping what `before` has of those that did not change. */
export function assemble(parsed: Parsed, defaultNamespace: string, before: Assembly | null, versions: SecretVersions = new Map()): Assembly {
  return new Map(
    parsed.processors.map((row) => {
      const id = row.id as ProcessorId;
      const template = row.templateId === null ? undefined : parsed.templates.get(row.templateId)?.result;
      const sensor = row.sensorId === null ? undefined : parsed.sensors.get(row.sensorId)?.result;
      const from: Sources = {
        hash: row.hash,
        template,
        sensor,
        node: row.nodeId === null ? undefined : parsed.nodes.problems.get(row.nodeId),
        secretVersions: versionsShown(versions, [template?.ok === true ? template.workload.env : [], sensor?.ok === true ? sensor.sensor.env : []]),
      };
      const old = before?.get(id);
      if (old !== undefined && sameSources(old, from)) return [id, old];
      // No spread here and below: the engine gives each object made by one a shape of its own, which takes more than the object.
      return [id, { hash: from.hash, template: from.template, sensor: from.sensor, node: from.node, secretVersions: from.secretVersions, result: join(row, from, defaultNamespace) }];
    }),
  );
}

function sameSources(a: Sources, b: Sources): boolean {
  return a.hash === b.hash && a.template === b.template && a.sensor === b.sensor && a.secretVersions === b.secretVersions && sameProblems(a.node, b.node);
}

/** Nodes are parsed all at once, so equal answers are not the same object; most are "none". */
function sameProblems(a: readonly Problem[] | undefined, b: readonly Problem[] | undefined): boolean {
  return a === b || (a?.length === 0 && b?.length === 0);
}

function join(row: ProcessorRow, { template, sensor, node, secretVersions }: Sources, defaultNamespace: string): Assembled['result'] {
  const namespace = row.namespace === null || row.namespace === '' ? defaultNamespace : row.namespace;
  const home = homeOf(row, node);
  const problems = [...templateProblems(row, template), ...sensorProblems(row, sensor), ...namespaceProblems(namespace), ...('kind' in home ? [] : home)];
  if (problems.length > 0 || template?.ok !== true || !('kind' in home)) return { ok: false, problems: problems.sort(byField) };
  const [id, own, workload] = [row.id as ProcessorId, sensor?.ok === true ? sensor.sensor : null, template.workload.digest];
  if (secretVersions === undefined) {
    return { ok: true, spec: { id, namespace, sensor: own, workload, home, digest: specDigest({ id, namespace, sensor: own, workload }) } };
  }
  return { ok: true, spec: { id, namespace, secretVersions, sensor: own, workload, home, digest: specDigest({ id, namespace, secretVersions, sensor: own, workload }) } };
}

/**
 * As `digestOf`, for fields whose keys are in order at every depth: a fleet has tens of thousands of specs, and sorting
 * keys would take most of the time of reading it.
 */
function specDigest(fields: Omit<ProcessorSpec, 'home' | 'digest'>): Digest {
  return digestText(JSON.stringify(fields));
}

function templateProblems({ templateId }: ProcessorRow, template: TemplateResult | undefined): readonly Problem[] {
  if (template === undefined) return [problem('missing-template', 'processors.processor_template_id', templateId, 'Point it to a row of processor_templates.')];
  return template.ok ? [] : template.problems;
}

function sensorProblems({ sensorId }: ProcessorRow, sensor: SensorResult | undefined): readonly Problem[] {
  if (sensorId === null) return [];
  if (sensor === undefined) return [problem('missing-sensor', 'processors.sensor_id', sensorId, 'Point it to a row of sensors, or set it to NULL.')];
  return sensor.ok ? [] : sensor.problems;
}

function namespaceProblems(namespace: string): readonly Problem[] {
  if (isDnsLabel(namespace)) return [];
  return [problem('invalid-name', 'processors.k8s_namespace', namespace, 'Make it a DNS label: lower-case letters, digits and -, at most 63.')];
}

function homeOf({ nodeType, nodeId }: ProcessorRow, node: readonly Problem[] | undefined): Home | readonly Problem[] {
  if (nodeType === 'managed' || (nodeType !== 'edge' && nodeId === null)) return { kind: 'managed' };
  if (nodeType !== 'edge') return [problem('invalid-value', 'processors.node_type', nodeType, 'Set it to edge or managed.')];
  if (nodeId === null || node === undefined) return [problem('missing-node', 'processors.node_id', nodeId, 'Point it to a row of edge_nodes, or set node_type to managed.')];
  return node.length > 0 ? node : { kind: 'edge', nodeId: nodeId as NodeId };
}

function problem(code: Problem['code'], field: string, value: string | null, mend: string): Problem {
  return { code, field, value: value === null ? null : shown(value), mend };
}

function byField(a: Problem, b: Problem): number {
  return byText(a.field, b.field) || byText(a.code, b.code);
}

/** What a processor was last rendered from. */
export interface LastGood {
  readonly spec: ProcessorSpec;
  readonly workload: Workload;
}

export function quarantinedIds(assembly: Assembly): readonly ProcessorId[] {
  return [...assembly].filter(([, { result }]) => !result.ok).map(([id]) => id);
}

export function toFleet(parsed: Parsed, assembly: Assembly, lastGood: ReadonlyMap<ProcessorId, LastGood>): Fleet {
  const processors: ProcessorSpec[] = [];
  const quarantined: Quarantined[] = [];
  for (const [id, { result }] of assembly) {
    if (result.ok) processors.push(result.spec);
    else quarantined.push({ id, problems: result.problems, lastGood: lastGood.get(id)?.spec ?? null });
  }
  processors.sort((a, b) => byText(a.id, b.id));
  quarantined.sort((a, b) => byText(a.id, b.id));
  const lists = {
    workloads: usedWorkloads(parsed, processors, lastGood),
    processors,
    quarantined,
    nodes: parsed.nodes.list,
    switches: parsed.switches,
  };
  return Object.freeze({ digest: fleetDigest(lists), ...lists });
}

function usedWorkloads({ templates }: Parsed, processors: readonly ProcessorSpec[], lastGood: ReadonlyMap<ProcessorId, LastGood>): readonly Workload[] {
  const used = new Set(processors.map(({ workload }) => workload));
  const all = new Map<Digest, Workload>();
  for (const { workload } of lastGood.values()) all.set(workload.digest, workload);
  for (const { result } of templates.values()) {
    if (result.ok && used.has(result.workload.digest)) all.set(result.workload.digest, result.workload);
  }
  return [...all.values()].sort((a, b) => byText(a.digest, b.digest));
}

/** Specs and workloads have digests already, so this reads a line of each and not all that is in them. */
function fleetDigest({ workloads, processors, quarantined, nodes, switches }: Omit<Fleet, 'digest'>): Digest {
  return digestText(
    [
      ...workloads.map(({ digest }) => digest),
      ...processors.map(({ id, digest, home }) => `${id} ${digest} ${home.kind === 'edge' ? home.nodeId : 'managed'}`),
      JSON.stringify({ quarantined, nodes, switches }),
    ].join('\n'),
  );
}

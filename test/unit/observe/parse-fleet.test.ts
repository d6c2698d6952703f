import { describe, expect, test } from 'vitest';
import type { Fleet } from '../../../src/model/fleet.ts';
import { assemble, type Assembly, parseTables, quarantinedIds, toFleet } from '../../../src/observe/parse-fleet.ts';
import type { NodeRow, ProcessorRow, Tables } from '../../../src/observe/rows.ts';
import { digestOf } from '../../../src/platform/digest.ts';

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const [template, nodeA, nodeB, sensor] = [id(1), id(10), id(11), id(20)];

const processor = (n: number, fields: Partial<ProcessorRow> = {}): ProcessorRow => ({ hash: `p${String(n)}`, id: id(100 + n), templateId: template, nodeType: 'edge', nodeId: nodeA, namespace: null, sensorId: sensor, ...fields });
const node = (nodeId: string, name: string, fields: Partial<NodeRow> = {}): NodeRow => ({ hash: nodeId, id: nodeId, organizationId: null, name, decommissioned: false, failoverEnabled: true, failoverTarget: null, architecture: null, gpu: null, site: null, ...fields });

function tables(fields: Partial<Tables> = {}): Tables {
  return {
    processors: [processor(2), processor(1)],
    templates: [{ hash: 't', id: template, slug: 'counter', name: 'Counter' }],
    versions: [{ hash: 'v', templateId: template, imageUri: 'a/b:1', digest: null, version: '1', runtimeConfig: '{"env_vars":{"API_TOKEN":"abc"}}', buildConfig: null }],
    sensors: [{ hash: 's', id: sensor, type: 'camera', connectionConfig: '{"password":"x","list":["a"],"n":{"b":1,"a":2}}' }],
    nodes: [node(nodeB, 'edge-b'), node(nodeA, 'edge-a', { failoverTarget: nodeB })],
    switches: [],
    ...fields,
  };
}

function fleetOf(fields: Partial<Tables> = {}): Fleet {
  const parsed = parseTables(tables(fields));
  return toFleet(parsed, assemble(parsed, 'default', null), new Map());
}

/** `code field` of each problem of the only quarantined processor. */
function problemsOf(row: Partial<ProcessorRow>, fields: Partial<Tables> = {}): readonly string[] {
  const { quarantined, processors } = fleetOf({ processors: [processor(1, row)], ...fields });
  expect(quarantined.length + processors.length).toBe(1);
  return (quarantined[0]?.problems ?? []).map(({ code, field }) => `${code} ${field}`);
}

test('a processor joins its template, sensor and home', () => {
  const { processors, workloads } = fleetOf();
  expect(processors.map((spec) => spec.id)).toEqual([id(101), id(102)]);
  expect(processors[0]).toMatchObject({ workload: workloads[0]?.digest, namespace: 'default', home: { kind: 'edge', nodeId: nodeA }, sensor: { id: sensor, type: 'camera' } });
});

test("a spec's digest is that of its fields without its home", () => {
  for (const { digest, home, ...fields } of fleetOf({ processors: [processor(1), processor(2, { sensorId: null })] }).processors) {
    expect(home.kind).toBe('edge');
    expect(digest).toBe(digestOf(fields));
  }
});

test('the order of rows is not visible', () => {
  const all = tables({ switches: [{ hash: '', nodeId: nodeB, templateId: template, failoverEnabled: true }, { hash: '', nodeId: nodeA, templateId: template, failoverEnabled: false }] });
  const reversed = Object.fromEntries(Object.entries(all).map(([name, rows]) => [name, [...(rows as unknown[])].reverse()])) as unknown as Tables;
  expect(JSON.stringify(fleetOf(reversed))).toBe(JSON.stringify(fleetOf(all)));
});

describe('home', () => {
  test.each([
    [{ nodeType: 'managed', nodeId: nodeA }, 'managed'],
    [{ nodeType: 'managed', nodeId: null }, 'managed'],
    [{ nodeType: null, nodeId: null }, 'managed'],
    [{ nodeType: 'application', nodeId: null }, 'managed'],
    [{ nodeType: 'edge', nodeId: nodeA }, nodeA],
  ])('%j is %s', (row, home) => {
    const [spec] = fleetOf({ processors: [processor(1, row)] }).processors;
    expect(spec?.home.kind === 'edge' ? spec.home.nodeId : spec?.home.kind).toBe(home);
  });

  test.each([
    [{ nodeType: 'edge', nodeId: null }, 'missing-node processors.node_id'],
    [{ nodeType: 'edge', nodeId: id(99) }, 'missing-node processors.node_id'],
    [{ nodeType: 'application', nodeId: nodeA }, 'invalid-value processors.node_type'],
  ])('%j is none', (row, problem) => {
    expect(problemsOf(row)).toEqual([problem]);
  });
});

test.each([
  [{ templateId: id(99) }, 'missing-template processors.processor_template_id'],
  [{ templateId: null }, 'missing-template processors.processor_template_id'],
  [{ sensorId: id(99) }, 'missing-sensor processors.sensor_id'],
  [{ namespace: 'Not_A_Label' }, 'invalid-name processors.k8s_namespace'],
])('%j is quarantined', (row, problem) => {
  expect(problemsOf(row)).toEqual([problem]);
});

test('what is wrong with template, sensor, node and row is told at once, by field', () => {
  const fields: Partial<Tables> = {
    versions: [],
    sensors: [{ hash: 's', id: sensor, type: 'camera', connectionConfig: '{' }],
    nodes: [node(nodeA, 'Bad Name')],
  };
  expect(problemsOf({ namespace: '-' }, fields)).toEqual([
    'invalid-name edge_nodes.name', 'missing-version processor_template_versions.is_active', 'invalid-name processors.k8s_namespace', 'invalid-json sensors.connection_config',
  ]);
});

test('one bad row leaves the others alone', () => {
  const { processors, quarantined } = fleetOf({ processors: [processor(1), processor(2, { namespace: '-' }), processor(3)] });
  expect([processors.length, quarantined.map((each) => each.id)]).toEqual([2, [id(102)]]);
});

describe('a node name', () => {
  test('that two nodes in service share is an error of the processors there', () => {
    const nodes = [node(nodeA, 'edge', { organizationId: id(50) }), node(nodeB, 'edge', { organizationId: id(51) })];
    expect(problemsOf({}, { nodes })).toEqual(['ambiguous-node edge_nodes.name']);
    expect(problemsOf({ nodeType: 'managed', nodeId: null }, { nodes })).toEqual([]);
  });

  test('that a decommissioned node had may be used again', () => {
    expect(problemsOf({}, { nodes: [node(nodeA, 'edge'), node(nodeB, 'edge', { decommissioned: true })] })).toEqual([]);
  });

  test('that selects no single node is no failover target', () => {
    const targets = (name: string) => fleetOf({ nodes: [node(nodeA, 'edge-a', { failoverTarget: nodeB }), node(nodeB, name)] }).nodes[0]?.failoverTarget;
    expect([targets('edge-b'), targets('Bad'), targets('edge-a')]).toEqual([nodeB, null, null]);
  });
});

test('a switch that is off wins over another row for the same pair', () => {
  const row = (failoverEnabled: boolean) => ({ hash: '', nodeId: nodeA, templateId: template, failoverEnabled });
  expect(fleetOf({ switches: [row(false), row(true)] }).switches).toEqual([{ nodeId: nodeA, templateId: template, failoverEnabled: false }]);
});

describe('the version of its credentials', () => {
  const parsed = parseTables(tables());
  const versionsOf = (versions: ReadonlyMap<string, number>, before: Assembly | null = null) => assemble(parsed, 'default', before, versions);
  const specs = (assembly: Assembly) => toFleet(parsed, assembly, new Map()).processors;
  const never = versionsOf(new Map());

  test('is in the spec, and in its digest, as soon as they were replaced', () => {
    const [spec] = specs(versionsOf(new Map([[`dory-env-${template}`, 2], [`dory-sensor-${sensor}`, 3]]), never));
    expect(spec).toMatchObject({ secretVersions: 'env=2,sensor=3' });
    const { digest, home, ...fields } = spec!;
    expect(home.kind).toBe('edge');
    expect(digest).toBe(digestOf(fields));
    expect(digest).not.toBe(specs(never)[0]?.digest);
  });

  test('is absent while they never were, or where it has none of them', () => {
    expect(specs(never)[0]).not.toHaveProperty('secretVersions');
    expect(specs(versionsOf(new Map([[`dory-sensor-${id(21)}`, 3]]), never))[0]).toBe(specs(never)[0]);
    const plain = parseTables(tables({ sensors: [{ hash: 'plain', id: sensor, type: 'camera', connectionConfig: '{}' }] }));
    const [spec] = toFleet(plain, assemble(plain, 'default', null, new Map([[`dory-sensor-${sensor}`, 3]])), new Map()).processors;
    expect(spec).not.toHaveProperty('secretVersions');
  });
});

describe('the last good spec', () => {
  const good = parseTables(tables());
  const goodFleet = toFleet(good, assemble(good, 'default', null), new Map());
  const [spec] = goodFleet.processors;
  const [workload] = goodFleet.workloads;

  test('of a quarantined processor is kept with its workload', () => {
    const parsed = parseTables(tables({ versions: [] }));
    const assembly = assemble(parsed, 'default', null);
    expect(quarantinedIds(assembly)).toHaveLength(2);
    const fleet = toFleet(parsed, assembly, new Map([[spec!.id, { spec: spec!, workload: workload! }]]));
    expect(fleet.quarantined.map(({ lastGood }) => lastGood)).toEqual([spec, null]);
    expect(fleet.workloads).toEqual([workload]);
  });
});

describe('a second look', () => {
  const first = parseTables(tables());
  const before = assemble(first, 'default', null);
  const specAfter = (fields: Partial<Tables>, n = 1) => {
    const result = assemble(parseTables(fields, first), 'default', before).get(id(100 + n) as never)?.result;
    return result?.ok === true ? result.spec : result?.problems;
  };
  const spec = specAfter({});

  test('keeps the objects of what did not change', () => {
    const all = tables({ processors: [processor(1), processor(2, { hash: 'new', namespace: 'other' })] });
    expect(specAfter(all)).toBe(spec);
    expect(specAfter(all, 2)).toMatchObject({ namespace: 'other' });
  });

  test.each<[string, Partial<Tables>]>([
    ['its version', { templates: tables().templates, versions: [{ ...tables().versions[0]!, hash: 'new', imageUri: 'a/b:2' }] }],
    ['its slug', { templates: [{ ...tables().templates[0]!, hash: 'new', slug: 'other' }], versions: tables().versions }],
    ['its sensor', { sensors: [{ ...tables().sensors[0]!, hash: 'new', type: 'other' }] }],
    ["its node's name, to a bad one", { nodes: [node(nodeA, 'Bad')] }],
    ['its row', { processors: [processor(1, { hash: 'new', namespace: 'other' })] }],
  ])('notices a change of %s', (_, fields) => {
    expect(specAfter(fields)).not.toEqual(spec);
  });
});

test("the fleet's digest changes with every part of it", () => {
  const changes: Partial<Tables>[] = [
    {},
    { processors: [processor(1)] },
    { processors: [processor(2), processor(1, { nodeId: nodeB })] },
    { processors: [processor(2), processor(1, { namespace: 'other' })] },
    { processors: [processor(2), processor(1, { namespace: '-' })] },
    { versions: [{ ...tables().versions[0]!, version: '2' }] },
    { nodes: [node(nodeB, 'edge-b'), node(nodeA, 'edge-a')] },
    { nodes: [node(nodeB, 'edge-b', { decommissioned: true }), node(nodeA, 'edge-a', { failoverTarget: nodeB })] },
    { switches: [{ hash: '', nodeId: nodeA, templateId: template, failoverEnabled: true }] },
  ];
  expect(new Set(changes.map((fields) => fleetOf(fields).digest)).size).toBe(changes.length);
});

test("a rotated credential is in no digest", () => {
  const rotated = fleetOf({ sensors: [{ ...tables().sensors[0]!, connectionConfig: '{"password":"y","list":["a"],"n":{"b":1,"a":2}}' }] });
  expect(rotated.digest).toBe(fleetOf().digest);
});

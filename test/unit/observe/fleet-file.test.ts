import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Failure } from '../../../src/model/failure.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { instant } from '../../../src/model/time.ts';
import { fleetFileRows, insertStatements } from '../../../src/observe/fleet-file-rows.ts';
import { fleetJsonSchema } from '../../../src/observe/fleet-file-schema.ts';
import { parseFleetFile } from '../../../src/observe/fleet-file.ts';
import { testPolicy } from '../../support/policy.ts';

const config = new URL('../../../config/', import.meta.url);
const example = await readFile(new URL('fleet.example.yaml', config), 'utf8');
const policy = testPolicy;
const read = (text: string): Snapshot => parseFleetFile(text, { policy, defaultNamespace: 'default' });

const small = `
now: 2026-01-01T00:00:00Z
templates: [{ slug: app, version: "1", image: a/b:1 }]
sensors: [{ name: cam, type: camera, connectionConfig: { fps: 5 } }]
nodes:
  - { name: edge-1, failoverTarget: edge-2 }
  - { name: edge-2 }
processors:
  - { name: p1, template: app, node: edge-1, sensor: cam }
`;

/** The lines that complain. */
function errorsOf(text: string): readonly string[] {
  try {
    read(text);
  } catch (error) {
    expect(error).toMatchObject({ code: 'fleet-file-invalid' });
    return (error as Failure).message.split('\n').slice(1).map((line) => line.trim());
  }
  return [];
}

describe('the example', () => {
  const { fleet, nodes, placements, intake } = read(example);

  test('is a fleet worth looking at', () => {
    expect(fleet.quarantined).toEqual([]);
    expect(fleet.workloads).toHaveLength(4);
    expect(fleet.nodes.length).toBeGreaterThanOrEqual(6);
    expect(new Set(fleet.nodes.map(({ organizationId }) => organizationId)).size).toBeGreaterThanOrEqual(3);
    expect(fleet.processors.length).toBeGreaterThanOrEqual(24);
    expect(fleet.workloads.some(({ resources }) => resources.gpuLimit !== null)).toBe(true);
    expect(fleet.workloads.some(({ stateBackend }) => stateBackend === 'local' || stateBackend === 'pvc')).toBe(true);
    expect(fleet.nodes.some(({ failoverTarget }) => failoverTarget !== null)).toBe(true);
    expect(fleet.processors.some(({ home }) => home.kind === 'managed')).toBe(true);
  });

  test('is all well, and nothing is placed yet', () => {
    expect(nodes.every(({ heartbeat }) => heartbeat.known)).toBe(true);
    expect([placements, intake.covered]).toEqual([[], true]);
  });

  test('has credentials, all of which become references', () => {
    expect(example.match(/not-(?:a-)?real/g)?.length).toBeGreaterThan(10);
    expect(JSON.stringify(read(example))).not.toMatch(/not-(?:a-)?real/);
    expect(fleet.processors.flatMap(({ sensor }) => sensor?.env ?? []).filter((each) => 'secret' in each).length).toBeGreaterThan(10);
  });

  test('fits the published schema, which is what the code reads', async () => {
    const published = JSON.parse(await readFile(new URL('fleet.schema.json', config), 'utf8')) as unknown;
    expect(published).toEqual(fleetJsonSchema());
  });
});

test('the same text is the same snapshot, in any order of rows', () => {
  expect(read(small)).toEqual(read(small));
  const file = parse(example) as Record<string, unknown>;
  const reversed = Object.fromEntries(Object.entries(file).map(([key, value]) => [key, Array.isArray(value) ? [...(value as unknown[])].reverse() : value]));
  expect(JSON.stringify(read(JSON.stringify(reversed)))).toBe(JSON.stringify(read(example)));
});

test('an empty file is an empty fleet', () => {
  expect(read('').fleet).toMatchObject({ processors: [], nodes: [], workloads: [] });
});

test('ages, verdicts and thresholds are read', () => {
  const snapshot = read(`
now: 2026-01-01T00:00:00Z
policy: { heartbeatStale: 2m, managedPool: { gpu: true } }
nodes:
  - { name: a, heartbeatAge: 1m30s, verdict: lost, verdictAge: 5m, architecture: arm64, gpu: true }
  - { name: b, heartbeatAge: never, decommissioned: true, failoverEnabled: false }
`);
  const at = Date.UTC(2026, 0, 1);
  expect(snapshot.at).toBe(at);
  expect(snapshot.policy).toEqual({ ...policy, heartbeatStale: 120_000, managedPool: { architectures: ['amd64'], gpu: true } });
  const signals = Object.fromEntries(snapshot.fleet.nodes.map(({ id, name }) => [name, snapshot.nodes.find(({ nodeId }) => nodeId === id)]));
  expect(signals['a']).toMatchObject({ heartbeat: { known: true, at: at - 90_000 }, recorded: { verdict: 'lost', since: at - 300_000 } });
  expect(signals['b']).toMatchObject({ heartbeat: { known: false, because: 'never-reported' }, recorded: null });
  expect(snapshot.fleet.nodes.find(({ name }) => name === 'a')).toMatchObject({ architecture: 'arm64', gpu: true, decommissioned: false });
  expect(snapshot.fleet.nodes.find(({ name }) => name === 'b')).toMatchObject({ decommissioned: true, failoverEnabled: false });
});

test('placements are read, and stop signals of those that stop', () => {
  const { placements, agents, fleet, at } = read(small.replace('sensor: cam }', 'sensor: cam, current: { target: edge-2, epoch: 4, phase: stopping, since: 30s, lastBeatAge: 5s } }'));
  expect(placements).toEqual([{
    processorId: fleet.processors[0]!.id, epoch: 4, target: { kind: 'edge', nodeId: fleet.nodes.find(({ name }) => name === 'edge-2')!.id, nodeName: 'edge-2' },
    phase: 'stopping', reason: 'first-placement', since: at - 30_000, specDigest: fleet.processors[0]!.digest, revision: 1,
  }]);
  expect(agents).toEqual([{ processorId: placements[0]!.processorId, epoch: 4, lastBeatAt: at - 5_000, leaseUntil: null, publishedAt: at - 30_000, acknowledgedAt: null, confirmed: null, pods: { known: false, because: 'not-configured' } }]);
});

test('a fleet that is placed runs at home', () => {
  const { placements, fleet } = read(`placed: true\n${example.replace(/^placed:.*$/m, '')}`);
  expect(placements).toHaveLength(fleet.processors.length);
  expect(placements.every(({ target, processorId }) => (target.kind === 'edge') === (fleet.processors.find(({ id }) => id === processorId)?.home.kind === 'edge'))).toBe(true);
});

test.each([
  ['resources: { cpu_request: 5OOm }', 'invalid-quantity'],
  ['env_vars: { A: 1 }', 'invalid-value'],
])('a row that would be quarantined in the database is quarantined: %s', (runtime, code) => {
  const { fleet } = read(small.replace('image: a/b:1', `image: a/b:1, runtimeConfig: { ${runtime} }`));
  expect(fleet.quarantined[0]?.problems.map((problem) => problem.code)).toEqual([code]);
});

describe('errors', () => {
  test.each([
    ['node: edge-1', 'node: edge-9', /^line 9, processors\[0\]\.node: /],
    ['sensor: cam }', 'sensor: cat }', /^line 9, processors\[0\]\.sensor: /],
    ['template: app', 'template: ap', /^line 9, processors\[0\]\.template: /],
    ['failoverTarget: edge-2', 'failoverTarget: edge-3', /^line 6, nodes\[0\]\.failoverTarget: /],
    ['name: edge-2', 'name: edge-1', /^line 7, nodes\[1\]\.name: /],
    ['name: p1, ', '', /^line 9, processors\[0\]: /],
    ['type: camera', 'typ: camera', /^line 4, sensors\[0\]/],
    ['version: "1"', 'version: 1.0', /^line 3, templates\[0\]\.version: must be text/],
    ['now: 2026-01-01T00:00:00Z', 'now: yesterday', /^line 2, now: must be a time/],
    ['processors:', 'processors: x\nold:', /^line 8, processors: must be a list/],
  ])('%s → %s', (from, to, expected) => {
    const errors = errorsOf(small.replace(from, to));
    expect(errors.some((error) => expected.test(error)), errors.join('\n')).toBe(true);
  });

  test('are told all at once', () => {
    expect(errorsOf(small.replace('edge-1, sensor: cam', 'edge-9, sensor: cat').replace('Target: edge-2', 'Target: edge-3'))).toHaveLength(3);
  });

  test('of two nodes with one name ask for the organisation', () => {
    const twins = small.replace('{ name: edge-1,', '{ name: edge-1, organization: x,').replace('{ name: edge-2 }', '{ name: edge-2 }\n  - { name: edge-1, organization: y }');
    expect(errorsOf(twins)).toHaveLength(1);
    expect(errorsOf(twins.replace('node: edge-1', 'node: x/edge-1'))).toEqual([]);
  });

  test('never quote the file, which may hold credentials', () => {
    for (const text of ['a: "hunter2', 'a: {hunter2', '- hunter2: [', 'a: hunter2\n b: hunter2\n', 'nodes: hunter2', '*hunter2']) {
      const errors = errorsOf(text);
      expect(errors.length).toBeGreaterThan(0);
      expect(errors.join('\n')).not.toContain('hunter2');
    }
  });
});

describe('rows for a real database', () => {
  test('are there for all seven tables, parents first', () => {
    const statements = insertStatements(fleetFileRows(example, null)).map(({ text }) => /^insert into (\w+)/.exec(text)?.[1]);
    expect(statements).toEqual(['processor_templates', 'processor_template_versions', 'sensors', 'edge_nodes', 'processors', 'edge_node_apps', 'edge_node_events']);
  });

  test('have heartbeats only against a given moment', () => {
    expect(fleetFileRows(example, null).edge_nodes.every((row) => row['last_heartbeat_at'] === null)).toBe(true);
    expect(fleetFileRows(example, instant(0)).edge_nodes[0]?.['last_heartbeat_at']).toBe('1970-01-01T00:00:00.000Z');
  });
});

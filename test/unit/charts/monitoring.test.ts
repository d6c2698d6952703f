import { parser } from '@prometheus-io/lezer-promql';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { defaultSystemProps, systemFiles, systemProps } from '../../../charts-ts/system/index.ts';
import { alertRules } from '../../../charts-ts/system/monitoring/alerts.ts';
import { dashboard, rows } from '../../../charts-ts/system/monitoring/dashboard.ts';
import { createMetrics } from '../../../src/platform/metrics.ts';
import { at, find, objectsOf } from './objects.ts';

const { shared } = defaultSystemProps;
const rules = alertRules.flatMap((group) => group.rules);
const panels = rows.flatMap((row) => row.panels);
/** Grafana puts an interval where Prometheus has none. */
const asPrometheus = (expr: string): string => expr.replaceAll('$__rate_interval', '5m');
const expressions = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...panels.flatMap(({ title, queries }) => queries.map(([expr]) => [title, asPrometheus(expr)] as const)),
];

interface Found {
  readonly metrics: readonly string[];
  /** Labels that are matched, or grouped by. */
  readonly labels: readonly string[];
  readonly errors: number;
}

function read(expr: string): Found {
  const found = { metrics: [] as string[], labels: [] as string[], errors: 0 };
  parser.parse(expr).iterate({
    enter: ({ name, type, from, to }) => {
      if (type.isError) found.errors += 1;
      if (name === 'Identifier') found.metrics.push(expr.slice(from, to));
      if (name === 'LabelName') found.labels.push(expr.slice(from, to));
    },
  });
  return found;
}

interface Registered {
  readonly name: string;
  readonly labelNames: readonly string[];
}

/** A metric by the name that an expression gives it: histograms have three. */
function registered(): ReadonlyMap<string, readonly string[]> {
  const metrics = createMetrics().registry.getMetricsAsArray() as unknown as readonly Registered[];
  return new Map(metrics.flatMap(({ name, labelNames }) => [[name, labelNames], [`${name}_bucket`, [...labelNames, 'le']], [`${name}_sum`, labelNames], [`${name}_count`, labelNames]] as const));
}

describe.each(expressions)('%s: %s', (_, expr) => {
  const { metrics, labels, errors } = read(expr);

  test('is PromQL', () => {
    expect(errors).toBe(0);
  });

  test('asks for metrics that this program has, and for labels that they have', () => {
    const known = registered();
    expect(metrics.length).toBeGreaterThan(0);
    expect(metrics.filter((name) => !known.has(name))).toEqual([]);
    const theirs = new Set([...metrics.flatMap((name) => known.get(name) ?? []), 'instance', 'job']);
    expect(labels.filter((label) => !theirs.has(label))).toEqual([]);
  });
});

test('an expression that is none, and a metric or a label that is not there, would be found', () => {
  expect(read('sum by (here) (dory_leader{there="x"})').labels).toEqual(['here', 'there']);
  expect(read('sum(dory_leader').errors).toBeGreaterThan(0);
  expect(read('rate(dory_moved_total[5m])').metrics).toEqual(['dory_moved_total']);
  expect(registered().has('dory_moved_total')).toBe(false);
});

describe('alerts', () => {
  test('have a name of their own, a severity, and say what to do', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { annotations, labels, for: hold } of rules) {
      expect(annotations.summary.length).toBeGreaterThan(10);
      expect(annotations.description.length).toBeGreaterThan(20);
      expect(['critical', 'warning', 'info']).toContain(labels.severity);
      expect(hold).toMatch(/^\d+[smh]$/);
    }
  });

  test('cover what a person has to hear of', () => {
    expect(rules.map(({ alert }) => alert)).toEqual(expect.arrayContaining([
      'DoryNoLeader', 'DoryGuardPanic', 'DoryWaitsForPerson', 'DoryCommitsStuck', 'DoryIntakeNotCovered', 'DoryNodesLost', 'DoryUnfencedMoves',
      'DoryQuarantinedRows', 'DoryCircuitBreakerOpen', 'DoryHeartbeatsSlow', 'DoryDatabaseBehind',
    ]));
  });
});

describe('manifests', () => {
  const objects = (section: object) => objectsOf(systemFiles(systemProps({ monitoring: section }, shared), []));

  test('have the dashboard as Grafana reads it, with no two panels in one place', () => {
    const map = find(objects({}), 'ConfigMap', 'dory-dashboard');
    expect(map.metadata.labels).toMatchObject({ grafana_dashboard: '1' });
    expect(at(map, 'data')).toEqual({ 'dory.json': dashboard() });
    const { panels: placed } = JSON.parse(dashboard()) as { panels: { id: number; gridPos: { x: number; y: number; w: number; h: number } }[] };
    expect(new Set(placed.map(({ id }) => id)).size).toBe(placed.length);
    const cells = placed.flatMap(({ gridPos: { x, y, w, h } }) => Array.from({ length: w * h }, (_, i) => `${String(x + (i % w))},${String(y + Math.floor(i / w))}`));
    expect(new Set(cells).size).toBe(cells.length);
    expect(placed.every(({ gridPos: { x, w } }) => x + w <= 24)).toBe(true);
  });

  test('have the rules as a file, as an object of the operator, or not at all', () => {
    expect(parse(String(Object.values(at(find(objects({}), 'ConfigMap', 'dory-alert-rules'), 'data') as object)[0]))).toEqual({ groups: alertRules });
    const operator = objects({ rules: 'prometheusRule', ruleLabels: { release: 'prometheus' } });
    expect(at(find(operator, 'PrometheusRule', 'dory'), 'spec')).toEqual({ groups: alertRules });
    expect(find(operator, 'PrometheusRule', 'dory').metadata.labels).toMatchObject({ release: 'prometheus' });
    expect(operator.some(({ metadata: { name } }) => name === 'dory-alert-rules')).toBe(false);
    expect(systemFiles(systemProps({ monitoring: { dashboard: false, rules: 'none' } }, shared), []).has('monitoring.yaml')).toBe(false);
  });
});

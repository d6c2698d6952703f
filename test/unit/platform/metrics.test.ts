import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/platform/metrics.ts';

/** The interface of the running system: name, type, labels. */
const interfaceNames = {
  dory_applications_total: 'gauge',
  'dory_database_query_duration_seconds{query_type}': 'histogram',
  dory_database_connections_active: 'gauge',
  'dory_database_errors_total{error_type}': 'counter',
  'dory_circuit_breaker_state{component}': 'gauge',
  'dory_circuit_breaker_transitions_total{component,from_state,to_state}': 'counter',
  dory_reconciliation_queue_depth: 'gauge',
  'dory_reconciliation_errors_total{error_type}': 'counter',
  'dory_pod_creation_errors_total{reason}': 'counter',
  dory_config_watcher_healthy: 'gauge',
  dory_config_watcher_errors_total: 'counter',
  'dory_config_changes_total{change_type}': 'counter',
  'dory_node_utilization_ratio{node}': 'gauge',
  'dory_shutdown_duration_seconds{component}': 'histogram',
  dory_startup_duration_seconds: 'histogram',
  'dory_component_healthy{component}': 'gauge',
  'dory_pods_total{status}': 'gauge',
  dory_nodes_total: 'gauge',
  dory_scheduling_decisions_total: 'counter',
};

const own = [
  'dory_heartbeats_total{result}', 'dory_heartbeat_batch_size', 'dory_heartbeat_write_seconds', 'dory_edge_nodes{verdict}', 'dory_quarantined_processors',
  'dory_held_processors{reason}', 'dory_moves_total{reason}', 'dory_cycle_seconds{stage}', 'dory_commit_seconds', 'dory_pending_revisions', 'dory_leader',
  'dory_waiting_for_person', 'dory_unfenced_moves_total', 'dory_detection_commit_seconds', 'dory_guard_state{state}', 'dory_change_budget_spent',
  'dory_maintenance_locks{scope}', 'dory_paused', 'dory_heartbeat_lag_seconds', 'dory_heartbeat_intake_covered', 'dory_leader_lease_age_seconds', 'dory_database_behind',
  'dory_argocd_applications{sync,health}', 'dory_argocd_sync_failures_total', 'dory_argocd_notifications_total{result}', 'dory_argocd_sync_seconds',
  'dory_apply_objects_total{outcome}', 'dory_apply_requests_total', 'dory_apply_seconds', 'dory_apply_problems{reason}', 'dory_apply_in_sync', 'dory_applied_revision', 'dory_drift_total{action}',
  'dory_secret_writes_total{outcome}', 'dory_secret_problems{reason}',
  'dory_leftover_pods{state}', 'dory_leftover_pods_removed_total{how}', 'dory_adoptions_open', 'dory_adoptions_total',
  'dory_commit_live_seconds', 'dory_rollouts{state}', 'dory_failed_rollouts{reason}',
];

/** prom-client keeps labels and type where its types do not show them. */
interface Inner {
  readonly name: string;
  readonly labelNames: readonly string[];
}

test('the names, types and labels of the running system, and ours, are all there and no others', async () => {
  const { registry } = createMetrics();
  const types = new Map((await registry.getMetricsAsJSON()).map(({ name, type }) => [name, String(type)]));
  const registered = registry.getMetricsAsArray().map((metric) => {
    const { name, labelNames } = metric as unknown as Inner;
    return [labelNames.length === 0 ? name : `${name}{${labelNames.join(',')}}`, types.get(name)] as const;
  });
  expect(registered.map(([name]) => name).sort()).toEqual([...Object.keys(interfaceNames), ...own].sort());
  expect(Object.fromEntries(registered.filter(([name]) => name in interfaceNames))).toEqual(interfaceNames);
});

test('two sets of metrics count apart; the runtime\'s own come only when asked for', async () => {
  const [one, two] = [createMetrics(), createMetrics({ runtime: true })];
  one.heartbeats.inc({ result: 'current' });
  expect(await one.registry.metrics()).toContain('dory_heartbeats_total{result="current"} 1');
  expect(await two.registry.metrics()).not.toContain('dory_heartbeats_total{');
  expect(await one.registry.metrics()).not.toContain('process_cpu');
  expect(await two.registry.metrics()).toContain('process_cpu');
});

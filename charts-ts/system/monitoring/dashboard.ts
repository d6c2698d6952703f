/** Grafana's model of a dashboard, as far as it is used here: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/ */
interface Panel {
  readonly title: string;
  readonly description: string;
  readonly unit: 'short' | 's' | 'ops' | 'bool';
  readonly kind: 'stat' | 'timeseries';
  /** PromQL, and the legend of its series. */
  readonly queries: readonly (readonly [expr: string, legend: string])[];
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

const stat = (title: string, description: string, expr: string, legend = ''): Panel => ({ title, description, unit: 'short', kind: 'stat', queries: [[expr, legend]] });
const graph = (title: string, description: string, unit: Panel['unit'], ...queries: Panel['queries']): Panel => ({ title, description, unit, kind: 'timeseries', queries });
const quantiles = (histogram: string, by = ''): Panel['queries'] =>
  [0.5, 0.99].map((q) => [
    `histogram_quantile(${String(q)}, sum by (${by === '' ? 'le' : `le, ${by}`}) (rate(${histogram}_bucket[$__rate_interval])))`,
    `p${String(q * 100)}${by === '' ? '' : ` {{${by}}}`}`,
  ]);

/** An instance that does not lead shows 0 for what only a leader knows: `max` over all instances is the leader's word. */
export const rows: readonly Row[] = [
  {
    title: 'Fleet',
    panels: [
      stat('Leaders', 'One, or nothing is decided.', 'sum(dory_leader)'),
      stat('Fleet guard', 'calm, site-out, degraded or panic.', 'max by (state) (dory_guard_state) > 0', '{{state}}'),
      stat('Waiting for a person', 'Holds and refusals that time alone does not resolve: dory status.', 'max(dory_waiting_for_person)'),
      stat('In quarantine', "Rows that can't be rendered.", 'max(dory_quarantined_processors)'),
      stat('Paused', 'A person paused automation.', 'max(dory_paused)'),
      stat('Maintenance locks', 'By what they lock.', 'max by (scope) (dory_maintenance_locks)', '{{scope}}'),
      graph('Edge nodes', 'By verdict.', 'short', ['max by (verdict) (dory_edge_nodes)', '{{verdict}}'], ['max(dory_nodes_total)', 'in service']),
      graph('Processors', 'By the status in their rows.', 'short', ['max by (status) (dory_pods_total)', '{{status}}'], ['max(dory_applications_total)', 'desired']),
      graph('Held', 'What should happen, and does not, by reason.', 'short', ['max by (reason) (dory_held_processors)', '{{reason}}']),
    ],
  },
  {
    title: 'Failover',
    panels: [
      graph('Moves', 'Processors that were moved, by reason.', 'short', ['sum by (reason) (increase(dory_moves_total[$__rate_interval]))', '{{reason}}'], ['sum(increase(dory_unfenced_moves_total[$__rate_interval]))', 'unfenced']),
      graph('Changes', 'Of placements, by kind.', 'short', ['sum by (change_type) (increase(dory_config_changes_total[$__rate_interval]))', '{{change_type}}'], ['max(dory_change_budget_spent)', 'spent of the budget']),
      graph('Detection to commit', 'From a signal that crossed its threshold to the commit that answers it.', 's', ...quantiles('dory_detection_commit_seconds')),
      graph('Decision to commit', 'From the decision until the remote has it.', 's', ...quantiles('dory_commit_seconds')),
      graph('Not on the remote yet', 'Revisions, and changes that wait to be published.', 'short', ['max(dory_pending_revisions)', 'revisions'], ['max(dory_reconciliation_queue_depth)', 'changes']),
    ],
  },
  {
    title: 'Roll-outs',
    panels: [
      graph('Placements', 'By what the cluster shows of their last change.', 'short', ['max by (state) (dory_rollouts)', '{{state}}']),
      graph('Failed', 'Placements that the cluster does not run, by reason: dory status has its words.', 'short', ['max by (reason) (dory_failed_rollouts)', '{{reason}}'], ['sum by (reason) (increase(dory_pod_creation_errors_total[$__rate_interval]))', 'new: {{reason}}']),
      graph('Commit to live', 'From a commit to the moment at which the cluster showed all of it.', 's', ...quantiles('dory_commit_live_seconds')),
      graph('Edge nodes', 'Share of CPU or memory that our pods request, of the ten fullest.', 'short', ['topk(10, max by (node) (dory_node_utilization_ratio))', '{{node}}']),
    ],
  },
  {
    title: 'Apply',
    panels: [
      graph('Objects', 'How applies ended, with --apply=ssa.', 'short', ['sum by (outcome) (increase(dory_apply_objects_total[$__rate_interval]))', '{{outcome}}']),
      graph('Not as committed', 'dory status names each, and what mends it.', 'short', ['max by (reason) (dory_apply_problems)', '{{reason}}'], ['max by (reason) (dory_secret_problems)', 'Secrets: {{reason}}']),
      graph('Drift', 'Changes of our fields by others, by what was done about them.', 'short', ['sum by (action) (increase(dory_drift_total[$__rate_interval]))', '{{action}}']),
      graph('Argo CD', 'Its Applications, by what its controller says.', 'short', ['max by (sync, health) (dory_argocd_applications)', '{{sync}}, {{health}}'], ['sum by (result) (increase(dory_argocd_notifications_total[$__rate_interval]))', 'pushes: {{result}}']),
    ],
  },
  {
    title: 'Heartbeats',
    panels: [
      graph('Heartbeats', 'By where they came from.', 'ops', ['sum by (result) (rate(dory_heartbeats_total[$__rate_interval]))', '{{result}}']),
      graph('Storing a group', 'One statement for all heartbeats that came while the last one was stored.', 's', ...quantiles('dory_heartbeat_write_seconds')),
      graph('Group size', 'Heartbeats in one statement.', 'short', ...quantiles('dory_heartbeat_batch_size')),
      graph('Oldest heartbeat of a healthy node', 'Rises for all where heartbeats do not arrive.', 's', ['max(dory_heartbeat_lag_seconds)', 'lag']),
      graph('Intake', '1 while heartbeats are stored, so that silence is evidence.', 'bool', ['max(dory_heartbeat_intake_covered)', 'covered']),
    ],
  },
  {
    title: 'Instances',
    panels: [
      graph('Leader', 'Which instance leads.', 'bool', ['dory_leader', '{{instance}}']),
      graph('Lease', 'Since it was renewed: every 2 s; at 6 s the leader steps down, at 10 s another may take over.', 's', ['dory_leader_lease_age_seconds', '{{instance}}']),
      graph('Cycle', 'The 99th percentile of each stage.', 's', ...quantiles('dory_cycle_seconds', 'stage').slice(1)),
      graph('Failures', 'Of cycles and of the database, a second.', 'ops', ['sum by (error_type) (rate(dory_reconciliation_errors_total[$__rate_interval]))', 'cycle: {{error_type}}'], ['sum by (error_type) (rate(dory_database_errors_total[$__rate_interval]))', 'database: {{error_type}}']),
      graph('Circuit breakers', '0 closed, 1 open, 2 half-open.', 'short', ['dory_circuit_breaker_state', '{{instance}} {{component}}']),
      graph('Components', '1 while they work.', 'bool', ['dory_component_healthy', '{{instance}} {{component}}'], ['dory_config_watcher_healthy', '{{instance}} notifications']),
    ],
  },
];

/** The grid is 24 wide: stats are small, graphs three in a row. */
const sizes = { stat: { w: 4, h: 4 }, timeseries: { w: 8, h: 8 } } as const;

/** Grafana's JSON; the data source is chosen in the dashboard. */
export function dashboard(): string {
  const panels: object[] = [];
  let y = 0;
  for (const row of rows) {
    panels.push({ id: panels.length + 1, type: 'row', title: row.title, collapsed: false, gridPos: { x: 0, y, w: 24, h: 1 }, panels: [] });
    y += 1;
    for (const kind of ['stat', 'timeseries'] as const) {
      const own = row.panels.filter((panel) => panel.kind === kind);
      const { w, h } = sizes[kind];
      const across = 24 / w;
      own.forEach((panel, i) => panels.push(panelJson(panel, panels.length + 1, { x: (i % across) * w, y: y + Math.floor(i / across) * h, w, h })));
      y += Math.ceil(own.length / across) * h;
    }
  }
  return `${JSON.stringify({
    uid: 'dory', title: 'Dory', description: 'Stateful edge workloads: nodes, failovers, heartbeats, instances.', tags: ['dory'], editable: true, schemaVersion: 39,
    refresh: '30s', time: { from: 'now-6h', to: 'now' },
    templating: { list: [{ name: 'datasource', label: 'Data source', type: 'datasource', query: 'prometheus' }] },
    panels,
  }, null, 2)}\n`;
}

function panelJson({ title, description, unit, kind, queries }: Panel, id: number, gridPos: object): object {
  const datasource = { type: 'prometheus', uid: '${datasource}' };
  const options = kind === 'stat' ? { reduceOptions: { calcs: ['lastNotNull'] }, textMode: 'value_and_name' } : { legend: { displayMode: 'list', placement: 'bottom' } };
  return {
    id, type: kind, title, description, gridPos, datasource, options,
    fieldConfig: { defaults: { unit, ...(kind === 'timeseries' ? { min: 0 } : {}) }, overrides: [] },
    targets: queries.map(([expr, legendFormat], i) => ({ refId: String.fromCharCode(65 + i), expr, legendFormat, datasource })),
  };
}

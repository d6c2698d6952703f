/** One rule of Prometheus' own format. */
interface AlertRule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: 'critical' | 'warning' | 'info' };
  readonly annotations: { readonly summary: string; readonly description: string };
}

export interface RuleGroup {
  readonly name: string;
  readonly rules: readonly AlertRule[];
}

const alert = (name: string, severity: AlertRule['labels']['severity'], hold: string, expr: string, [summary, description]: readonly [string, string]): AlertRule => ({
  alert: name, expr, for: hold, labels: { severity }, annotations: { summary, description },
});

/**
 * What a person should hear of. An instance that does not lead shows 0 for what only a leader knows, so `max` over all
 * instances is the leader's word.
 */
export const alertRules: readonly RuleGroup[] = [
  {
    name: 'dory.leadership',
    rules: [
      alert('DoryNoLeader', 'critical', '1m', '(sum(dory_leader) or vector(0)) < 1', [
        'No instance of Dory leads',
        'Nothing is decided: no failover, no release. A takeover takes 12 s at most. See whether instances run and reach the database: dory leader, dory status.',
      ]),
      alert('DoryManyLeaders', 'critical', '1m', 'sum(dory_leader) > 1', [
        'More than one instance of Dory says that it leads',
        'Decisions assert the lease in their transaction, so no two decide; but one of them does not notice that it lost it. Restart the one whose lease is older: dory leader.',
      ]),
      alert('DoryCycleFails', 'warning', '10m', 'sum by (error_type) (rate(dory_reconciliation_errors_total[5m])) > 0.02', [
        'Cycles of Dory fail: {{ $labels.error_type }}',
        'The log says why, and what mends it.',
      ]),
      alert('DoryCircuitBreakerOpen', 'critical', '1m', 'max by (instance, component) (dory_circuit_breaker_state) == 1', [
        '{{ $labels.component }} is given up for now by {{ $labels.instance }}',
        'Requests fail at once until a probe succeeds. Look at the database.',
      ]),
      alert('DoryDatabaseBehind', 'critical', '0m', 'max(dory_database_behind) > 0', [
        'Git shows decisions that the database does not know',
        'The database was restored from a backup, and automation has stopped. dory repair epochs --dry-run shows what would be brought up to date.',
      ]),
    ],
  },
  {
    name: 'dory.fleet',
    rules: [
      alert('DoryGuardPanic', 'critical', '0m', 'max(dory_guard_state{state="panic"}) > 0', [
        'The fleet guard froze failovers',
        'So many nodes failed at once that the fault may be ours. dory status says what it saw; dory approve guard lets the listed moves go.',
      ]),
      alert('DoryGuardDegraded', 'warning', '5m', 'max(dory_guard_state{state="degraded"}) > 0', [
        'The fleet is degraded, and failovers go slowly',
        'More nodes failed within minutes than is usual: dory nodes --verdict lost.',
      ]),
      alert('DoryNodesLost', 'warning', '1m', 'sum(max by (verdict) (dory_edge_nodes{verdict=~"lost|silent|detached"})) > 0', [
        '{{ $value }} edge nodes are lost, silent or detached',
        'Their processors move as policy says: dory nodes, dory explain NODE.',
      ]),
      alert('DoryWaitsForPerson', 'warning', '10m', 'max(dory_waiting_for_person) > 0', [
        '{{ $value }} things wait for a person',
        'Something should happen and does not, until somebody acts: dory status names each with its command.',
      ]),
      alert('DoryUnfencedMoves', 'info', '0m', 'sum(increase(dory_unfenced_moves_total[15m])) > 0', [
        'Processors were moved off a dead node without proof that their old pods stopped',
        'This is the default for agents that do not honour leases. Where that is not good enough: dory policy set template/SLUG --unfenced hold.',
      ]),
      alert('DoryQuarantinedRows', 'warning', '10m', 'max(dory_quarantined_processors) > 0', [
        '{{ $value }} rows of processors can not be rendered',
        'Their manifests stay as they were: dory status says what is wrong, and how to mend it.',
      ]),
      alert('DoryPaused', 'warning', '1h', 'max(dory_paused) > 0', [
        'Automation has been paused for an hour',
        'Nothing fails over meanwhile. dory resume goes on.',
      ]),
    ],
  },
  {
    name: 'dory.git',
    rules: [
      alert('DoryCommitsStuck', 'critical', '2m', 'max(dory_pending_revisions) > 0', [
        'Decisions do not reach Git',
        'Commits wait for the remote: failovers are decided, and nothing runs elsewhere yet. Look at the Git host and its credentials; the log has the error.',
      ]),
      alert('DoryFailoverSlow', 'warning', '0m', 'histogram_quantile(0.99, sum by (le) (increase(dory_detection_commit_seconds_bucket[15m]))) > 10', [
        'It took {{ $value }} s from a failure that could be known to its commit',
        'Leases, guard and policy hold some moves back by intent; beyond that look at the cycle, the database and the Git host.',
      ]),
    ],
  },
  {
    name: 'dory.rollouts',
    rules: [
      alert('DoryImagePullFails', 'critical', '1m', 'max(dory_failed_rollouts{reason="image-pull"}) > 0', [
        'The image of {{ $value }} processors can not be pulled',
        'Nothing is deleted for it, and Kubernetes tries on; but where the pod was replaced already, nothing runs. dory status has the words of the registry: a tag that does not exist, or credentials that ran out.',
      ]),
      alert('DoryRolloutFails', 'warning', '2m', 'max by (reason) (dory_failed_rollouts{reason!~"image-pull|not-applied"}) > 0', [
        'The cluster does not run {{ $value }} processors as decided: {{ $labels.reason }}',
        'dory status names each with the words of the cluster.',
      ]),
      alert('DoryNotApplied', 'critical', '1m', 'max(dory_failed_rollouts{reason="not-applied"}) > 0', [
        'What was committed for {{ $value }} processors is not on the cluster',
        'Ten minutes after its commit the cluster does not show it. Look at what applies it: Argo CD or Flux, or the log of Dory with --apply=ssa.',
      ]),
    ],
  },
  {
    name: 'dory.cluster',
    rules: [
      alert('DoryNotAsCommitted', 'warning', '5m', 'max by (reason) (dory_apply_problems{reason!~"terminating|partial-knowledge|overtaken"}) > 0', [
        '{{ $value }} objects are not as committed: {{ $labels.reason }}',
        'With --apply=ssa, Dory could not bring them to what is in Git, or may not. dory status names each with the words of the cluster, and what mends it.',
      ]),
      alert('DoryDriftReturns', 'warning', '0m', 'sum(increase(dory_drift_total[15m])) > 20', [
        'Somebody changed what Dory applied {{ $value }} times within 15 minutes',
        'It is put back with growing pauses. Two tools that apply the same objects undo each other\'s work: dory events --kind drift says who.',
      ]),
      alert('DorySecretsWrong', 'warning', '5m', 'max by (reason) (dory_secret_problems) > 0', [
        '{{ $value }} Secrets are not as the database has them: {{ $labels.reason }}',
        'Pods start with other credentials, or not at all. dory secrets says which ones, and dory events --kind secret why.',
      ]),
      alert('DoryLeftoversOverdue', 'warning', '5m', 'max(dory_leftover_pods{state=~"overdue|failed"}) > 0', [
        '{{ $value }} pods that moves left behind do not go',
        'Their kubelet answers and does not end them, or the cluster refuses to delete them. dory events --kind leftover names each.',
      ]),
      alert('DoryArgocdNotTold', 'warning', '0m', 'sum by (result) (increase(dory_argocd_notifications_total{result=~"fell-back|given-up"}[15m])) > 0', [
        'Argo CD could not be told of a push as the settings say: {{ $labels.result }}',
        'fell-back: by annotation instead of the webhook. given-up: its own poll finds the commit minutes later. dory status has the reason.',
      ]),
      alert('DoryArgocdSyncFails', 'warning', '0m', 'sum(increase(dory_argocd_sync_failures_total[15m])) > 0', [
        'Argo CD could not sync what was committed',
        'It tries on. dory status has its own words for each Application.',
      ]),
    ],
  },
  {
    name: 'dory.heartbeats',
    rules: [
      alert('DoryIntakeNotCovered', 'critical', '2m', 'max(dory_leader) > 0 and max(dory_heartbeat_intake_covered) < 1', [
        'Heartbeats can not be stored',
        'While no receiver stores heartbeats, silence is no evidence, and no node counts as lost. Look at the instances and the database.',
      ]),
      alert('DoryHeartbeatsSlow', 'warning', '5m', 'histogram_quantile(0.99, sum by (le) (rate(dory_heartbeat_write_seconds_bucket[5m]))) > 1', [
        'Storing heartbeats takes {{ $value }} s',
        'Agents give up after 5 s. Look at the load and the disk of the database.',
      ]),
      alert('DoryHeartbeatsLate', 'warning', '2m', 'max(dory_heartbeat_lag_seconds) > 30', [
        'A node that counts as healthy was last heard {{ $value }} s ago',
        'Agents send every 5 s; at the threshold of a minute it is lost.',
      ]),
    ],
  },
];

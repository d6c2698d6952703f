import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/**
 * All metrics of one process. The names in the first part are an interface of the running system: dashboards and alerts
 * know them. Those in the second part are ours.
 */
export interface Metrics {
  readonly registry: Registry;

  /** Desired processors. */
  readonly applications: Gauge;
  readonly databaseQueryDuration: Histogram<'query_type'>;
  readonly databaseConnectionsActive: Gauge;
  readonly databaseErrors: Counter<'error_type'>;
  /** 0 closed, 1 open, 2 half-open: see `circuit-breaker.ts`. */
  readonly circuitBreakerState: Gauge<'component'>;
  readonly circuitBreakerTransitions: Counter<'component' | 'from_state' | 'to_state'>;
  /** Changes decided and not yet published. */
  readonly reconciliationQueueDepth: Gauge;
  readonly reconciliationErrors: Counter<'error_type'>;
  readonly podCreationErrors: Counter<'reason'>;
  /** 1 while the listener for the database's notifications is connected. */
  readonly configWatcherHealthy: Gauge;
  readonly configWatcherErrors: Counter;
  readonly configChanges: Counter<'change_type'>;
  readonly nodeUtilization: Gauge<'node'>;
  readonly shutdownDuration: Histogram<'component'>;
  readonly startupDuration: Histogram;
  readonly componentHealthy: Gauge<'component'>;
  readonly pods: Gauge<'status'>;
  readonly nodes: Gauge;
  readonly schedulingDecisions: Counter;

  /** By where they came from, as in `http/heartbeat.ts`, or `refused`. */
  readonly heartbeats: Counter<'result'>;
  readonly heartbeatBatchSize: Histogram;
  readonly heartbeatWriteSeconds: Histogram;
  readonly edgeNodes: Gauge<'verdict'>;
  readonly quarantinedProcessors: Gauge;
  readonly heldProcessors: Gauge<'reason'>;
  /** Holds that time alone does not resolve, and refusals. */
  readonly waitingForPerson: Gauge;
  readonly moves: Counter<'reason'>;
  /** Of those, the ones that nothing but silence speaks for. */
  readonly unfencedMoves: Counter;
  readonly cycleSeconds: Histogram<'stage'>;
  /** From the decision to the moment at which the remote has its commit. */
  readonly commitSeconds: Histogram;
  /** From the moment at which a signal crossed its threshold to the commit that answers it. */
  readonly detectionCommitSeconds: Histogram;
  readonly pendingRevisions: Gauge;
  /** From the commit of a revision to the moment at which the cluster showed all of it. */
  readonly liveSeconds: Histogram;
  /** Placements by what became of their last change: live, progressing, failed. */
  readonly rollouts: Gauge<'state'>;
  readonly failedRollouts: Gauge<'reason'>;
  /** 1 for the state that the guard is in, 0 for the others. */
  readonly guardState: Gauge<'state'>;
  /** Changes of the window that count against the budget. */
  readonly budgetSpent: Gauge;
  readonly locks: Gauge<'scope'>;
  readonly paused: Gauge;
  /** Age of the oldest last beat among healthy nodes. */
  readonly heartbeatLag: Gauge;
  /** 1 while heartbeats that are sent are stored, so that silence is evidence. */
  readonly intakeCovered: Gauge;
  /** 1 while Git shows decisions that the database does not know: automation has stopped. */
  readonly databaseBehind: Gauge;
  /** With `apply: ssa`: how objects ended, by the words of kubectl. */
  readonly applyObjects: Counter<'outcome'>;
  readonly applyRequests: Counter;
  readonly applySeconds: Histogram;
  /** Objects that are not as committed. */
  readonly applyProblems: Gauge<'reason'>;
  readonly applyInSync: Gauge;
  /** The newest revision of which everything is on the cluster. */
  readonly appliedRevision: Gauge;
  readonly drift: Counter<'action'>;
  /** By the words of kubectl. */
  readonly secretWrites: Counter<'outcome'>;
  /** Secrets that are not as the database has them. */
  readonly secretProblems: Gauge<'reason'>;
  /** Pods of ours that moves left behind, as the last look found them: what they wait for, `overdue`, `failed`. */
  readonly leftoverPods: Gauge<'state'>;
  /** `forced`: with grace 0, their kubelet being silent; `asked`: their kubelet ends them. */
  readonly leftoverPodsRemoved: Counter<'how'>;
  /** Processors that are between the system before this one and us. */
  readonly adoptionsOpen: Gauge;
  readonly adoptions: Counter;
  /** As Argo CD's controller shows them. */
  readonly argocdApplications: Gauge<'sync' | 'health'>;
  /** Of Applications, each commit once. */
  readonly argocdSyncFailures: Counter;
  /** `told`, `retried`, `given-up`. */
  readonly argocdNotifications: Counter<'result'>;
  /** From the push to the moment at which all Applications concerned have the commit. */
  readonly argocdSyncSeconds: Histogram;
  /** 1 while this instance leads. */
  readonly leader: Gauge;
  /** Since the lease was renewed; 0 where this instance does not lead. */
  readonly leaseAge: Gauge;
}

/** What only a leader's cycles tell: an instance that leads no more knows nothing of it. */
export function forgetFleet(metrics: Metrics): void {
  const { applications, nodes, pods, edgeNodes, quarantinedProcessors, heldProcessors, waitingForPerson, pendingRevisions, rollouts, failedRollouts, nodeUtilization } = metrics;
  const { reconciliationQueueDepth, guardState, budgetSpent, locks, paused, heartbeatLag, intakeCovered, leaseAge, databaseBehind, argocdApplications, applyProblems, applyInSync, appliedRevision, secretProblems, leftoverPods, adoptionsOpen } = metrics;
  for (const gauge of [
    applications, nodes, pods, edgeNodes, quarantinedProcessors, heldProcessors, waitingForPerson, pendingRevisions, rollouts, failedRollouts, nodeUtilization,
    reconciliationQueueDepth, guardState, budgetSpent, locks, paused, heartbeatLag, intakeCovered, leaseAge, databaseBehind, argocdApplications, applyProblems, applyInSync, appliedRevision, secretProblems, leftoverPods, adoptionsOpen,
  ]) gauge.reset();
}

/** From an idle cycle of a small fleet to a first commit of 50,000 processors. */
const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** From a pod on a node that has its image to the deadline of a roll-out. */
const rolloutSeconds = [0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800];
const batchSizes = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/** A registry of its own, so that two servers in one process do not share counts. `runtime` adds Node's and the process's. */
export function createMetrics(options: { readonly runtime?: boolean } = {}): Metrics {
  const registry = new Registry();
  if (options.runtime === true) collectDefaultMetrics({ register: registry });
  return { registry, ...systemMetrics(registry), ...ownMetrics(registry) };
}

function systemMetrics(registry: Registry) {
  const { gauge, counter, histogram } = builders(registry);
  return {
    applications: gauge('dory_applications_total', 'Processors that should run'),
    databaseQueryDuration: histogram('dory_database_query_duration_seconds', 'Duration of database queries', seconds, 'query_type'),
    databaseConnectionsActive: gauge('dory_database_connections_active', 'Open database connections'),
    databaseErrors: counter('dory_database_errors_total', 'Failed database queries', 'error_type'),
    circuitBreakerState: gauge('dory_circuit_breaker_state', 'State of a circuit breaker: 0 closed, 1 open, 2 half-open', 'component'),
    circuitBreakerTransitions: counter(
      'dory_circuit_breaker_transitions_total', 'Changes of state of a circuit breaker', 'component', 'from_state', 'to_state',
    ),
    reconciliationQueueDepth: gauge('dory_reconciliation_queue_depth', 'Changes that are decided and not yet published'),
    reconciliationErrors: counter('dory_reconciliation_errors_total', 'Cycles that failed', 'error_type'),
    podCreationErrors: counter('dory_pod_creation_errors_total', 'Pods that could not be created', 'reason'),
    configWatcherHealthy: gauge('dory_config_watcher_healthy', 'Whether notifications of the database are received'),
    configWatcherErrors: counter('dory_config_watcher_errors_total', 'Breaks of the connection that receives notifications'),
    configChanges: counter('dory_config_changes_total', 'Changes of placements', 'change_type'),
    nodeUtilization: gauge('dory_node_utilization_ratio', 'Requested share of what a node can give', 'node'),
    shutdownDuration: histogram('dory_shutdown_duration_seconds', 'Duration of a shutdown', seconds, 'component'),
    startupDuration: histogram('dory_startup_duration_seconds', 'Duration of the start', seconds),
    componentHealthy: gauge('dory_component_healthy', 'Whether a component works', 'component'),
    pods: gauge('dory_pods_total', 'Processors by the status in their row', 'status'),
    nodes: gauge('dory_nodes_total', 'Edge nodes in service'),
    schedulingDecisions: counter('dory_scheduling_decisions_total', 'Placements that were decided'),
  };
}

function ownMetrics(registry: Registry) {
  const { gauge, counter, histogram } = builders(registry);
  return {
    heartbeats: counter('dory_heartbeats_total', 'Heartbeats received, by where they came from', 'result'),
    heartbeatBatchSize: histogram('dory_heartbeat_batch_size', 'Heartbeats stored by one statement', batchSizes),
    heartbeatWriteSeconds: histogram('dory_heartbeat_write_seconds', 'Duration of the statement that stores heartbeats', seconds),
    edgeNodes: gauge('dory_edge_nodes', 'Edge nodes by verdict', 'verdict'),
    quarantinedProcessors: gauge('dory_quarantined_processors', 'Processors whose rows can\'t be rendered'),
    heldProcessors: gauge('dory_held_processors', 'Processors that should move or stop, and don\'t, by reason', 'reason'),
    waitingForPerson: gauge('dory_waiting_for_person', 'Holds and refusals that only a person can resolve'),
    moves: counter('dory_moves_total', 'Processors that were moved, by reason', 'reason'),
    unfencedMoves: counter('dory_unfenced_moves_total', 'Processors that were moved without proof that their old pod writes no more'),
    cycleSeconds: histogram('dory_cycle_seconds', 'Duration of a stage of a cycle', seconds, 'stage'),
    commitSeconds: histogram('dory_commit_seconds', 'From a decision to its commit on the remote', seconds),
    detectionCommitSeconds: histogram('dory_detection_commit_seconds', 'From a signal that crossed its threshold to the commit that answers it', seconds),
    liveSeconds: histogram('dory_commit_live_seconds', 'From a commit to the moment at which the cluster showed all of it', rolloutSeconds),
    rollouts: gauge('dory_rollouts', 'Placements by what the cluster shows of their last change', 'state'),
    failedRollouts: gauge('dory_failed_rollouts', 'Placements that the cluster does not run, by reason', 'reason'),
    pendingRevisions: gauge('dory_pending_revisions', 'Revisions that are not on the remote yet'),
    guardState: gauge('dory_guard_state', 'State of the fleet guard: 1 for the one it is in', 'state'),
    budgetSpent: gauge('dory_change_budget_spent', 'Changes within the window that count against the budget'),
    locks: gauge('dory_maintenance_locks', 'Maintenance locks that hold', 'scope'),
    paused: gauge('dory_paused', 'Whether a person paused automation'),
    heartbeatLag: gauge('dory_heartbeat_lag_seconds', 'Age of the oldest last heartbeat of a healthy node'),
    intakeCovered: gauge('dory_heartbeat_intake_covered', 'Whether heartbeats are stored, so that silence is evidence'),
    databaseBehind: gauge('dory_database_behind', 'Whether Git shows decisions that the database does not know, as after a restore'),
    applyObjects: counter('dory_apply_objects_total', 'Objects of commits by how their apply ended', 'outcome'),
    applyRequests: counter('dory_apply_requests_total', 'Requests that applying sent'),
    applySeconds: histogram('dory_apply_seconds', 'Duration of a pass that sent requests', seconds),
    applyProblems: gauge('dory_apply_problems', 'Objects that are not as committed, by reason', 'reason'),
    applyInSync: gauge('dory_apply_in_sync', 'Objects that were as committed at the last look'),
    appliedRevision: gauge('dory_applied_revision', 'Newest revision of which everything is on the cluster'),
    secretWrites: counter('dory_secret_writes_total', 'Writes of Secrets by how they ended', 'outcome'),
    secretProblems: gauge('dory_secret_problems', 'Secrets that are not as the database has them, by reason', 'reason'),
    drift: counter('dory_drift_total', 'Changes of our fields by others, by what was done about them', 'action'),
    leftoverPods: gauge('dory_leftover_pods', 'Pods that moves left behind, by what they wait for', 'state'),
    leftoverPodsRemoved: counter('dory_leftover_pods_removed_total', 'Pods that moves left behind and that were deleted', 'how'),
    adoptionsOpen: gauge('dory_adoptions_open', 'Processors between the system before this one and this one'),
    adoptions: counter('dory_adoptions_total', 'Processors that were taken over from the system before this one'),
    argocdApplications: gauge('dory_argocd_applications', 'Applications of Argo CD that sync our folder, by what its controller says', 'sync', 'health'),
    argocdSyncFailures: counter('dory_argocd_sync_failures_total', 'Syncs of Argo CD that failed, each commit of an Application once'),
    argocdNotifications: counter('dory_argocd_notifications_total', 'Pushes that Argo CD was told of', 'result'),
    argocdSyncSeconds: histogram('dory_argocd_sync_seconds', 'From a push to the moment at which Argo CD has brought it to the cluster', seconds),
    leader: gauge('dory_leader', 'Whether this instance leads'),
    leaseAge: gauge('dory_leader_lease_age_seconds', 'Since the lease of this instance was renewed; 0 where it does not lead'),
  };
}

function builders(registry: Registry) {
  const registers = [registry];
  return {
    gauge: <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) => new Gauge({ name, help, labelNames, registers }),
    counter: <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) => new Counter({ name, help, labelNames, registers }),
    histogram: <Label extends string = never>(name: string, help: string, buckets: number[], ...labelNames: Label[]) =>
      new Histogram({ name, help, buckets, labelNames, registers }),
  };
}

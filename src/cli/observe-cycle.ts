import type { Gauge } from 'prom-client';
import type { CycleReport, Stages, Step } from '../cycle.ts';
import type { Failure } from '../model/failure.ts';
import { isUnfenced, type Change, type Plan } from '../model/plan.ts';
import type { GuardState, Snapshot } from '../model/snapshot.ts';
import { elapsed, type Instant } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';

/** Measures the stages of each cycle; `begin` is called before the first. */
export function measureStages(clock: Clock, metrics: Metrics): { begin(): void; readonly onStep: NonNullable<Stages['onStep']> } {
  const stages: Readonly<Record<Step, string>> = { observed: 'observe', planned: 'plan', decided: 'decide', rendered: 'render', committed: 'commit' };
  let last = clock.monotonic();
  return {
    begin: () => { last = clock.monotonic(); },
    onStep: (step) => {
      const now = clock.monotonic();
      const took = (now - last) / 1000;
      last = now;
      metrics.cycleSeconds.observe({ stage: stages[step] }, took);
      if (step === 'observed' || step === 'decided') metrics.databaseQueryDuration.observe({ query_type: stages[step] }, took);
    },
  };
}

/** A failure by what it says of the parts that a cycle needs. */
export function observeFailure(metrics: Metrics, { code }: Failure): void {
  metrics.reconciliationErrors.inc({ error_type: code });
  if (code.startsWith('database-')) metrics.databaseErrors.inc({ error_type: code });
  if (code === 'database-behind') metrics.databaseBehind.set(1);
  for (const component of ['database', 'git']) {
    if (code.startsWith(`${component}-`)) metrics.componentHealthy.set({ component }, 0);
  }
}

/** Sets what a cycle shows of the fleet. */
export function observeCycle(metrics: Metrics, now: Instant, { snapshot, planned, publication }: CycleReport): void {
  const { fleet } = snapshot;
  metrics.componentHealthy.set({ component: 'database' }, 1);
  metrics.databaseBehind.set(0);
  if (publication?.kind === 'pushed') metrics.componentHealthy.set({ component: 'git' }, 1);
  metrics.applications.set(fleet.processors.length + fleet.quarantined.length);
  metrics.quarantinedProcessors.set(planned.quarantined.length);
  metrics.nodes.set(fleet.nodes.filter(({ decommissioned }) => !decommissioned).length);
  count(metrics.edgeNodes, 'verdict', planned.verdicts.map(({ verdict }) => verdict));
  count(metrics.heldProcessors, 'reason', planned.holds.map(({ reason }) => reason));
  metrics.waitingForPerson.set(planned.refusals.length + planned.holds.filter(({ needsPerson }) => needsPerson).length);
  for (const state of guardStates) metrics.guardState.set({ state }, planned.guard.state === state ? 1 : 0);
  observeControls(metrics, snapshot);
  metrics.heartbeatLag.set(heartbeatLag(snapshot, planned) / 1000);
  planned.changes.forEach((change) => observeChange(metrics, change));
  if (publication?.kind === 'pushed') {
    for (const decidedAt of publication.waited) metrics.commitSeconds.observe(Math.max(0, elapsed(decidedAt, now)) / 1000);
    for (const at of publication.detected) metrics.detectionCommitSeconds.observe(Math.max(0, elapsed(at, now)) / 1000);
  }
  metrics.reconciliationQueueDepth.set(publication?.kind === 'postponed' ? planned.changes.length : 0);
}

function observeChange(metrics: Metrics, change: Change): void {
  const { kind, reason } = change;
  metrics.configChanges.inc({ change_type: kind });
  if (kind === 'place' || kind === 'move') metrics.schedulingDecisions.inc();
  if (kind === 'move') metrics.moves.inc({ reason });
  if (isUnfenced(change)) metrics.unfencedMoves.inc();
}

const guardStates: readonly GuardState[] = ['calm', 'site-out', 'degraded', 'panic'];

/** What people told Dory, and what is spent. */
function observeControls(metrics: Metrics, { locks, pause, spent, intake }: Snapshot): void {
  count(metrics.locks, 'scope', locks.filter(({ endedAt }) => endedAt === null).map(({ scope }) => scope));
  metrics.paused.set(pause.paused === null ? 0 : 1);
  metrics.budgetSpent.set(spent);
  metrics.intakeCovered.set(intake.covered ? 1 : 0);
}

/** Age of the oldest last beat among healthy nodes: all of it rises where heartbeats don't arrive. */
function heartbeatLag({ at, nodes }: Snapshot, { verdicts }: Plan): number {
  const healthy = new Set(verdicts.filter(({ verdict }) => verdict === 'healthy').map(({ nodeId }) => nodeId));
  return nodes.reduce((oldest, { nodeId, heartbeat }) => (heartbeat.known && healthy.has(nodeId) ? Math.max(oldest, elapsed(heartbeat.at, at)) : oldest), 0);
}

/** A gauge with labels: what is not seen any more goes to nothing. */
function count<Label extends string>(gauge: Gauge<Label>, label: Label, seen: readonly string[]): void {
  gauge.reset();
  for (const value of seen) gauge.inc({ [label]: value } as Record<Label, string>);
}

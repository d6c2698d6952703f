import type { Gauge } from 'prom-client';
import type { CycleReport, Stages, Step } from '../cycle.ts';
import { elapsed, type Instant } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Metrics } from '../platform/metrics.ts';

/** Measures the stages of each cycle; the metric is named after the stage that ended. */
export function observeSteps(clock: Clock, metrics: Metrics): NonNullable<Stages['onStep']> {
  const stage: Readonly<Record<Step, string>> = { observed: 'observe', planned: 'plan', decided: 'decide', rendered: 'render', committed: 'commit' };
  // The first step of a cycle is measured from the end of the last one's wait only roughly: `cycleStarted` resets it.
  let last = clock.monotonic();
  return (step) => {
    const now = clock.monotonic();
    if (step !== 'observed') metrics.cycleSeconds.observe({ stage: stage[step] }, (now - last) / 1000);
    last = now;
  };
}

/** Sets what a cycle shows of the fleet. */
export function observeCycle(metrics: Metrics, now: Instant, { snapshot, planned, publication }: CycleReport): void {
  const { fleet } = snapshot;
  metrics.applications.set(fleet.processors.length + fleet.quarantined.length);
  metrics.quarantinedProcessors.set(planned.quarantined.length);
  metrics.nodes.set(fleet.nodes.filter(({ decommissioned }) => !decommissioned).length);
  count(metrics.edgeNodes, 'verdict', planned.verdicts.map(({ verdict }) => verdict));
  count(metrics.heldProcessors, 'reason', planned.holds.map(({ reason }) => reason));
  for (const { kind, reason } of planned.changes) {
    metrics.configChanges.inc({ change_type: kind });
    if (kind === 'place' || kind === 'move') metrics.schedulingDecisions.inc();
    if (kind === 'move') metrics.moves.inc({ reason });
  }
  if (publication?.kind === 'pushed') {
    for (const decidedAt of publication.waited) metrics.commitSeconds.observe(Math.max(0, elapsed(decidedAt, now)) / 1000);
  }
  metrics.pendingRevisions.set(publication?.kind === 'postponed' ? 1 : 0);
  metrics.reconciliationQueueDepth.set(publication?.kind === 'postponed' ? planned.changes.length : 0);
}

/** A gauge with labels: what is not seen any more goes to nothing. */
function count<Label extends string>(gauge: Gauge<Label>, label: Label, seen: readonly string[]): void {
  gauge.reset();
  for (const value of seen) gauge.inc({ [label]: value } as Record<Label, string>);
}

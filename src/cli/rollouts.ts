import { createFeedback } from '../apply/feedback.ts';
import type { CycleReport } from '../cycle.ts';
import { seconds } from '../model/time.ts';
import type { Cluster } from '../observe/cluster.ts';
import type { Leadership } from '../platform/campaign.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Runtime } from './runtime.ts';

/** What the cluster shows of roll-outs, told to the database and to the metrics while this instance leads. */
export interface Rollouts {
  /** A pod or a StatefulSet of this processor changed. */
  touch(processorId: string): void;
  reported(report: CycleReport): void;
  /** Until `signal` is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

/** As often as most collectors ask. */
const countEvery = seconds(15);

/** @param cluster as soon as it is there; null before. Null without one. */
export function openRollouts(runtime: Runtime, metrics: Metrics, leadership: Leadership, cluster: () => Cluster | null): Rollouts | null {
  if (runtime.kubernetes === null) return null;
  const { pool, clock, log, settings } = runtime;
  const feedback = createFeedback({ pool, clock, log, metrics, policy: settings.rollout, lease: () => leadership.current(), live: (id) => cluster()?.live(id) ?? null });
  return {
    touch: (processorId) => { feedback.touch(processorId); },
    reported: ({ planned, publication }) => {
      for (const { processorId } of planned.changes) feedback.touch(processorId);
      if (publication !== null && publication.kind !== 'postponed') feedback.published();
    },
    run: async (signal) => {
      await Promise.all([feedback.run(signal), keepCounting(runtime, metrics, { leadership, cluster }, signal)]);
    },
  };
}

interface Counted {
  readonly leadership: Leadership;
  readonly cluster: () => Cluster | null;
}

async function keepCounting(runtime: Runtime, metrics: Metrics, { leadership, cluster }: Counted, signal: AbortSignal): Promise<void> {
  const { clock, log } = runtime;
  // A sleep that is cut short is the end.
  while (await clock.sleep(countEvery, signal).then(() => true, () => false)) {
    if (leadership.current() === null) continue;
    metrics.nodeUtilization.reset();
    for (const [node, share] of cluster()?.utilization() ?? []) metrics.nodeUtilization.set({ node }, share);
    await countRollouts(runtime, metrics).catch((error: unknown) => { log.warn({ err: databaseFailure(error) }, 'roll-outs could not be counted; it is tried again'); });
  }
}

async function countRollouts({ pool }: Runtime, { rollouts, failedRollouts }: Metrics): Promise<void> {
  const { rows } = await pool.query<{ state: string; reason: string | null; count: string }>(
    `select coalesce(ro.state, 'progressing') as state, ro.reason, count(*)
       from dory.placements pl left join dory.rollouts ro on ro.processor_id = pl.processor_id and ro.revision = pl.revision
      group by 1, 2`,
  );
  // What is not seen any more goes to nothing.
  rollouts.reset();
  failedRollouts.reset();
  for (const { state, reason, count } of rows) {
    rollouts.inc({ state }, Number(count));
    if (reason !== null) failedRollouts.set({ reason }, Number(count));
  }
}

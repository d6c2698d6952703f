import type { PassReport } from '../apply/applier.ts';
import type { PassOptions } from '../apply/pass.ts';
import type { Repository } from '../commit/repository.ts';
import { createLoop } from '../loop.ts';
import type { Failure } from '../model/failure.ts';
import { seconds } from '../model/time.ts';
import type { Leadership } from '../platform/campaign.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import { openApplier, type OpenApplier } from './applier.ts';
import { newCycleName } from './engine.ts';
import type { Runtime } from './runtime.ts';

/** With `apply: ssa`: the loop that keeps the cluster at the newest commit, beside the one that makes commits. */
export interface Applying {
  /** A commit is on the remote. @param cycle that made it: the pass that brings it to the cluster is named like it */
  pushed(cycle: string): void;
  /** Whether this instance leads may have changed, or the database is back. */
  wake(): void;
  /** Applies while this instance leads, until `signal` is aborted. Rejects on a bug. */
  run(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface ApplyingPorts {
  readonly repository: Repository;
  readonly leadership: Leadership;
  readonly assertLeading: () => Promise<void>;
}

/** Watches tell of changes at once; this is for what none of them tells, such as a delete budget that time gives back. */
const poll = seconds(30);

/** Null where something else applies. @throws Failure as `openApplier` */
export function openApplying(runtime: Runtime, metrics: Metrics, { repository, leadership, assertLeading }: ApplyingPorts): Applying | null {
  const { settings, clock, random, log } = runtime;
  if (settings.apply !== 'ssa') return null;
  const opened = openApplier(runtime, { repository, assertLeading, onChange: () => { loop.wake(); } });
  const { applier } = opened;
  const tell = createTeller();
  /** Under which lease the remote was asked, and what is remembered was seen. */
  let epoch: number | null = null;
  let pushedBy: string | null = null;
  let stopping: AbortSignal | null = null;
  const loop = createLoop({
    cycle: async () => {
      const lease = leadership.current();
      if (lease === null) return null;
      if (lease.epoch !== epoch) {
        // Another instance may have pushed and applied meanwhile.
        await repository.head();
        applier.forget();
        epoch = lease.epoch;
      }
      const cycle = pushedBy ?? newCycleName(runtime);
      const report = await onePass(runtime, metrics, opened, { cycle, signal: stopping });
      // One that was overtaken has not brought it.
      if (pushedBy === cycle && report.commit !== '' && !report.problems.some(({ reason }) => reason === 'overtaken')) pushedBy = null;
      tell(log.child({ cycle }), report);
      return report.due;
    },
    mayCycle: () => leadership.current() !== null,
    pollInterval: poll,
    clock, random,
    onFailure: (failure) => { tellFailure(log, failure); },
  });
  return {
    pushed: (cycle) => {
      pushedBy = cycle;
      applier.overtake();
      loop.wake();
    },
    wake: () => { loop.wake(); },
    run: async (signal) => {
      stopping = signal;
      await loop.run(signal);
    },
    close: () => opened.close(),
  };
}

async function onePass({ clock }: Runtime, metrics: Metrics, { applier }: OpenApplier, how: Pick<PassOptions, 'cycle' | 'signal'>): Promise<PassReport> {
  const began = clock.monotonic();
  try {
    const report = await applier.pass(how);
    if (report.requests > 0) metrics.applySeconds.observe((clock.monotonic() - began) / 1000);
    if (report.withheld === null) observePass(metrics, report);
    return report;
  } catch (error) {
    // A database that goes away in the middle of a pass is no bug.
    throw databaseFailure(error);
  }
}

const asCommitted: ReadonlySet<PassReport['outcomes'][number]['kind']> = new Set(['created', 'configured', 'unchanged']);

function observePass(metrics: Metrics, { outcomes, requests, inSync, problems, drifts, complete, revision }: PassReport): void {
  for (const { kind } of outcomes) if (kind !== 'skipped') metrics.applyObjects.inc({ outcome: kind });
  metrics.applyRequests.inc(requests);
  // What this pass brought there counts at once: without a reason to look again, the next look is half a minute away.
  metrics.applyInSync.set(inSync + outcomes.filter(({ kind }) => asCommitted.has(kind)).length);
  metrics.applyProblems.reset();
  for (const { reason } of problems) metrics.applyProblems.inc({ reason });
  for (const { action } of drifts) metrics.drift.inc({ action });
  if (complete) metrics.appliedRevision.set(revision);
}

/** Enough to see what is wrong; `dory status` and `dory.apply_problems` have more. */
const told = 10;

/** Says what is wrong when that changes, and what was done. */
function createTeller(): (log: Runtime['log'], report: PassReport) => void {
  let last = '';
  return (log, { commit, revision, outcomes, requests, problems, drifts, withheld }) => {
    for (const { ref, who, fields, deleted, action } of drifts.slice(0, told)) log.warn({ object: ref, who, fields, deleted, action }, 'somebody else changed what is ours');
    if (requests > 0) {
      const counts: Record<string, number> = {};
      for (const { kind } of outcomes) counts[kind] = (counts[kind] ?? 0) + 1;
      log.info({ commit, revision, requests, ...counts }, 'applied');
    }
    const wrong = JSON.stringify([withheld, problems.map(({ object, reason }) => [object, reason])]);
    if (wrong === last) return;
    last = wrong;
    if (withheld === 'older-commit') log.warn('the branch lacks what was committed last: nothing is applied until it is restored');
    for (const { object, reason, detail } of problems.slice(0, told)) log.warn({ object, reason, detail }, 'not as committed');
    if (problems.length > told) log.warn({ more: problems.length - told }, 'not as committed: dory status tells of all');
  };
}

function tellFailure(log: Runtime['log'], failure: Failure): void {
  const level = failure.retry === 'now' ? 'info' : 'error';
  log[level]({ err: failure, code: failure.code, retry: failure.retry, mend: failure.mend }, 'applying ended early');
}

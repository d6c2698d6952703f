import type { Command } from 'commander';
import type { PassReport } from '../apply/applier.ts';
import { createFeedback, type Feedback } from '../apply/feedback.ts';
import { cycle, goesOn, type CycleReport } from '../cycle.ts';
import { Failure } from '../model/failure.ts';
import type { Cluster } from '../observe/cluster.ts';
import { leaderOf, type Lease } from '../platform/leadership.ts';
import { createMetrics } from '../platform/metrics.ts';
import { openApplier } from './applier.ts';
import { exitCodeOf, reportDocument, sumUp, type ReportDocument } from './apply-report.ts';
import { openArgocd } from './argocd.ts';
import { withCluster } from './cluster.ts';
import type { CliContext } from './context.ts';
import { newCycleName, openEngine, type Engine } from './engine.ts';
import { exitCodes, firstOf, leftToPeople } from './exit-codes.ts';
import { assertLeading, whileLeading } from './lease.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { printable, render } from './output.ts';
import { tellCycle } from './tell.ts';
import { withRuntime, type OpenRuntime } from './runtime.ts';

export function reconcileCommand(program: Command, context: CliContext): void {
  const command = program
    .command('reconcile')
    .description('run one cycle: observe, plan, decide, render, commit; and with --apply=ssa, apply')
    .option('--once', 'one cycle and no more; the only way yet, and so the default')
    .addHelpText('after', '\nExits with 3 if rows are in quarantine, with 4 if something is held until a person acts or is not on the cluster as committed, with 5 if another instance leads.\n\nExamples:\n  dory reconcile --once\n  dory reconcile --once --apply=ssa\n  dory reconcile --once --git-url ssh://git@git.example.com/fleet.git');
  settingsOptions(formatOption(command)).action(async ({ output }: FormatFlags) => {
    await withRuntime(context, command, 'require', async (runtime) => {
      const done = await withCluster(runtime, (cluster) => whileLeading(runtime, (lease) => oneCycle(runtime, lease, cluster)));
      if (done === null) {
        context.terminal.err(`Not the leader: ${(await leaderOf(runtime.pool))?.holder ?? 'another instance'} leads.\n`);
        context.exit(exitCodes.notLeader);
        return;
      }
      const { report, applied } = done;
      context.terminal.out(output === 'table' || output === 'wide' ? `${tellCycle(report)}${applied === null ? '' : tellApplied(applied)}` : render(output, documentOf(done), [], []));
      if (goesOn(report)) context.terminal.err('More first placements wait for the next cycle: run this again.\n');
      context.exit(firstOf([leftToPeople(report.planned), applied === null ? exitCodes.ok : exitCodeOf(applied)]));
    });
  });
}

interface Done {
  readonly report: CycleReport;
  /** Null where something else applies. */
  readonly applied: ReportDocument | null;
}

async function oneCycle(runtime: OpenRuntime, lease: Lease, cluster: Cluster | null): Promise<Done> {
  const { pool, settings } = runtime;
  const argocd = await openArgocd(runtime, createMetrics());
  const cycleName = newCycleName(runtime);
  const leading = (): Promise<void> => assertLeading(pool, lease);
  const engine = await openEngine(runtime, { lease: () => lease, cluster, assertLeading: leading, onPushed: (push) => { argocd?.pushed(push); }, cycleName: () => cycleName });
  try {
    argocd?.start();
    const health = cluster === null ? null : healthOf(runtime, lease, cluster);
    // Of what is committed from here on it is known when it is live.
    await health?.once();
    const report = await cycleAndRestore(runtime, engine);
    await argocd?.idle();
    await argocd?.record();
    const applied = settings.apply === 'ssa' ? reportDocument(await applyOnce(runtime, engine, { leading, cycleName })) : null;
    for (const { processorId } of report.planned.changes) health?.touch(processorId);
    health?.published();
    await health?.once();
    return { report, applied };
  } finally {
    await engine.close();
    await argocd?.close();
  }
}

/**
 * A cycle that publishes nothing does not look at the remote. What others did to our folder, be it that they set the branch back, is
 * undone all the same; after the cycle, since no decision should wait for a remote that says nothing.
 */
async function cycleAndRestore({ log }: OpenRuntime, { publisher, stages }: Engine): Promise<CycleReport> {
  const report = await cycle(stages);
  if (report.publication !== null) return report;
  const edit = await publisher.checkRemote().catch((error: unknown) => {
    if (error instanceof Failure && error.code === 'database-behind') throw error;
    log.warn({ err: error }, 'the remote could not be asked for its head');
    return null;
  });
  return edit === null ? report : cycle(stages);
}

/** What the cluster shows by now; what it has yet to do, the next look tells. */
function healthOf(runtime: OpenRuntime, lease: Lease, cluster: Cluster): Feedback {
  return createFeedback({ ...runtime, metrics: createMetrics(), policy: runtime.settings.rollout, lease: () => lease, live: (id) => cluster.live(id) });
}

async function applyOnce(runtime: OpenRuntime, { repository }: Engine, { leading, cycleName }: { readonly leading: () => Promise<void>; readonly cycleName: string }): Promise<PassReport> {
  const opened = openApplier(runtime, { repository, assertLeading: leading, onChange: () => undefined });
  try {
    return await opened.applier.pass({ cycle: cycleName });
  } finally {
    await opened.close();
  }
}

/** Enough to see what is wrong; `-o json` has all. */
const shown = 20;

function tellApplied(applied: ReportDocument): string {
  const wrong = applied.outcomes.filter(({ reason }) => reason !== null).slice(0, shown);
  const lines = wrong.map(({ outcome, object: { kind, namespace, name }, reason, detail }) => `  ${outcome}: ${kind} ${namespace === null ? '' : `${namespace}/`}${name}: ${reason ?? ''}: ${detail ?? ''}`);
  return [`applied: ${sumUp(applied)}`, ...lines].map((line) => `${printable(line)}\n`).join('');
}

function documentOf({ report: { planned, decision, publication }, applied }: Done): unknown {
  return { plan: planned, decision, publication, ...(applied === null ? {} : { applied }) };
}

import type { Command } from 'commander';
import type { Outcome } from '../apply/actions.ts';
import type { PassReport } from '../apply/applier.ts';
import { giveBack } from '../apply/hand-over.ts';
import { keyOf } from '../apply/objects.ts';
import { openRepository } from '../commit/repository.ts';
import { readState } from '../commit/revisions.ts';
import { leaderOf } from '../platform/leadership.ts';
import { openApplier, type OpenApplier } from './applier.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { gitSettings } from './git-settings.ts';
import { assertLeading, whileLeading } from './lease.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { render, type Column } from './output.ts';
import { withRuntime, type OpenRuntime } from './runtime.ts';

interface Flags extends FormatFlags {
  readonly dryRun?: true;
  readonly adopt?: true;
  readonly allowEmpty?: true;
  readonly handOver?: string;
}

export function applyCommand(program: Command, context: CliContext): void {
  const command = program
    .command('apply')
    .description('apply the newest commit to the cluster once, as `dory run --apply=ssa` does all the time')
    .option('--dry-run', 'ask the server what it would do, and change nothing')
    .option('--adopt', 'take over what Argo CD still tracks, and what others applied')
    .option('--allow-empty', 'let a commit without any object empty the cluster')
    .option('--hand-over <manager>', 'the way back: make what we own on the cluster another manager\'s, such as argocd-controller or kubectl')
    .addHelpText('after', '\nExits with 4 if something is not as committed afterwards, with 5 if another instance leads.\n\nExamples:\n  dory apply --dry-run\n  dory apply --adopt\n  dory apply --hand-over argocd-controller');
  settingsOptions(formatOption(command)).action(async ({ output, ...flags }: Flags) => {
    await withRuntime(context, command, 'require', async (runtime) => {
      const report = flags.dryRun === true ? await once(runtime, flags, () => Promise.resolve()) : await whileLeading(runtime, (lease) => once(runtime, flags, () => assertLeading(runtime.pool, lease)));
      if (report === null) {
        context.terminal.err(`Not the leader: ${(await leaderOf(runtime.pool))?.holder ?? 'another instance'} leads.\n`);
        context.exit(exitCodes.notLeader);
        return;
      }
      context.terminal.out(render(output, documentOf(report), columns, report.outcomes));
      context.terminal.err(`${String(report.inSync)} in sync, ${String(report.requests)} requests${flags.dryRun === true ? '; nothing was changed' : ''}.\n`);
      context.exit(report.problems.length > 0 ? exitCodes.held : exitCodes.ok);
    });
  });
}

async function once(runtime: OpenRuntime, { dryRun, adopt, allowEmpty, handOver }: Omit<Flags, 'output'>, leading: () => Promise<void>): Promise<PassReport> {
  const { owner } = await readState(runtime.pool);
  const repository = openRepository(await gitSettings(runtime.settings, owner, runtime.path), runtime);
  const opened = openApplier(runtime, { repository, assertLeading: leading, onChange: () => undefined });
  try {
    await repository.head();
    const report = await opened.applier.pass({ dryRun: dryRun === true || handOver !== undefined, allowEmpty: allowEmpty === true, ...(adopt === true ? { adopt } : {}) });
    return handOver === undefined || dryRun === true ? report : await handAllOver(report, opened, handOver, leading);
  } finally {
    await opened.close();
    await repository.close();
  }
}

/** Of every committed object that is on the cluster: our fields become the other manager's, and Dory has no claim left. */
async function handAllOver(report: PassReport, { objects, committed }: OpenApplier, manager: string, leading: () => Promise<void>): Promise<PassReport> {
  const outcomes: Outcome[] = [];
  for (const ref of await committed()) {
    await leading();
    const object = await objects.read(ref);
    const patch = object === null ? null : giveBack(object, { manager, apiVersion: ref.apiVersion });
    if (patch === null) continue;
    const done = await objects.patch(ref, patch);
    outcomes.push(done ? { kind: 'configured', ref, live: null } : { kind: 'failed', ref, reason: 'precondition', detail: 'it changed meanwhile; run this again', retry: 'soon' });
  }
  return { ...report, outcomes, inSync: 0, problems: [] };
}

const columns: readonly Column<Outcome>[] = [
  { header: 'OUTCOME', of: ({ kind }) => kind },
  { header: 'OBJECT', of: ({ ref }) => keyOf(ref) },
  { header: 'REASON', of: (outcome) => ('reason' in outcome ? outcome.reason : '') },
  { header: 'DETAIL', of: (outcome) => ('detail' in outcome ? outcome.detail : '') },
];

function documentOf({ commit, revision, outcomes, inSync, requests, complete }: PassReport): unknown {
  return { commit, revision, complete, inSync, requests, outcomes: outcomes.map(({ kind, ref, ...rest }) => ({ outcome: kind, object: ref, ...('reason' in rest ? { reason: rest.reason } : {}), ...('detail' in rest ? { detail: rest.detail } : {}) })) };
}

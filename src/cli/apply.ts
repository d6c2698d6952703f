import type { Command } from 'commander';
import { openRepository } from '../commit/repository.ts';
import { readState } from '../commit/revisions.ts';
import { leaderOf } from '../platform/leadership.ts';
import { openApplier } from './applier.ts';
import { exitCodeOf, renderReport, reportDocument, sumUp, type ReportDocument } from './apply-report.ts';
import type { CliContext } from './context.ts';
import { newCycleName } from './engine.ts';
import { exitCodes } from './exit-codes.ts';
import { gitSettings } from './git-settings.ts';
import { handAllOver } from './hand-over.ts';
import { assertLeading, whileLeading } from './lease.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
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
    .option('--allow-empty', 'let a commit without any object, processor, or manifest of the system empty the cluster of them')
    .option('--hand-over <manager>', 'the way back: make what we own on the cluster another manager\'s, such as argocd-controller or kubectl')
    .addHelpText('after', '\nExits with 4 if something is not as committed afterwards (with --dry-run: would not be), or the branch was set back; with 5 if another instance leads.\n\nExamples:\n  dory apply --dry-run\n  dory apply --adopt\n  dory apply --hand-over argocd-controller');
  settingsOptions(formatOption(command)).action(async ({ output, ...flags }: Flags) => {
    await withRuntime(context, command, 'require', async (runtime) => {
      const report = await (flags.dryRun === true ? once(runtime, flags, null) : whileLeading(runtime, (lease) => once(runtime, flags, () => assertLeading(runtime.pool, lease))));
      if (report === null) {
        context.terminal.err(`Not the leader: ${(await leaderOf(runtime.pool))?.holder ?? 'another instance'} leads.\n`);
        context.exit(exitCodes.notLeader);
        return;
      }
      context.terminal.out(renderReport(output, report));
      context.terminal.err(`${sumUp(report)}${flags.dryRun === true ? ' Nothing was changed.' : ''}\n`);
      if (flags.handOver !== undefined && runtime.settings.apply === 'ssa') context.terminal.err(stillApplies);
      context.exit(exitCodeOf(report));
    });
  });
}

const stillApplies = 'The setting apply is ssa: before `dory run` starts again, set it to none or argocd, or it applies once more what it finds.\n';

/** @param leading null: nothing is changed, for which nobody has to lead */
async function once(runtime: OpenRuntime, { adopt, allowEmpty, handOver }: Omit<Flags, 'output'>, leading: (() => Promise<void>) | null): Promise<ReportDocument> {
  const { owner } = await readState(runtime.pool);
  const repository = openRepository(await gitSettings(runtime.settings, owner, runtime.path), runtime);
  const opened = openApplier(runtime, { repository, assertLeading: leading ?? (() => Promise.resolve()), onChange: () => undefined });
  try {
    await repository.head();
    if (handOver !== undefined) return await handAllOver(opened, { manager: handOver, dryRun: leading === null, leading: leading ?? (() => Promise.resolve()) });
    return reportDocument(await opened.applier.pass({ cycle: newCycleName(runtime), dryRun: leading === null, allowEmpty: allowEmpty === true, ...(adopt === true ? { adopt } : {}) }));
  } finally {
    await opened.close();
    await repository.close();
  }
}

import type { Command } from 'commander';
import { cycle, goesOn, type CycleReport } from '../cycle.ts';
import { leaderOf } from '../platform/leadership.ts';
import { createMetrics } from '../platform/metrics.ts';
import { openArgocd } from './argocd.ts';
import { withCluster } from './cluster.ts';
import type { CliContext } from './context.ts';
import { openEngine } from './engine.ts';
import { exitCodes, leftToPeople } from './exit-codes.ts';
import { assertLeading, whileLeading } from './lease.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { render } from './output.ts';
import { tellCycle } from './tell.ts';
import { withRuntime } from './runtime.ts';

export function reconcileCommand(program: Command, context: CliContext): void {
  const command = program
    .command('reconcile')
    .description('run one cycle: observe, plan, decide, render, commit')
    .option('--once', 'one cycle and no more; the only way yet, and so the default')
    .addHelpText('after', '\nExits with 3 if rows are in quarantine, with 4 if something is held until a person acts, with 5 if another instance leads.\n\nExamples:\n  dory reconcile --once\n  dory reconcile --once --git-url ssh://git@git.example.com/fleet.git');
  settingsOptions(formatOption(command)).action(async ({ output }: FormatFlags) => {
    await withRuntime(context, command, 'require', async (runtime) => {
      const report = await withCluster(runtime, (cluster) => whileLeading(runtime, async (lease) => {
        const argocd = await openArgocd(runtime, createMetrics());
        const engine = await openEngine(runtime, {
          lease: () => lease, cluster, assertLeading: () => assertLeading(runtime.pool, lease), onPushed: (push) => { argocd?.pushed(push); },
        });
        try {
          argocd?.start();
          const done = await cycle(engine.stages);
          await argocd?.idle();
          return done;
        } finally {
          await engine.close();
          await argocd?.close();
        }
      }));
      if (report === null) {
        context.terminal.err(`Not the leader: ${(await leaderOf(runtime.pool))?.holder ?? 'another instance'} leads.\n`);
        context.exit(exitCodes.notLeader);
        return;
      }
      context.terminal.out(output === 'table' || output === 'wide' ? tellCycle(report) : render(output, documentOf(report), [], []));
      if (goesOn(report)) context.terminal.err('More first placements wait for the next cycle: run this again.\n');
      context.exit(leftToPeople(report.planned));
    });
  });
}

function documentOf({ planned, decision, publication }: CycleReport): unknown {
  return { plan: planned, decision, publication };
}

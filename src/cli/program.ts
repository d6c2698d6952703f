import { Command, CommanderError } from 'commander';
import { Failure } from '../model/failure.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { CliContext } from './context.ts';
import { applyCommand } from './apply.ts';
import { demoCommand } from './demo.ts';
import { exitCodeHelp, exitCodes, type ExitCode } from './exit-codes.ts';
import { migrateCommand } from './migrate.ts';
import { operatorCommands } from './operator-commands.ts';
import { printableLines } from './output.ts';
import { reconcileCommand } from './reconcile.ts';
import { renderCommand } from './render.ts';
import { runCommand } from './run.ts';
import { secretsCommand } from './secrets.ts';
import { programVersion, versionCommand } from './version.ts';

/** Runs the command that `args` names. Failures are printed as people read them; bugs are thrown. */
export async function runCli(args: readonly string[], given: Omit<CliContext, 'exit'>): Promise<ExitCode> {
  let code: ExitCode = exitCodes.ok;
  const context: CliContext = { ...given, exit: (last) => { code = last; } };
  const program = createProgram(context);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return code;
  } catch (thrown) {
    if (context.signal.aborted && thrown === context.signal.reason) return exitCodes.interrupted;
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.error;
    const error = databaseFailure(thrown);
    if (!(error instanceof Failure)) throw error;
    context.terminal.err(`dory: ${printableLines(error.message)}\n${error.mend === '' ? '' : `${printableLines(error.mend)}\n`}`);
    return codeOf(error);
  }
}

function codeOf({ code }: Failure): ExitCode {
  if (code === 'not-leader') return exitCodes.notLeader;
  return code === 'git-held' ? exitCodes.held : exitCodes.error;
}

/** All commands; also what the README's list is compared with. */
export function createProgram(context: CliContext): Command {
  const { out, err } = context.terminal;
  const program = new Command('dory')
    .description('Keeps stateful edge workloads running by writing Git.')
    .version(programVersion(), '--version')
    .configureOutput({ writeOut: out, writeErr: err, getOutHasColors: () => context.terminal.color })
    .showHelpAfterError('(dory --help lists the commands, config/defaults.yaml the settings)')
    // Flags belong to the command before them: `leader step-down -o json` is not `leader -o json`.
    .enablePositionalOptions()
    .exitOverride()
    .addHelpText('after', `\n${exitCodeHelp}\nSettings: environment over flags over --config over defaults; config/defaults.yaml has them all.`);
  for (const add of [demoCommand, migrateCommand, runCommand, reconcileCommand, applyCommand, renderCommand, secretsCommand, ...operatorCommands, versionCommand]) {
    add(program, context);
  }
  for (const command of program.commands) command.copyInheritedSettings(program);
  return program;
}

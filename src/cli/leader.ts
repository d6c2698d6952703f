import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { leader, leaderStepDown } from '../operator/leader.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function leaderCommands(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: leader,
    details: 'Exits with 5 if nobody leads.',
    examples: ['leader', 'leader -o json', 'leader -w'],
    page: ({ holder, epoch, since, leaseLeftMs }) =>
      holder === null ? 'nobody leads\n' : `${printable(holder)} leads under epoch ${String(epoch)} since ${since ?? '?'}; its lease is good for ${formatMillis(millis(leaseLeftMs ?? 0))}\n`,
    watched: ({ holder, epoch }) => [holder, epoch],
    exit: ({ holder }) => (holder === null ? exitCodes.notLeader : exitCodes.ok),
  });
  pageCommand(program, context, {
    operation: leaderStepDown,
    details: 'The one that led lets the others go first.',
    examples: ['leader step-down --reason "its machine is being replaced"'],
    page: ({ holder, epoch }) => (holder === null ? 'nobody leads\n' : `${printable(holder)} no longer leads under epoch ${String(epoch)}\n`),
  });
}

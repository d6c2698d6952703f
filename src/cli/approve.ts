import type { Command } from 'commander';
import { approve, confirmStop } from '../operator/approve.ts';
import type { CliContext } from './context.ts';
import { pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function approveCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: approve,
    positional: ['subject'],
    details: 'An approval of the guard or the budget covers the processors that wait at that moment, and no others.',
    examples: ['approve guard --reason "the switch at site B is being replaced"', 'approve move/people-counter-1f2e3d4c5b6a --reason "state was copied" --for 10m', 'approve empty-result --reason "the site is closed"'],
    page: ({ subject, until, covers }) => `approved ${printable(subject)} until ${until}${covers === null ? '' : `: ${String(covers.length)} processors`}\n`,
  });
}

export function confirmStopCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: confirmStop,
    positional: ['processor'],
    details: 'Two pods of one processor corrupt its state: look before you say so.',
    examples: ['confirm-stop people-counter-1f2e3d4c5b6a --reason "node powered off"'],
    page: ({ name, epoch }) => `confirmed that epoch ${String(epoch)} of ${printable(name)} has stopped\n`,
  });
}

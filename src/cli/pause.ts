import type { Command } from 'commander';
import { pause, resume } from '../operator/pause.ts';
import type { CliContext } from './context.ts';
import { pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function pauseCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: pause,
    details: 'Heartbeats are taken, verdicts are written, and nothing is decided. Maintenance of one node needs no pause: see `dory maintenance begin`.',
    examples: ['pause --reason "the network is being rebuilt"'],
    page: ({ changed, by, reason, since }) => `${changed ? 'paused' : `paused already since ${since ?? '?'}`} by ${printable(by ?? '?')}: ${printable(reason ?? '')}\n`,
  });
}

export function resumeCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: resume,
    examples: ['resume --reason "the network is back"'],
    page: ({ changed }) => (changed ? 'resumed\n' : 'not paused\n'),
  });
}

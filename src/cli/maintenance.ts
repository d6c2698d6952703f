import type { Command } from 'commander';
import { maintenanceBegin, maintenanceEnd, maintenanceList, type Lock } from '../operator/maintenance.ts';
import type { CliContext } from './context.ts';
import { groupCommand, listCommand, pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function maintenanceCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'maintenance', 'locks: what people work on, automation leaves alone', ['maintenance begin node/yard-edge-2 --reason "new disk" --for 2h', 'maintenance list']);
  pageCommand(program, context, {
    operation: maintenanceBegin,
    positional: ['subject'],
    details: 'Until it ends, automation only records what it would have done. Who asks for something else on what is locked is told who holds it.',
    examples: ['maintenance begin node/yard-edge-2 --reason "new disk" --for 2h', 'maintenance begin template/line-counter --reason "release under test" --for 30m', 'maintenance begin node/yard-edge-2 --reason "the disk is late" --for 4h --extend'],
    page: (lock) => `locked ${told(lock)} until ${lock.until}\n`,
  });
  pageCommand(program, context, {
    operation: maintenanceEnd,
    positional: ['subject'],
    details: 'What is still failed then is not moved at once: it gets a fresh grace.',
    examples: ['maintenance end node/yard-edge-2', 'maintenance end processor/people-counter-1f2e3d4c5b6a --force'],
    page: (lock) => `unlocked ${told(lock)}\n`,
  });
  listCommand(program, context, {
    operation: maintenanceList,
    columns: [
      { header: 'SUBJECT', of: ({ subject }) => subject },
      { header: 'OWNER', of: ({ owner }) => owner },
      { header: 'BEGUN', of: ({ begun }) => begun },
      { header: 'UNTIL', of: ({ until }) => until },
      { header: 'ENDED', of: ({ ended }) => ended ?? '', wide: true },
      { header: 'REASON', of: ({ reason }) => reason },
    ],
    watched: { key: ({ id }) => String(id), state: ({ until, ended }) => [until, ended] },
    examples: ['maintenance list', 'maintenance list --all -o wide'],
  });
}

const told = ({ subject }: Lock): string => printable(subject);

import type { Command } from 'commander';
import type { z } from 'zod';
import { repairEpochs } from '../operator/repair.ts';
import type { CliContext } from './context.ts';
import { groupCommand, pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function repairCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'repair', 'what a database lacks that was restored from a backup', ['repair epochs --reason "restored the backup of 3 May" --dry-run']);
  pageCommand(program, context, {
    operation: repairEpochs,
    details: 'After a backup was restored Dory decides nothing, for it does not know what runs. This reads it from Git.',
    examples: ['repair epochs --reason "restored the backup of 3 May" --dry-run', 'repair epochs --reason "restored the backup of 3 May"'],
    page: tell,
  });
}

type Report = z.output<typeof repairEpochs.output>;

/** Enough to see what it is about; `-o json` has all. */
const shown = 20;

function tell({ applied, git, database, revision, changes, floors, unexplained }: Report): string {
  const place = (side: Report['changes'][number]['before']): string => (side === null ? 'nowhere' : `${side.target} (epoch ${String(side.epoch)}, ${side.phase})`);
  const head = `Git shows revision ${String(git ?? 'none')}, the database knew ${String(database)}.\n`;
  if (changes.length === 0 && floors.length === 0 && (git ?? 0) <= database) return `${head}Nothing to repair.\n${tellUnexplained(unexplained)}`;
  const outcome = !applied ? 'Nothing was written: this was a dry run.' : revision === null ? 'Repaired; no placement changed.' : `Repaired, as revision ${String(revision)}.`;
  return [
    head,
    ...limited(changes.map(({ processor, before, after }) => `${processor}: ${place(before)} → ${place(after)}`)),
    ...limited(floors.map(({ processor, epoch }) => `${processor}: its next placement starts above epoch ${String(epoch)}`)),
    tellUnexplained(unexplained),
    `${outcome}\n`,
  ].join('');
}

function tellUnexplained(agents: Report['unexplained']): string {
  return limited(agents.map(({ processor, echoed, shown: known }) => `${processor}: an agent echoes epoch ${String(echoed)}, Git shows ${String(known)}: look at it`)).join('');
}

function limited(lines: readonly string[]): readonly string[] {
  const told = lines.slice(0, shown).map((line) => `  ${printable(line)}\n`);
  return lines.length <= shown ? told : [...told, `  and ${String(lines.length - shown)} more\n`];
}

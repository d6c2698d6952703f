import type { Command } from 'commander';
import { migrate } from '../platform/migrate.ts';
import type { CliContext } from './context.ts';
import { settingsOptions } from './options.ts';
import { withRuntime } from './runtime.ts';

export function migrateCommand(program: Command, context: CliContext): void {
  const command = program
    .command('migrate')
    .description('create what the database lacks: our own tables in schema dory, and the existing ones where they are absent')
    .addHelpText('after', '\nNothing of a table that exists is changed. Safe to run again, and by two at once.\n\nExamples:\n  dory migrate --config-db postgresql://dory@db.example.com/dory');
  settingsOptions(command).action(async () => {
    await withRuntime(context, command, 'none', async ({ pool }) => {
      const { applied, created } = await migrate(pool);
      for (const name of applied) context.terminal.out(`applied ${name}\n`);
      if (created.length > 0) context.terminal.out(`created ${created.join(', ')}\n`);
      if (applied.length === 0) context.terminal.out('up to date\n');
    });
  });
}

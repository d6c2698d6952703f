import { Argument, type Command } from 'commander';
import { accountName } from './account.ts';
import type { CliContext } from './context.ts';
import { settingsOptions } from './options.ts';
import { findProcessor } from '../operator/subjects.ts';
import { withRuntime } from './runtime.ts';
import { Failure } from '../model/failure.ts';

interface Word {
  readonly reason: string;
  readonly by?: string;
}

/** Long enough for a person to see what happens, short enough to be forgotten safely. */
const validMinutes = 60;

export function approveCommand(program: Command, context: CliContext): void {
  const command = program
    .command('approve')
    .description(`let happen what was refused as suspicious; valid for ${String(validMinutes)} minutes`)
    .addArgument(new Argument('<subject>', 'as `dory status` names it').choices(['empty-result', 'foreign-edit']))
    .requiredOption('--reason <text>', 'why; it is recorded')
    .option('--by <name>', 'who approves', accountName())
    .addHelpText('after', '\nExamples:\n  dory approve empty-result --reason "the site is closed"');
  settingsOptions(command).action(async (subject: string, { reason, by = '' }: Word) => {
    await withRuntime(context, command, 'require', async ({ pool }) => {
      await pool.query(
        `with approval as (
           insert into dory.approvals (subject, approved_by, reason, expires_at) values ($1, $2, $3, now() + $4 * interval '1 minute')
           on conflict (subject) do update set approved_by = excluded.approved_by, reason = excluded.reason, approved_at = now(), expires_at = excluded.expires_at)
         insert into dory.events (kind, evidence) values ('approved', jsonb_build_object('subject', $1::text, 'by', $2::text, 'reason', $3::text))`,
        [subject, by, reason, validMinutes],
      );
      context.terminal.out(`approved ${subject} for ${String(validMinutes)} minutes\n`);
    });
  });
}

export function confirmStopCommand(program: Command, context: CliContext): void {
  const command = program
    .command('confirm-stop')
    .description('vouch that the old pod of a stopping processor runs no more, so that its successor may start')
    .argument('<processor>', 'its id, the beginning of its id, or its name')
    .requiredOption('--reason <text>', 'how you know; it is recorded')
    .option('--by <name>', 'who vouches', accountName())
    .addHelpText('after', '\nTwo pods of one processor corrupt its state: look before you say so.\n\nExamples:\n  dory confirm-stop people-counter-1f2e3d4c5b6a --reason "node powered off"');
  settingsOptions(command).action(async (text: string, { reason, by = '' }: Word) => {
    await withRuntime(context, command, 'require', async ({ pool }) => {
      const { id, name } = await findProcessor(pool, text);
      const { rows } = await pool.query<{ epoch: string }>(
        `with stopping as (select processor_id, epoch from dory.placements where processor_id = $1 and phase = 'stopping'),
              word as (insert into dory.stop_confirmations (processor_id, epoch, confirmed_by) select processor_id, epoch, $2 from stopping
                       on conflict (processor_id, epoch) do update set confirmed_by = excluded.confirmed_by, confirmed_at = excluded.confirmed_at),
              event as (insert into dory.events (kind, processor_id, evidence)
                        select 'stop-confirmed', processor_id, jsonb_build_object('epoch', epoch, 'by', $2::text, 'reason', $3::text) from stopping)
         select epoch from stopping`,
        [id, by, reason],
      );
      if (rows[0] === undefined) throw new Failure('not-found', `${name} is not stopping: there is nothing to confirm.`, { mend: 'See `dory status` for what waits.' });
      context.terminal.out(`confirmed that epoch ${rows[0].epoch} of ${name} has stopped\n`);
    });
  });
}

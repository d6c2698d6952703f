import type { Command } from 'commander';
import { eventsList, type EventItem } from '../operator/events-view.ts';
import type { CliContext } from './context.ts';
import { listCommand } from './operation-command.ts';
import type { Column } from './output.ts';

const columns: readonly Column<EventItem>[] = [
  { header: 'AT', of: ({ at }) => at },
  { header: 'KIND', of: ({ kind }) => kind },
  { header: 'NODE', of: ({ node }) => node ?? '' },
  { header: 'PROCESSOR', of: ({ processor }) => processor ?? '' },
  { header: 'REVISION', of: ({ revision }) => (revision === null ? '' : String(revision)) },
  { header: 'COMMIT', of: ({ revision, commit }) => commit?.slice(0, 12) ?? (revision === null ? '' : '<pending>') },
  { header: 'ID', of: ({ id }) => String(id), wide: true },
  { header: 'CYCLE', of: ({ cycle }) => cycle ?? '', wide: true },
  { header: 'REASON', of: ({ reason }) => reason ?? '', wide: true },
  { header: 'WHY', of: ({ why }) => why ?? '' },
];

export function eventsCommand(program: Command, context: CliContext): void {
  listCommand(program, context, {
    operation: eventsList,
    columns,
    watched: { key: ({ id }) => String(id), state: ({ commit }) => commit, newestFirst: true },
    details: 'Events of one cycle are one story: --cycle with what the log or the commit\'s trailer Dory-Cycle says.',
    examples: ['events --limit 20', 'events --since 1h --node edge-17', 'events --kind verdict', 'events -w'],
  });
}

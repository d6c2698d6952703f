import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { history } from '../operator/history.ts';
import type { CliContext } from './context.ts';
import { listCommand } from './operation-command.ts';

export function historyCommand(program: Command, context: CliContext): void {
  listCommand(program, context, {
    operation: history,
    positional: ['processor'],
    columns: [
      { header: 'REVISION', of: ({ revision }) => String(revision) },
      { header: 'SINCE', of: ({ since }) => since },
      { header: 'PROCESSOR', of: ({ processor }) => processor },
      { header: 'EVENT', of: ({ event }) => event },
      { header: 'TARGET', of: ({ target }) => target ?? '' },
      { header: 'EPOCH', of: ({ epoch }) => (epoch === null ? '' : String(epoch)) },
      { header: 'COMMIT', of: ({ commit }) => commit?.slice(0, 12) ?? '<pending>' },
      { header: 'LIVE AFTER', of: ({ liveMs }) => (liveMs === null ? '' : formatMillis(millis(liveMs))) },
      { header: 'REASON', of: ({ reason }) => reason, wide: true },
      { header: 'CYCLE', of: ({ cycle }) => cycle ?? '', wide: true },
      { header: 'WHY', of: ({ why }) => why },
    ],
    watched: { key: ({ revision, processor }) => `${String(revision)} ${processor}`, state: ({ commit, liveAt }) => [commit, liveAt], newestFirst: true },
    examples: ['history 0192f3c4', 'history people-counter-1f2e3d4c5b6a -o json', 'history --limit 10'],
  });
}

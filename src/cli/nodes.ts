import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { nodesList, type NodeItem } from '../operator/nodes-view.ts';
import type { CliContext } from './context.ts';
import { listCommand } from './operation-command.ts';
import type { Column } from './output.ts';

const age = (ms: number | null): string => (ms === null ? '' : formatMillis(millis(ms)));

const columns: readonly Column<NodeItem>[] = [
  { header: 'NAME', of: ({ name }) => name },
  { header: 'SITE', of: ({ site }) => site ?? '', wide: true },
  { header: 'VERDICT', of: ({ verdict }) => verdict },
  { header: 'READY', of: ({ ready }) => ready ?? '' },
  { header: 'HEARTBEAT', of: ({ heartbeatAgeMs }) => age(heartbeatAgeMs) },
  { header: 'PROCESSORS', of: ({ processors }) => String(processors) },
  { header: 'FLAPS', of: ({ flaps }) => String(flaps) },
  { header: 'LOCK', of: ({ lock }) => lock?.owner ?? '' },
  { header: 'AGE', of: ({ ageMs }) => age(ageMs) },
  { header: 'ID', of: ({ id }) => id, wide: true },
  { header: 'WHY', of: ({ why }) => why ?? '', wide: true },
];

export function nodesCommand(program: Command, context: CliContext): void {
  listCommand(program, context, {
    operation: nodesList,
    columns,
    watched: { key: ({ id }) => id, state: ({ verdict, since, ready, processors, flaps, lock }) => ({ verdict, since, ready, processors, flaps, lock }) },
    details: 'HEARTBEAT is the age of the newest one, AGE how long the verdict holds.',
    examples: ['nodes', 'nodes --verdict lost -o wide', 'nodes -w'],
  });
}

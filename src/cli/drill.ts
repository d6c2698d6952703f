import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { drill, type DrillResult } from '../operator/drill.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { pageCommand } from './operation-command.ts';
import { table, type Paint } from './output.ts';

export function drillCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: drill,
    details: 'Exits with 4 if a processor would be left without a place. `dory simulate` tells one loss in full.',
    examples: ['drill', 'drill --nodes 50', 'drill --site harbor', 'drill --fail edge-17 --how silent'],
    page: drillPage,
    exit: ({ losses }) => (losses.some(({ unplaced }) => unplaced > 0) ? exitCodes.held : exitCodes.ok),
  });
}

type Loss = DrillResult['losses'][number];

function drillPage({ at, now, losses }: DrillResult, _format: 'table' | 'wide', paint: Paint): string {
  const failed = ({ failed: names }: Loss): string => `${names.slice(0, 3).join(',')}${names.length > 3 ? ` +${String(names.length - 3)}` : ''}`;
  const rows = table([
    { header: 'LOSS', of: failed },
    { header: 'PROCESSORS', of: ({ processors }) => String(processors) },
    { header: 'PLACED', of: ({ moved }) => String(moved) },
    { header: 'UNPLACED', of: ({ unplaced }) => String(unplaced) },
    { header: 'HELD', of: ({ held }) => String(held) },
    { header: 'COMMITS', of: ({ commits }) => String(commits) },
    { header: 'DONE AFTER', of: ({ doneAfterMs }) => (doneAfterMs === null ? '' : formatMillis(millis(doneAfterMs))) },
    { header: 'GUARD', of: ({ guard }) => guard },
  ], losses, 'table');
  const bad = losses.filter(({ unplaced }) => unplaced > 0).length;
  return [
    `Live at ${at}: ${String(now.placed)} processors placed, ${String(now.due)} changes due, ${String(now.held)} held, fleet guard ${now.guard}.`,
    '',
    ...(losses.length === 0 ? [] : [rows]),
    paint('bold', losses.length === 0 ? 'No node has processors.' : bad === 0 ? 'Every one of these losses leaves each processor with a place.' : `${String(bad)} of ${String(losses.length)} losses would leave processors without a place.`),
    '',
  ].join('\n');
}

import type { Command } from 'commander';
import { adopt, adoptBack, adoptPace, adoptStart, type AdoptReport } from '../operator/adopt.ts';
import type { CliContext } from './context.ts';
import { pageCommand } from './operation-command.ts';
import { printable, table } from './output.ts';

export function adoptCommands(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: adopt,
    details: `The dry run of a cutover. dory adopt start begins it, dory adopt back undoes it; the instance that leads does the work, at most ${String(adoptPace)} at once, and goes on after a restart.`,
    examples: ['adopt', 'adopt -w', 'adopt -o json'],
    page: reportPage,
    watched: (found) => found,
  });
  pageCommand(program, context, {
    operation: adoptStart,
    positional: ['processors'],
    details: "Refuses while the other system's Deployment runs. Begin with one or two processors; go on when they work.",
    examples: ['adopt start people-counter-1f2e3d4c5b6a --reason "cutover, the first one"', 'adopt start --reason "cutover"'],
    page: ({ processors }) => `${told(processors)} taken over; dory adopt -w shows how far it is\n`,
  });
  pageCommand(program, context, {
    operation: adoptBack,
    positional: ['processors'],
    details: 'When dory adopt shows all of them as stopped, stop this program, and start the other system: it starts their pods.',
    examples: ['adopt back --reason "back to the other one"', 'adopt back people-counter-1f2e3d4c5b6a --reason "does not start"'],
    page: ({ processors }) => `${told(processors)} handed back; dory adopt -w shows how far it is\n`,
  });
}

const told = (processors: number | null): string => (processors === null ? 'all of the fleet is being' : `${String(processors)} ${processors === 1 ? 'processor is' : 'processors are'} being`);

function reportPage({ running, counts, taken, items }: AdoptReport, format: 'table' | 'wide'): string {
  const found = Object.entries(counts).filter(([, count]) => count > 0).map(([state, count]) => `${String(count)} ${state}`);
  return [
    ...(running === null ? [] : [printable(`Running     ${running.deployment}, ${String(running.replicas)} wanted; pods ${running.pods.join(', ') || 'none'}: nothing is taken over until it is stopped`)]),
    `Taken over  ${String(taken)}`,
    `Found       ${found.length === 0 ? 'nothing that another system left, and nothing handed back' : found.join(', ')}`,
    ...(items.length === 0 ? [] : ['', table([
      { header: 'PROCESSOR', of: (one: AdoptReport['items'][number]) => one.processor },
      { header: 'STATE', of: (one) => one.state },
      { header: 'POD', of: (one) => one.pod ?? '' },
      { header: 'NODE', of: (one) => one.node ?? '' },
    ], items, format)]),
    '',
  ].join('\n');
}

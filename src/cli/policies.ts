import type { Command } from 'commander';
import { policyClear, policyList, policySet } from '../operator/policies.ts';
import type { CliContext } from './context.ts';
import { groupCommand, listCommand, pageCommand } from './operation-command.ts';
import { printable } from './output.ts';

export function policyCommands(program: Command, context: CliContext): void {
  groupCommand(program, 'policy', 'how failures of single templates and processors are met', ['policy list', 'policy set template/line-counter --on-failure hold --reason "under test"']);
  pageCommand(program, context, {
    operation: policySet,
    positional: ['match'],
    details: "What is not given stays as it was. A processor's own goes over its template's, and both over the settings.",
    examples: ['policy set template/line-counter --failback window --failback-window 02:00-04:30 --reason "no moves by day"', 'policy set processor/people-counter-1f2e3d4c5b6a --on-failure manual --reason "the customer is called first"'],
    page: ({ match }) => `set ${printable(match)}\n`,
  });
  pageCommand(program, context, {
    operation: policyClear,
    positional: ['match'],
    examples: ['policy clear template/line-counter --reason "as everything else"'],
    page: ({ match }) => `cleared ${printable(match)}\n`,
  });
  listCommand(program, context, {
    operation: policyList,
    columns: [
      { header: 'MATCH', of: ({ match }) => match },
      { header: 'ON FAILURE', of: ({ onFailure }) => onFailure ?? '' },
      { header: 'FAILBACK', of: ({ failback }) => failback ?? '' },
      { header: 'WINDOW', of: ({ failbackWindow }) => failbackWindow ?? '' },
      { header: 'TARGETS', of: ({ targets }) => targets?.join(',') ?? '' },
      { header: 'WRITER ALIVE', of: ({ writerAlive }) => writerAlive ?? '', wide: true },
      { header: 'UNFENCED', of: ({ unfenced }) => unfenced ?? '', wide: true },
      { header: 'STATE LOSS', of: ({ stateLoss }) => stateLoss ?? '', wide: true },
      { header: 'PRIORITY', of: ({ priority }) => (priority === null ? '' : String(priority)) },
      { header: 'BY', of: ({ by }) => by },
      { header: 'SET', of: ({ set }) => set, wide: true },
    ],
    details: '<none>: the settings hold.',
    examples: ['policy list', 'policy list -o wide'],
  });
}

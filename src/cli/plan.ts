import type { Command } from 'commander';
import { planDocument, planNow } from '../operator/plan.ts';
import { plan } from '../plan/plan.ts';
import type { CliContext } from './context.ts';
import { exitCodes, firstOf, leftToPeople } from './exit-codes.ts';
import { pageCommand } from './operation-command.ts';
import { planPage } from './plan-page.ts';
import { manifestSettings } from './render-settings.ts';

export function planCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: planNow,
    options: (command) => command
      .option('--full', 'show the diff of every manifest (of 1000 at most), not of the first 10')
      .option('--no-diff', 'leave the diffs of manifests out'),
    input: ({ full, diff }) => (diff === false ? { diffs: 0 } : full === true ? { diffs: 1000 } : {}),
    details: 'Exits with 0 if there is nothing to do, with 2 if there are changes.',
    examples: ['plan', 'plan --fleet config/fleet.example.yaml', "plan -o json | jq '.changes[].reason'"],
    page: (document, _format, paint) => planPage(document, paint),
    exit: (document) => firstOf([document.changes.length > 0 ? exitCodes.changes : exitCodes.ok, leftToPeople(document)]),
    fleet: (snapshot, { diffs }, settings) => planDocument({ snapshot, planned: plan(snapshot), before: new Map() }, diffs, manifestSettings(settings)),
  });
}

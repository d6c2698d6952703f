import type { Command } from 'commander';
import { createObserver } from '../observe/database.ts';
import { readManifestInputs } from '../observe/manifest-inputs.ts';
import { plan } from '../plan/plan.ts';
import { renderWithCdk8s } from '../render/props.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { CliContext } from './context.ts';
import { exitCodes, firstOf, leftToPeople } from './exit-codes.ts';
import { fleetFileSnapshot } from './fleet-file.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { painter, render } from './output.ts';
import { planPage, type Preview } from './plan-page.ts';
import { observeSettings } from './policy.ts';
import { manifestSettings } from './render-settings.ts';
import { settingsOf, withRuntime } from './runtime.ts';

export function planCommand(program: Command, context: CliContext): void {
  const command = program
    .command('plan')
    .description('what a cycle would change now, and why; changes nothing')
    .option('--fleet <file>', 'plan a fleet file instead of a database')
    .option('--full', 'show the diff of every manifest, not of the first 10')
    .option('--no-diff', 'leave the diffs of manifests out')
    .addHelpText('after', '\nExits with 0 if there is nothing to do, with 2 if there are changes.\n\nExamples:\n  dory plan\n  dory plan --fleet config/fleet.example.yaml\n  dory plan -o json | jq \'.changes[].reason\'');
  settingsOptions(formatOption(command)).action(async (flags: FormatFlags & { fleet?: string; full?: true; diff: boolean }) => {
    const settings = await settingsOf(context, command);
    const preview = flags.fleet === undefined ? await ofDatabase(context, command) : await ofFleetFile(context, settings, flags.fleet);
    const text =
      flags.output === 'table' || flags.output === 'wide'
        ? planPage(preview, { paint: painter(context.terminal.color), diffs: diffsShown(flags), manifest: (input) => renderWithCdk8s(input, manifestSettings(settings)) })
        : render(flags.output, preview.planned, [], []);
    context.terminal.out(text);
    context.exit(firstOf([preview.planned.changes.length > 0 ? exitCodes.changes : exitCodes.ok, leftToPeople(preview.planned)]));
  });
}

/** Of how many manifests the diff is shown. */
function diffsShown({ diff, full }: { readonly diff: boolean; readonly full?: true }): number {
  if (!diff) return 0;
  return full ? Number.POSITIVE_INFINITY : 10;
}

async function ofFleetFile(context: CliContext, settings: Settings, file: string): Promise<Preview> {
  const snapshot = await fleetFileSnapshot(context, settings, file);
  return { snapshot, planned: plan(snapshot), before: new Map() };
}

async function ofDatabase(context: CliContext, command: Command): Promise<Preview> {
  return withRuntime(context, command, 'require', async ({ pool, settings }) => {
    const snapshot = await createObserver(pool, observeSettings(settings)).observe();
    const planned = plan(snapshot);
    const edited = planned.changes.some(({ before }) => before !== null);
    const inputs = edited ? (await readManifestInputs(pool, 0)).changed : [];
    return { snapshot, planned, before: new Map(inputs.map((input) => [input.spec.id, input])) };
  });
}

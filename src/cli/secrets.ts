import type { Command } from 'commander';
import { stringify } from 'yaml';
import { markerOf } from '../apply/secrets-live.ts';
import { marksOf } from '../apply/secrets-marks.ts';
import { reportSecrets, type SecretReport } from '../apply/secrets-report.ts';
import { confirmReplaced, readVersions } from '../apply/secrets-versions.ts';
import { secretManifest } from '../apply/secrets-write.ts';
import { neededSecrets, type NeededSecret } from '../apply/secrets.ts';
import type { Credentials } from '../model/credentials.ts';
import { Failure } from '../model/failure.ts';
import { readCredentials } from '../observe/credentials.ts';
import { createObserver } from '../observe/database.ts';
import { accountName } from './account.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { withKube } from './kube-client.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { printable, render, type Column } from './output.ts';
import { observeSettings } from './policy.ts';
import { withRuntime, type Runtime } from './runtime.ts';

const columns: readonly Column<SecretReport>[] = [
  { header: 'NAMESPACE', of: ({ namespace }) => namespace },
  { header: 'NAME', of: ({ name }) => name },
  { header: 'KEYS', of: ({ keys }) => keys.join(',') },
  { header: 'STATE', of: ({ state }) => state ?? '' },
  { header: 'RESTART', of: ({ restartPending }) => (restartPending ? 'waits' : '') },
  { header: 'WITHOUT VALUE', of: ({ withoutValue }) => withoutValue.join(','), wide: true },
];

const details = `Credentials never pass through Git. With a cluster, dory run writes them to these Secrets by itself, and this says how they are there:
current, missing, replaced (the database has another value), incomplete (a key is not there, or somebody changed it), not-ours (one of
that name lacks the label managed-by=dory-orchestrator; with it, it is taken over), newer (a database wrote it that knew more than this
one; without its annotation dory.io/secret-version, it is written from this one), unused. Without one, they have to be created.

Where somebody else writes them (no cluster, or writeSecrets: false), pods restart with a replaced value when the Secret has it: dory run
sees that in the cluster; without one, --replaced says so. It also restarts pods whose value was replaced while dory run was not there.
Exits with 4 if a Secret is not as the database has it.`;

type Flags = FormatFlags & { readonly manifests?: true; readonly showValues?: true; readonly replaced?: readonly string[] };

export function secretsCommand(program: Command, context: CliContext): void {
  const command = program
    .command('secrets')
    .description('the Secrets that manifests refer to: names and keys, and whether the cluster has them')
    .option('--manifests', 'print them as YAML for kubectl apply, values included: takes --show-values')
    .option('--show-values', 'whoever sees the output has the credentials')
    .option('--replaced <names...>', 'these Secrets have the values of now: the pods that read them restart')
    .addHelpText('after', `\n${details}\n\nExamples:\n  dory secrets\n  dory secrets -o json\n  dory secrets --manifests --show-values | kubectl apply --server-side -f -\n  dory secrets --replaced dory-sensor-5f0c1d7e-8a3b-4c2d-9e6f-0a1b2c3d4e5f`);
  settingsOptions(formatOption(command)).action(async ({ output, manifests, showValues, replaced }: Flags) => {
    if (manifests === true && showValues !== true) {
      throw new Failure('invalid-input', '--manifests prints credentials.', { mend: 'Add --show-values if nobody else sees the output.' });
    }
    await withRuntime(context, command, 'require', async (runtime) => {
      const needed = neededSecrets((await createObserver(runtime.pool, observeSettings(runtime.settings)).observe()).fleet);
      if (replaced !== undefined) {
        await confirm(runtime, needed, replaced);
        return;
      }
      if (manifests === true) {
        context.terminal.out(await manifestsOf(runtime, needed));
        return;
      }
      const reports = await reportOf(runtime, needed);
      context.terminal.out(render(output, reports, columns, reports));
      const asItShouldBe = reports.every(({ state }) => state === null || state === 'current' || state === 'unused');
      context.exit(asItShouldBe ? exitCodes.ok : exitCodes.held);
    });
  });
}

/** @throws Failure `not-found` */
async function confirm({ pool, tell }: Runtime, needed: readonly NeededSecret[], names: readonly string[]): Promise<void> {
  const known = new Set(needed.map(({ name }) => name));
  const stranger = names.find((name) => !known.has(name));
  if (stranger !== undefined) throw new Failure('not-found', `No manifest refers to a Secret ${printable(stranger)}.`, { mend: 'dory secrets lists those that manifests refer to.' });
  await confirmReplaced(pool, [...new Set(names)], accountName());
  tell('The next cycle of dory run restarts the pods that read them.\n');
}

async function reportOf(runtime: Runtime, needed: readonly NeededSecret[]): Promise<readonly SecretReport[]> {
  const { pool, random } = runtime;
  const mark = markerOf(random);
  const marks = await marksOf(readCredentials(pool, null), mark);
  const view = { needed, marks, versions: await readVersions(pool) };
  return withKube(runtime, (client) => reportSecrets(view, client === null ? null : { client, mark }));
}

/** As `dory run` would write them: with a cluster later on, it takes them for its own. */
async function manifestsOf({ pool }: Runtime, needed: readonly NeededSecret[]): Promise<string> {
  const versions = await readVersions(pool);
  const found = new Map<string, Credentials>();
  for await (const [name, values] of readCredentials(pool, needed.map(({ name }) => name))) found.set(name, values);
  const documents = needed.map(({ namespace, name, keys }) => {
    const values = new Map([...(found.get(name) ?? [])].filter(([key]) => keys.includes(key)));
    return stringify(JSON.parse(secretManifest({ namespace, name, version: versions.get(name)?.version ?? 1, values, live: null })));
  });
  return documents.map((text) => `---\n${text}`).join('');
}

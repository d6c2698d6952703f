import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { openRepository } from '../commit/repository.ts';
import { changesOf, readRevision, readState } from '../commit/revisions.ts';
import { chooseLayout } from '../decide/decide.ts';
import { Failure } from '../model/failure.ts';
import type { RevisionId } from '../model/ids.ts';
import type { FileChange } from '../model/tree.ts';
import { readManifestInputs } from '../observe/manifest-inputs.ts';
import { summarize } from '../render/change.ts';
import { emptyRenderState, render, type Rendered } from '../render/render.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { fleetFileSnapshot } from './fleet-file.ts';
import { gitSettings } from './git-settings.ts';
import { settingsOptions } from './options.ts';
import { renderFleet } from './render-fleet.ts';
import { renderSettings } from './render-settings.ts';
import { settingsOf, withRuntime, type Runtime } from './runtime.ts';

interface Flags {
  readonly out?: string;
  readonly fleet?: string;
  readonly verify?: true;
}

export function renderCommand(program: Command, context: CliContext): void {
  const command = program
    .command('render')
    .description('print the manifests of what is decided, or write them to a folder')
    .option('--out <dir>', 'write files there instead of printing them; the folder\'s clusters/ is replaced')
    .option('--fleet <file>', 'render a fleet file as it would be placed at first, instead of a database')
    .option('--verify', 'make the newest commit of ours again from its recorded inputs, and compare every byte')
    .addHelpText('after', '\nExamples:\n  dory render --out manifests\n  dory render --fleet config/fleet.example.yaml | kubectl apply --dry-run=client -f -\n  dory render --verify');
  settingsOptions(command).action(async (flags: Flags) => {
    if (flags.verify) return withRuntime(context, command, 'require', (runtime) => verify(context, runtime));
    const rendered = flags.fleet === undefined ? await withRuntime(context, command, 'require', renderRows) : await renderFile(context, command, flags.fleet);
    if (flags.out === undefined) printManifests(context, rendered.files);
    else await writeTree(context, resolve(context.cwd, flags.out), rendered.files);
  });
}

async function renderFile(context: CliContext, command: Command, file: string): Promise<Rendered> {
  const settings = await settingsOf(context, command);
  const snapshot = await fleetFileSnapshot(context, settings, file);
  return renderFleet(snapshot, { ...renderSettings(settings), owner: settings.cluster, layout: chooseLayout(settings.layout, snapshot) });
}

/** All that is decided, up to a revision (the newest, if absent). */
async function renderRows({ pool, settings }: Pick<Runtime, 'pool' | 'settings'>, upTo?: RevisionId): Promise<Rendered> {
  const inputs = await readManifestInputs(pool, 0, upTo);
  const { revision } = inputs;
  if (revision === 0) throw new Failure('not-found', 'Nothing is decided yet.', { mend: 'Run `dory reconcile --once` first, or render a fleet file with --fleet.' });
  const { owner, layout } = await readState(pool);
  const change = summarize(await readRevision(pool, revision), await changesOf(pool, revision, revision));
  return render(emptyRenderState({ ...renderSettings(settings), owner, layout: layout ?? 'flat' }), { ...inputs, revision, change });
}

function printManifests({ terminal }: CliContext, files: readonly FileChange[]): void {
  for (const { path, content } of files) {
    if (path.endsWith('.yaml') && content !== null) terminal.out(`---\n# ${path}\n${Buffer.from(content).toString()}`);
  }
}

async function writeTree({ terminal }: CliContext, directory: string, files: readonly FileChange[]): Promise<void> {
  await rm(join(directory, 'clusters'), { recursive: true, force: true });
  for (const { path, content } of files) {
    if (content === null) continue;
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), content);
  }
  terminal.out(`wrote ${String(files.length)} files to ${directory}\n`);
}

/** The newest commit of ours against what its inputs render to now. */
async function verify({ terminal, exit }: CliContext, runtime: Runtime): Promise<void> {
  const { owner } = await readState(runtime.pool);
  const repository = openRepository(await gitSettings(runtime.settings, owner, runtime.path), runtime);
  try {
    const { ours } = await repository.head();
    if (ours === null) throw new Failure('not-found', 'The repository has no commit of ours.', { mend: 'Run `dory reconcile --once` first.' });
    const committed = await repository.readFiles(ours.commit);
    const { files, tree } = await renderRows(runtime, ours.revision);
    const rendered = new Map(files.map(({ path, content }) => [path, content]));
    const differing = [...new Set([...committed.keys(), ...rendered.keys()])].sort().flatMap((path) => {
      const difference = describeDifference(committed.get(path) ?? null, rendered.get(path) ?? null);
      return difference === null ? [] : [`${path}: ${difference}\n`];
    });
    const what = `commit ${ours.commit.slice(0, 12)}, revision ${String(ours.revision)}`;
    if (differing.length === 0) {
      terminal.out(`${what}: ${String(committed.size)} files, every byte as rendered (tree ${tree.digest.slice(0, 12)})\n`);
      return;
    }
    terminal.err(`${differing.slice(0, 20).join('')}${what}: ${String(differing.length)} of ${String(committed.size)} files are not as rendered\n`);
    exit(exitCodes.error);
  } finally {
    await repository.close();
  }
}

/** Which byte is the first to differ, and where a person finds it; null if none does. */
function describeDifference(committed: Uint8Array | null, rendered: Uint8Array | null): string | null {
  if (committed !== null && rendered !== null && Buffer.compare(committed, rendered) === 0) return null;
  if (committed === null) return 'is rendered, and not in the commit';
  if (rendered === null) return 'is in the commit, and not rendered';
  const length = Math.min(committed.length, rendered.length);
  let at = 0;
  while (at < length && committed[at] === rendered[at]) at += 1;
  const before = Buffer.from(committed.subarray(0, at)).toString();
  const line = before.split('\n').length;
  const show = (bytes: Uint8Array): string => JSON.stringify(Buffer.from(bytes.subarray(at, at + 24)).toString());
  return `byte ${String(at)} (line ${String(line)}): ${show(committed)} in the commit, ${show(rendered)} rendered`;
}


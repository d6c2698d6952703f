import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { packageRoot } from '../platform/package-root.ts';
import type { CliContext } from './context.ts';
import { formatOption, type FormatFlags } from './options.ts';
import { render } from './output.ts';

/** The program's version, from its `package.json`. */
export function programVersion(): string {
  const manifest = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { readonly version: string };
  return manifest.version;
}

export function versionCommand(program: Command, context: CliContext): void {
  const command = program
    .command('version')
    .description('the version of dory, and of Node that runs it')
    .addHelpText('after', '\nExamples:\n  dory version\n  dory version -o json');
  formatOption(command).action(({ output }: FormatFlags) => {
    const versions = { dory: programVersion(), node: process.versions.node };
    const rows = Object.entries(versions);
    context.terminal.out(render(output, versions, [{ header: 'PROGRAM', of: ([name]) => name }, { header: 'VERSION', of: ([, version]) => version }], rows));
  });
}

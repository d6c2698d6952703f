import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CliContext } from '../../../src/cli/context.ts';
import { createProgram, runCli } from '../../../src/cli/program.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';

interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function context(tell: { out: string; err: string }, env: CliContext['env'] = {}): Omit<CliContext, 'exit'> {
  return {
    env,
    cwd: packageRoot(),
    signal: new AbortController().signal,
    self: { execPath: process.execPath, args: [] },
    terminal: { out: (text) => { tell.out += text; }, err: (text) => { tell.err += text; }, color: false },
  };
}

async function dory(args: readonly string[], env: CliContext['env'] = {}): Promise<Said> {
  const said = { out: '', err: '' };
  const code = await runCli(args, context(said, env));
  return { code, ...said };
}

const commands = createProgram({ ...context({ out: '', err: '' }), exit: () => undefined }).commands.map((command) => command.name());

describe('commands', () => {
  it('are those of the README', async () => {
    const readme = await readFile(join(packageRoot(), 'README.md'), 'utf8');
    // A row may have several: `dory pause`, `resume`.
    const cells = [...readme.matchAll(/^\| (`dory .*?[^\\]) \|/gm)].map(([, cell = '']) => cell);
    const listed = new Set(cells.flatMap((cell) => [...cell.matchAll(/`(?:dory )?([a-z-]+)/g)].map(([, name = '']) => name)));
    expect([...listed].sort()).toEqual([...commands].sort());
  });

  it.each(commands)('%s --help explains with an example', async (command) => {
    const { code, out } = await dory([command, '--help']);
    expect(code).toBe(0);
    expect(out).toContain(`Usage: dory ${command} `);
    expect(out).toMatch(new RegExp(`^Examples:\\n(?:  .*\\n)*  dory ${command}`, 'm'));
  });

  it('--help lists all of them, and the exit codes', async () => {
    const { code, out } = await dory(['--help']);
    expect(code).toBe(0);
    for (const command of commands) expect(out).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(out).toContain('5 not the leader');
  });

  it('version says which', async () => {
    const { version } = JSON.parse(await readFile(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
    expect(JSON.parse((await dory(['version', '-o', 'json'])).out)).toEqual({ dory: version, node: process.versions.node });
    expect((await dory(['--version'])).out.trim()).toBe(version);
  });
});

describe('what is misspelled ends with 1 and a hint', () => {
  it.each<readonly [string, readonly string[], string]>([
    ['a command', ['sttus'], 'status'],
    ['a flag', ['plan', '--no-dif'], '--no-diff'],
    ['a setting', ['plan', '--config-bd', 'x'], '--config-db'],
    ['a setting that --help leaves out', ['run', '--git-coalesc', '1s'], 'config/defaults.yaml'],
    ['a format', ['version', '-o', 'jsn'], 'json'],
    ['what is approved', ['approve', 'everything', '--reason', 'x'], 'empty-result'],
    ['a number', ['history', '--limit', 'ten'], 'whole number'],
    ['a missing argument', ['confirm-stop', '--reason', 'x'], 'processor'],
    ['a missing reason', ['approve', 'empty-result'], '--reason'],
  ])('%s', async (_what, args, hint) => {
    const { code, out, err } = await dory(args);
    expect(code).toBe(1);
    expect(err).toContain(hint);
    expect(out).toBe('');
  });

  it('a command after flags', async () => {
    const { code, err } = await dory(['--log-level', 'info', 'plan']);
    expect(code).toBe(1);
    expect(err).toContain('dory plan');
  });

  it('with what a terminal would obey in it', async () => {
    expect((await dory(['\u001b[2J'])).err).not.toContain('\u001b');
  });
});

it('reports all wrong settings at once, each with where it came from', async () => {
  const { code, err } = await dory(['plan', '--poll-interval', 'soon', '--http-port', '99999'], { DORY_LOG_LEVEL: 'loud', DORY_GIT_TOKEN: 'not-shown', DORY_GIT_TOKEN_FILE: '/token', DORY_NAMESPACES: 'x' });
  expect(code).toBe(1);
  for (const place of ['--poll-interval', '--http-port', 'DORY_LOG_LEVEL', 'DORY_NAMESPACES']) expect(err).toContain(place);
  expect(err).not.toContain('not-shown');
});

describe('plan of a fleet file', () => {
  const example = ['plan', '--fleet', 'config/fleet.example.yaml'];

  it('needs no database, and ends with 2 as there is all to place', async () => {
    const { code, out } = await dory(['plan', '--fleet', 'config/fleet.example.yaml'], { PATH: '' });
    expect(code).toBe(2);
    expect(out).toContain('26 to place; 0 held, 0 in quarantine');
    expect(out).toContain('+kind: StatefulSet');
    expect(out).toContain('16 more');
  });

  it('shows as many manifests as were asked for', async () => {
    const manifests = async (...flags: string[]): Promise<number> => (await dory([...example, ...flags])).out.split('+kind: StatefulSet').length - 1;
    expect(await manifests()).toBe(10);
    expect(await manifests('--full')).toBe(26);
    expect(await manifests('--no-diff')).toBe(0);
  });

  it('as a document', async () => {
    const { code, out } = await dory([...example, '-o', 'json']);
    expect(code).toBe(2);
    const { changes } = JSON.parse(out) as { changes: readonly { kind: string; reason: string }[] };
    expect(new Set(changes.map(({ kind, reason }) => `${kind} ${reason}`))).toEqual(new Set(['place first-placement']));
  });

  it('ends with 1 where there is no such file', async () => {
    const { code, err } = await dory(['plan', '--fleet', 'config/no-such-file.yaml']);
    expect(code).toBe(1);
    expect(err).toContain('no-such-file.yaml');
  });
});

#!/usr/bin/env node
import { exitCodes } from './cli/exit-codes.ts';
import { runCli } from './cli/program.ts';

/** The composition root: the only file that sees the process. */
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => { stop.abort(); });

// A reader that has seen enough, such as `head`, is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

const code = await runCli(process.argv.slice(2), {
  env: process.env,
  cwd: process.cwd(),
  signal: stop.signal,
  self: { execPath: process.execPath, args: [...process.execArgv, process.argv[1] ?? ''] },
  terminal: {
    out: (text) => { process.stdout.write(text); },
    err: (text) => { process.stderr.write(text); },
    color: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  },
});
process.exitCode = code;
// Whatever it waited for is not waited for.
if (code === exitCodes.interrupted) process.exit();

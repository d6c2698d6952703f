import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { createInterface } from 'node:readline';
import { packageRoot } from '../../src/platform/package-root.ts';

export interface Child {
  readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  /** The next line of its standard output; rejects, with what it said on standard error, if it ends before. */
  readonly line: () => Promise<string>;
  /** Resolves when it is gone. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

/** Runs a program of this folder in a process of its own, as `npm test` compiled it: to compile it in each process takes seconds. */
export function startChild(program: string, args: readonly string[], options: { readonly detached?: boolean } = {}): Child {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'test', 'support', `${program}.js`), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: options.detached === true,
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal });
    });
  });
  const line = async (): Promise<string> => {
    const next = await lines.next();
    if (next.done !== true) return next.value;
    await ended;
    throw new Error(`the child ended: ${said}`);
  };
  return { process: child, line, ended };
}

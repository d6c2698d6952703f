import { execFile, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { runCli } from '../../../src/cli/program.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { temporaryFolder } from '../../support/temp.ts';

const run = promisify(execFile);
/** What `npm test` compiles first: people run JavaScript. */
const program = join(packageRoot(), 'dist/src/main.js');

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A database, an empty bare repository and a folder, and the program that is pointed at them. */
export interface Workshop extends TestDatabase {
  readonly folder: string;
  readonly remote: string;
  /** Runs a command to its end, in a process of its own. */
  readonly dory: (...args: readonly string[]) => Promise<Ended>;
  /** The same in this process, which saves half a second of loading the program. */
  readonly here: (...args: readonly string[]) => Promise<Ended>;
  /** The same with other variables beside those of the workshop. */
  readonly hereWith: (env: Env, ...args: readonly string[]) => Promise<Ended>;
  /** What commands find in their environment. */
  readonly env: Env;
  close: () => Promise<void>;
  /** Starts the program with exactly these arguments, in a process group of its own. */
  readonly start: (args: readonly string[]) => Running;
  /** Git in the bare repository. */
  readonly git: (...args: readonly string[]) => Promise<string>;
}

export async function workshop(options: { readonly migrated?: boolean } = {}): Promise<Workshop> {
  const folder = await temporaryFolder();
  const database = await testDatabase(options);
  const remote = join(folder.path, 'remote.git');
  await mkdir(remote);
  const git = async (...args: readonly string[]): Promise<string> => (await run('git', ['-C', remote, ...args], { maxBuffer: 1e8 })).stdout;
  await git('init', '--bare', '--quiet', '--initial-branch=main', '.');
  const env = {
    PATH: process.env['PATH'], DORY_DATA_DIR: join(folder.path, 'data'), DORY_GIT_URL: remote, DORY_CLUSTER: 'test', DORY_GIT_COALESCE: '0s',
  };
  // No server runs beside single commands, and silence counts all the same.
  const commandEnv = { ...env, DORY_DATABASE_URL: database.url, DORY_HEARTBEATS_RECEIVER: 'external' };
  const running: Running[] = [];
  return {
    ...database, folder: folder.path, remote, git,
    dory: (...args) => runToEnd(args, folder.path, commandEnv),
    here: (...args) => runHere(args, folder.path, commandEnv),
    hereWith: (others, ...args) => runHere(args, folder.path, { ...commandEnv, ...others }),
    env: commandEnv,
    start: (args) => {
      const started = startProgram(args, folder.path, env);
      running.push(started);
      return started;
    },
    close: async () => {
      for (const { signal, ended } of running) {
        signal('SIGKILL');
        await ended;
      }
      await database.close();
      await folder.remove();
    },
  };
}

type Env = Readonly<Record<string, string | undefined>>;

async function runToEnd(args: readonly string[], cwd: string, env: Env): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], { cwd, env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}

async function runHere(args: readonly string[], cwd: string, env: Env): Promise<Ended> {
  let [out, err] = ['', ''];
  const code = await runCli(args, {
    env, cwd,
    signal: new AbortController().signal,
    self: { execPath: process.execPath, args: [program] },
    terminal: { out: (said) => { out += said; }, err: (said) => { err += said; }, color: false },
  });
  return { code, out, err };
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly msg: string };

export interface Running {
  readonly pid: number;
  /** Every line that it has logged so far. */
  readonly log: readonly LogLine[];
  /** Waits for a line of the log, an earlier one as well. Rejects if the program ends before. */
  readonly logged: (wanted: (line: LogLine) => boolean) => Promise<LogLine>;
  /** To the program alone; does nothing if it is gone. */
  readonly signal: (name: NodeJS.Signals) => void;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

export function startProgram(args: readonly string[], cwd: string, env: Env): Running {
  const child = spawn(process.execPath, [program, ...args], { cwd, env: { ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const log: LogLine[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stderr }).on('line', (line) => {
    log.push(line.startsWith('{') ? (JSON.parse(line) as LogLine) : { msg: line });
    for (const look of waiting) look();
  });
  child.stdout.resume();
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => { resolve({ code, signal }); });
  });
  return {
    pid: child.pid ?? 0,
    log,
    ended,
    signal: (name) => { child.kill(name); },
    logged: (wanted) => new Promise((resolve, reject) => {
      const look = (): void => {
        const line = log.find(wanted);
        if (line === undefined) return;
        waiting.delete(look);
        resolve(line);
      };
      waiting.add(look);
      look();
      void ended.then(() => { reject(new Error(`it ended: ${JSON.stringify(log.slice(-3))}`)); });
    }),
  };
}

/** Looks again until it is so, for at most `forMs`. Rejects with what was seen last. */
export async function eventually(assertion: () => Promise<void>, forMs = 20_000): Promise<void> {
  const deadline = performance.now() + forMs;
  for (;;) {
    try {
      await assertion();
      return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
}

/** vitest's `onTestFinished`. */
export type OnFinished = (close: () => Promise<void>) => void;

/** A workshop with the small fleet in its database, closed when the test has finished. */
export async function small(onTestFinished: OnFinished): Promise<Workshop> {
  const shop = await workshop();
  onTestFinished(shop.close);
  await seedSmallFleet(shop.pool);
  return shop;
}

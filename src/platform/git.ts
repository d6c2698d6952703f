import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { GitConstructError, simpleGit, type SimpleGitOptions } from 'simple-git';
import { Failure } from '../model/failure.ts';
import type { Millis } from '../model/time.ts';

/** Runs git in one bare repository: fixed argument arrays, an environment of its own, and an end to every process. */
export interface Git {
  /** What git printed. @throws GitExit if it ended otherwise than with 0, `Failure('git-missing')` if there is no git. */
  run(args: readonly string[], options?: GitRun): Promise<Buffer>;
}

interface GitRun {
  readonly input?: Buffer;
  /** If not the one of all runs. */
  readonly timeout?: Millis;
  /** Beside those of the repository. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface GitOptions {
  /** The repository: working directory and `GIT_DIR`. It must exist. */
  readonly directory: string;
  /** Where programs are found, as in `PATH`. */
  readonly path: string;
  /** Nothing else reaches git, but what every run needs. */
  readonly env?: Readonly<Record<string, string>>;
  /** After this long, a process and all that it started are killed. */
  readonly timeout: Millis;
}

/** Git ran, and did not succeed. Holds what it said, which may quote the remote: not for people as it is. */
export class GitExit extends Error {
  override readonly name = 'GitExit';
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
  /** By us or by others: it answered nothing. */
  readonly killed: boolean;

  constructor(command: string, ended: { readonly stdout: string; readonly stderr: string; readonly timedOut: boolean; readonly killed: boolean }) {
    super(`git ${command} ${ended.timedOut ? 'was killed: it took too long' : ended.killed ? 'was killed' : 'failed'}`);
    this.stdout = ended.stdout;
    this.stderr = ended.stderr;
    this.timedOut = ended.timedOut;
    this.killed = ended.killed;
  }
}

/**
 * What simple-git refuses by default and is ours to allow: each value is made by this program, none comes from the
 * ambient environment, of which nothing is passed on.
 */
const unsafe: NonNullable<SimpleGitOptions['unsafe']> = {
  allowUnsafeConfigPaths: true,
  allowUnsafeSshCommand: true,
  allowUnsafeTemplateDir: true,
};

/** Names the processes of one run: what a process starts inherits it. */
const runMark = 'DORY_GIT_RUN';

export function createGit({ directory, path, env: own, timeout: usual }: GitOptions): Git {
  const base = {
    PATH: path,
    HOME: directory,
    LC_ALL: 'C',
    GIT_DIR: directory,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    // glibc hands memory back and takes it again for each object that is compressed: a third of fast-import's time.
    MALLOC_TOP_PAD_: String(16 * 2 ** 20),
    ...own,
  };
  return {
    run: async (args, { timeout = usual, input, env: added } = {}) => {
      const command = args[0] ?? '';
      const mark = randomUUID();
      const env = { ...base, ...added, [runMark]: mark };
      const ended = await runOnce(args, { directory, env, input, timeout, kill: () => killRun(mark) }).catch((error: unknown) => {
        throw error instanceof GitConstructError ? new GitExit(command, { stdout: '', stderr: 'fatal: not a git repository', timedOut: false, killed: false }) : error;
      });
      if (ended.code === 0 && !ended.timedOut) return ended.stdout;
      if (ended.stderr.includes('spawn git ENOENT')) {
        throw new Failure('git-missing', 'There is no git on this machine.', { mend: 'Install git 2.36 or newer, in a folder that PATH names.' });
      }
      throw new GitExit(command, { stdout: ended.stdout.toString(), stderr: ended.stderr, timedOut: ended.timedOut, killed: ended.timedOut || ended.code === null });
    },
  };
}

interface OneRun {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  readonly input: Buffer | undefined;
  readonly timeout: Millis;
  readonly kill: () => Promise<void>;
}

interface Ended {
  /** Null: killed by a signal. */
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly timedOut: boolean;
}

async function runOnce(args: readonly string[], { directory, env, input, timeout, kill }: OneRun): Promise<Ended> {
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const abort = new AbortController();
  let code: number | null = null;
  const git = simpleGit({
    baseDir: directory,
    abort: abort.signal,
    allowEnvironment: Object.keys(env).filter((name) => name.startsWith('GIT_')),
    unsafe,
    // Only the end of its output ends a run: `exit` may come while output is still to be read.
    completion: { onClose: true, onExit: false },
    errors: (_error, result) => {
      code = result.exitCode;
      err.push(...result.stdErr);
      return undefined;
    },
    ...(input === undefined ? {} : { input: () => input }),
  });
  const killing: Promise<void>[] = [];
  const timer = setTimeout(() => {
    abort.abort();
    killing.push(kill());
  }, timeout);
  try {
    await git
      .env({ ...env })
      .outputHandler((_command, stdout) => stdout.on('data', (bytes: Buffer) => out.push(bytes)))
      .raw([...args]);
  } finally {
    clearTimeout(timer);
    await Promise.all(killing);
  }
  return { code, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString(), timedOut: abort.signal.aborted };
}

/**
 * Kills whatever carries the mark, until nothing does: transports, hooks and helpers outlive the git that started
 * them. Needs Linux's `/proc`; elsewhere git alone is interrupted, and its helpers end when their pipes close.
 */
async function killRun(mark: string): Promise<void> {
  const rounds = 50;
  for (let round = 0; round < rounds; round += 1) {
    const pids = await marked(mark);
    if (pids.length === 0) return;
    for (const pid of pids) kill(pid);
    await pause(10);
  }
}

async function marked(mark: string): Promise<readonly number[]> {
  const names = await readdir('/proc').catch(() => []);
  const found = await Promise.all(
    names.filter((name) => /^\d+$/.test(name)).map(async (pid) => {
      // Other people's processes, and those that just ended, can't be read: they aren't ours to kill.
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      return environment.split('\0').includes(`${runMark}=${mark}`) ? [Number(pid)] : [];
    }),
  );
  return found.flat();
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

import { simpleGit } from 'simple-git';

/** One git process at a time, started with fixed arguments and an environment of our own. */
export interface Git {
  /** Standard output. @throws GitError if git ends with another code than 0 */
  run(args: readonly string[], input?: string | Buffer): Promise<string>;
}

/** What git said when it failed, for those who know what it was asked. */
export class GitError extends Error {
  override readonly name = 'GitError';
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;

  constructor(exitCode: number, stdout: string, stderr: string) {
    super(`git ended with code ${String(exitCode)}: ${(stderr || stdout).trim().slice(0, 2_000)}`);
    this.exitCode = exitCode;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

export interface GitOptions {
  /** A folder that exists; the repository itself for a bare one. */
  readonly directory: string;
  /** Settings for each call, `['gc.auto', '0']`; they travel in the environment, where other users can't read them. */
  readonly config: readonly (readonly [key: string, value: string])[];
  /** More variables, such as `GIT_SSH_COMMAND`. */
  readonly env: Readonly<Record<string, string>>;
  /** PATH and the like of our own process; nothing else of it gets through. */
  readonly path: string;
  /** A process that says nothing for so long is killed; milliseconds. */
  readonly silenceMs: number;
}

/** Ambient `GIT_*` variables, hooks, credential helpers and configuration files of the machine have no say. */
export function createGit({ directory, config, env, path, silenceMs }: GitOptions): Git {
  const environment: Record<string, string> = {
    PATH: path,
    HOME: directory,
    LC_ALL: 'C',
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_CONFIG_COUNT: String(config.length),
    ...Object.fromEntries(config.flatMap(([key, value], i) => [[`GIT_CONFIG_KEY_${String(i)}`, key], [`GIT_CONFIG_VALUE_${String(i)}`, value]])),
    ...env,
  };
  const allowEnvironment = Object.keys(environment);
  return {
    run: async (args, input) => {
      // simple-git takes its input with the instance, not with the call.
      const git = simpleGit({
        baseDir: directory,
        maxConcurrentProcesses: 1,
        trimmed: false,
        timeout: { block: silenceMs },
        allowEnvironment,
        // Both hold values of ours only: the settings below, and a command made from checked paths.
        unsafe: { allowUnsafeConfigEnvCount: true, allowUnsafeSshCommand: true, allowUnsafeHooksPath: true },
        ...(input === undefined ? {} : { input: () => input }),
        errors: (_, { exitCode, stdOut, stdErr }) =>
          exitCode === 0 ? undefined : new GitError(exitCode, Buffer.concat(stdOut).toString(), Buffer.concat(stdErr).toString()),
      });
      return git.env(environment).raw([...args]);
    },
  };
}

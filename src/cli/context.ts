import type { ExitCode } from './exit-codes.ts';
import type { Terminal } from './output.ts';

/** What a command gets from the process, through `main`; nothing below reads the process itself. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly terminal: Terminal;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** How to run this program again in another process: the runtime's path and its arguments before ours. */
  readonly self: { readonly execPath: string; readonly args: readonly string[] };
  /** Says how the command ended; the last word counts. */
  readonly exit: (code: ExitCode) => void;
}

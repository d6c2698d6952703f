import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';

/** A program of others that runs until it is stopped. */
export interface Service {
  /** Kills it; resolves when it is gone. */
  stop(): Promise<void>;
  /** Rejects, with its last words, if it ends without having been stopped. */
  readonly failed: Promise<never>;
}

/**
 * The shell reads from us, and kills the program when we are gone, also without a goodbye. (A signal to a group would miss a
 * test that is killed itself.)
 */
const guard = '"$0" "$@" 3<&- & child=$!; { read -r _ <&3; kill -9 $child; } 2>/dev/null & reader=$!; exec 3<&-; wait $child; code=$?; kill $reader 2>/dev/null; exit $code';

export function startService(program: string, args: readonly string[], log: string): Service {
  const output = openSync(log, 'a');
  const child = spawn('/bin/sh', ['-c', guard, program, ...args], { stdio: ['ignore', output, output, 'pipe'] });
  closeSync(output);
  let stopped = false;
  const ended = new Promise<void>((resolve) => child.once('close', () => { resolve(); }));
  const failed = ended.then(async () => {
    // Nobody waits for a promise that never ends.
    if (stopped) return new Promise<never>(() => undefined);
    throw new Error(`${program} ended: ${(await readFile(log, 'utf8')).slice(-2000)}`);
  });
  failed.catch(() => undefined);
  return {
    failed,
    stop: async () => {
      stopped = true;
      child.stdio[3]?.destroy();
      await ended;
    },
  };
}

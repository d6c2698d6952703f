import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Runs Go in the folder of its module; what it printed. */
export type Go = (...args: string[]) => Promise<string>;

export interface GoBuild {
  /** A folder with a go.mod. */
  readonly source: string;
  readonly env: NodeJS.ProcessEnv;
  /** What is built, as Go names it; `tool` is every tool of go.mod. */
  readonly packages: readonly string[];
  /** Adds to the folder what is needed beside the programs. */
  readonly finish: (folder: string, go: Go) => Promise<void>;
}

/** In the user's cache, named by what it is built from. */
export async function cacheFolder(name: string, source: string, files: readonly string[], env: NodeJS.ProcessEnv): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(join(source, file)));
  return join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dory', name, hash.digest('hex').slice(0, 16));
}

/** Null when `target` is there, whole; else why it can't be. Two at once do the work twice, and neither sees half of the other's. */
export async function goBuild(target: string, { source, env, packages, finish }: GoBuild): Promise<string | null> {
  const folder = `${target}.${String(process.pid)}`;
  const go: Go = async (...args) => (await run('go', args, { cwd: source, env: { ...env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod -buildvcs=false' }, maxBuffer: 1e8 })).stdout;
  await mkdir(folder, { recursive: true });
  try {
    await go('build', '-trimpath', '-ldflags', '-s -w', '-o', `${folder}/`, ...packages);
    await finish(folder, go);
    await rm(target, { recursive: true, force: true });
    await rename(folder, target);
    return null;
  } catch (error) {
    return `Go could not build it: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

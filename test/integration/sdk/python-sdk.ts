import { execFile } from 'node:child_process';
import { access, mkdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The newest that there is: agents in the field run it unchanged. */
const version = '2.1.9';

/** How to run a Python program that imports the SDK. */
export interface PythonSdk {
  readonly python: string;
  /** For `PYTHONPATH`. */
  readonly path: string;
}

/**
 * The real `dory-sdk`, installed by pip into the user's cache, once for each version of it and of Python. A text says why there is none: no Python,
 * one that is too old, or a package index that can't be reached.
 */
export async function pythonSdk(env: NodeJS.ProcessEnv): Promise<PythonSdk | string> {
  const python = 'python3';
  const found = await run(python, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], { env }).catch((error: unknown) => String(error));
  if (typeof found === 'string') return `there is no ${python}: ${found}`;
  const language = found.stdout.trim();
  if (Number(language.split('.')[1]) < 11) return `dory-sdk takes Python 3.11, and ${python} is ${language}`;
  const cache = join(env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'dory', 'python-sdk');
  const path = join(cache, `${version}-python${language}`);
  const there = await access(path).then(() => true, () => false);
  return there ? { python, path } : install(python, path, env);
}

/** Two at once do the work twice, and neither sees half of the other's. */
async function install(python: string, path: string, env: NodeJS.ProcessEnv): Promise<PythonSdk | string> {
  const half = `${path}.${String(process.pid)}`;
  await mkdir(half, { recursive: true });
  try {
    await run(python, ['-m', 'pip', 'install', '--quiet', '--target', half, `dory-sdk==${version}`], { env, timeout: 240_000 });
    // Another one may have been first.
    await rename(half, path).catch(() => access(path));
    return { python, path };
  } catch (error) {
    return `pip can't install dory-sdk ${version}: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    await rm(half, { recursive: true, force: true });
  }
}

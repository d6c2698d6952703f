import { chmod, chown, mkdir, mkdtemp, realpath, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Failure } from '../../model/failure.ts';
import { mayReach, serverAccount, type Account } from './account.ts';
import { exists, isSystemError } from './files.ts';
import { usablePrograms } from './programs.ts';

export interface Home {
  /** Holds the server's data and password. */
  readonly directory: string;
  /** Whom the server runs as; null for ourselves. */
  readonly account: Account | null;
  /** Holds `bin/postgres` and `bin/initdb`. */
  readonly programs: string;
}

/** Where root puts what the server's account could not reach under the data directory, as for a project in /root. */
export const sharedFolder = '/var/lib/dory';

/**
 * Finds or makes the server's place: the folder `<dataDir>/postgres`; or, as root, if the server's account could not get
 * there, a folder in `shared` with a symbolic link to it.
 * @throws Failure `embedded-postgres-failed`
 */
export async function prepareHome(dataDir: string, shared: string): Promise<Home> {
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o755 });
    const entry = join(resolve(dataDir), 'postgres');
    const account = await serverAccount(entry);
    const directory = account === null ? await ownFolder(entry) : await folderFor(account, entry, shared);
    return { directory, account, programs: await usablePrograms(directory, account) };
  } catch (error) {
    if (!isSystemError(error)) throw error;
    throw new Failure('embedded-postgres-failed', `The embedded PostgreSQL can't be prepared in ${dataDir}: ${error.message}.`, {
      mend: 'Set DORY_DATA_DIR to a folder that you may write to, or DORY_DATABASE_URL to a server of your own.',
      cause: error,
    });
  }
}

/** Removes the server's data and password, wherever they are. The server must be stopped. */
export async function removeHome(dataDir: string): Promise<void> {
  const entry = join(dataDir, 'postgres');
  if (await exists(entry)) await rm(await realpath(entry), { recursive: true, force: true });
  await rm(entry, { force: true });
}

async function ownFolder(entry: string): Promise<string> {
  await mkdir(entry, { recursive: true, mode: 0o700 });
  return realpath(entry);
}

async function folderFor(account: Account, entry: string, shared: string): Promise<string> {
  if (await exists(entry)) return existingFolder(account, await realpath(entry));
  // A link may be left whose folder was removed.
  await rm(entry, { force: true });
  await letPass(dirname(entry));
  if (await mayReach(account, dirname(entry))) {
    await mkdir(entry, { mode: 0o700 });
    await chown(entry, account.uid, account.gid);
    return realpath(entry);
  }
  await mkdir(shared, { recursive: true, mode: 0o755 });
  const folder = await mkdtemp(join(shared, 'postgres-'));
  await chown(folder, account.uid, account.gid);
  await symlink(folder, entry);
  return realpath(folder);
}

async function existingFolder(account: Account, folder: string): Promise<string> {
  if ((await stat(folder)).uid === account.uid && (await mayReach(account, folder))) return folder;
  throw new Failure('embedded-postgres-failed', `The user with uid ${String(account.uid)}, as which the server runs, can't use ${folder}.`, {
    mend: `Remove ${folder} if its data is not needed, set DORY_DATA_DIR to another folder, or DORY_DATABASE_URL to a server of your own.`,
  });
}

/** Lets others pass through the data directory, if it is ours, without letting them list it. */
async function letPass(folder: string): Promise<void> {
  const { mode, uid } = await stat(folder);
  if (uid === 0 && (mode & 0o011) !== 0o011) await chmod(folder, mode | 0o011);
}

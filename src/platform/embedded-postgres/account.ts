import { execFile } from 'node:child_process';
import { realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../../model/failure.ts';
import { exists } from './files.ts';

/** A user other than root, as which root starts the server: PostgreSQL refuses to run as root. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** Accounts that root may start the server as, best first. Nearly every machine has the second. */
const accountNames = ['postgres', 'nobody'];

/**
 * Whom to run the server as whose data is, or will be, at `entry`: null for ourselves.
 * @throws Failure `embedded-postgres-failed` if there is none.
 */
export async function serverAccount(entry: string): Promise<Account | null> {
  if (process.getuid?.() !== 0) return null;
  if (await exists(entry)) {
    const { uid, gid } = await stat(entry);
    if (uid !== 0) return { uid, gid };
  }
  for (const name of accountNames) {
    const account = await lookUp(name);
    if (account !== null) return account;
  }
  throw new Failure('embedded-postgres-failed', `PostgreSQL does not run as root, and there is no account ${accountNames.join(' or ')} to run it as.`, {
    mend: 'Run as another user, add an account `postgres`, or set DORY_DATABASE_URL to a server of your own.',
  });
}

async function lookUp(name: string): Promise<Account | null> {
  try {
    const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await promisify(execFile)('id', [flag, name])).stdout)));
    return uid === undefined || gid === undefined ? null : { uid, gid };
  } catch {
    // `id` says by its exit code that there is no such account.
    return null;
  }
}

/** Whether `path` and every folder above it let the account pass. Access control lists are not looked at. */
export async function mayReach(account: Account, path: string): Promise<boolean> {
  for (let at = await realpath(path); ; at = dirname(at)) {
    if (!permits(await stat(at), account, 0o1)) return false;
    if (at === dirname(at)) return true;
  }
}

/** Whether a file's mode grants `bits` (4 read, 2 write, 1 execute or pass) to the account. */
export function permits(file: { readonly mode: number; readonly uid: number; readonly gid: number }, account: Account, bits: number): boolean {
  const shift = file.uid === account.uid ? 6 : file.gid === account.gid ? 3 : 0;
  return ((file.mode >> shift) & bits) === bits;
}

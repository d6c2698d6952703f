import { chmod, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A new empty folder that others may pass through, such as the account that runs the database server. */
export async function temporaryFolder(): Promise<{ readonly path: string; remove(): Promise<void> }> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'dory-test-')));
  await chmod(path, 0o711);
  return {
    path,
    remove: async () => {
      await rm(path, { recursive: true, force: true });
    },
  };
}

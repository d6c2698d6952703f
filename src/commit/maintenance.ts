import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '../model/failure.ts';
import { BrokenClone } from './outcome.ts';
import type { Plumbing } from './plumbing.ts';
import type { RepositoryPorts } from './repository.ts';

/** Below this, a new pack costs nothing that can be measured. */
const packsKept = 16;
/** What a killed git left behind; one that lives doesn't take so long. */
const abandonedMs = 3_600_000;

/** Joins small packs; safe beside readers and writers. Never fails: the clone works without, only slower. */
export async function repackIfNeeded(dir: string, git: Plumbing, { clock, log }: RepositoryPorts): Promise<void> {
  const folder = join(dir, 'objects/pack');
  try {
    const names = await readdir(folder);
    if (names.filter((name) => name.endsWith('.pack')).length > packsKept) await git.repack();
    for (const name of names.filter((name) => name.startsWith('tmp_'))) {
      const file = join(folder, name);
      const info = await stat(file).catch(() => null);
      if (info !== null && clock.now() - info.mtimeMs > abandonedMs) await rm(file, { force: true });
    }
  } catch (error) {
    const gone = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!gone && !(error instanceof BrokenClone) && !(error instanceof Failure)) throw error;
    log.warn({ err: error }, 'the clone could not be repacked');
  }
}

import { chmod, mkdir, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { usualPath } from '../../../src/commit/settings.ts';
import { startChild } from '../../support/child.ts';
import { contentsOf, git, gitWorld, request, type GitWorld } from '../../support/git.ts';

let world: GitWorld;
beforeEach(async () => {
  world = await gitWorld();
  await world.open({ dataDir: join(world.folder, 'earlier') }).publish(request(1, { a: '1' }));
});
afterEach(() => world.close());

const expected = { 'clusters/alpha/.dory/change.json': '{"revision":2}', 'clusters/alpha/.dory/owner.json': '{"owner":"owner-1"}', 'clusters/alpha/a': '2', 'clusters/alpha/b': '2' };

/** A git that kills who called it: before a command, in the middle of its input, or after it, with the answer unread. */
async function deadlyGit(command: string, moment: 'before' | 'amid' | 'after'): Promise<string> {
  const bin = join(world.folder, 'bin');
  const work = { before: ':', amid: 'head -c 250 | git "$@" >/dev/null 2>&1', after: 'git "$@" >/dev/null 2>&1' }[moment];
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, 'git'), `#!/bin/sh\nPATH=${usualPath}\nif [ "$1" = ${command} ]; then ${work}; kill -9 $PPID; exit 1; fi\nexec git "$@"\n`);
  await chmod(join(bin, 'git'), 0o755);
  return `${bin}:${usualPath}`;
}

describe('killed', () => {
  const steps: readonly (readonly [string, 'before' | 'amid' | 'after'])[] = [
    ['init', 'before'], ['init', 'after'], ['fetch', 'before'], ['fetch', 'after'], ['diff-tree', 'after'],
    ['fast-import', 'before'], ['fast-import', 'amid'], ['fast-import', 'after'], ['push', 'before'], ['push', 'after'],
  ];
  test.each(steps)('%s %s: the next start ends in the same state', async (command, moment) => {
    // `amid` and `before` of one command stand for all that come in between.
    const child = startChild('publish-child', [JSON.stringify(world.settings({ path: await deadlyGit(command, moment) }))]);
    expect(await child.ended).toEqual({ code: null, signal: 'SIGKILL' });

    const repository = world.open();
    const head = await repository.head();
    expect(head.revision).toBe(command === 'push' && moment === 'after' ? 2 : 1);
    const published = await repository.publish(request(2, { a: '2', b: '2' }));
    expect(published.kind).toBe(head.revision === 2 ? 'unchanged' : 'pushed');
    expect(await contentsOf(world.remote, 'main')).toEqual(expected);
    expect(await git(world.remote, 'rev-list', '--count', 'main')).toBe('2');
  });
});

describe('a clone', () => {
  const damage: Readonly<Record<string, (clone: string) => Promise<unknown>>> = {
    'with stale locks': async (clone) => {
      await writeFile(join(clone, 'refs/dory/next.lock'), '');
      await writeFile(join(clone, 'refs/dory/remote.lock'), '');
    },
    'with a torn pack': async (clone) => {
      const folder = join(clone, 'objects/pack');
      for (const name of (await readdir(folder)).filter((file) => file.endsWith('.pack'))) {
        await chmod(join(folder, name), 0o644);
        await truncate(join(folder, name), Math.floor((await stat(join(folder, name))).size / 2));
      }
    },
    'without its objects': (clone) => rm(join(clone, 'objects'), { recursive: true }),
    'with a ref to nowhere': (clone) => writeFile(join(clone, 'refs/dory/remote'), `${'1'.repeat(40)}\n`),
    'with an unreadable configuration': (clone) => writeFile(join(clone, 'config'), '[core\n'),
    'that is half made': (clone) => rm(join(clone, 'dory-clone')),
    'that is gone': (clone) => rm(clone, { recursive: true }),
  };
  const broken = async (name: string): Promise<void> => {
    const [folder = ''] = (await readdir(join(world.folder, 'data'))).filter((entry) => !entry.includes('discarded'));
    await damage[name]?.(join(world.folder, 'data', folder));
  };

  test.each(Object.keys(damage))('%s is made anew at the next start', async (name) => {
    await world.open().head();
    const before = world.open();
    await before.publish(request(2, { a: 'x' }));
    await broken(name);
    expect(await world.open().publish(request(3, { a: '2', b: '2' }))).toMatchObject({ kind: 'pushed' });
    expect(await contentsOf(world.remote, 'main')).toEqual({ ...expected, 'clusters/alpha/.dory/change.json': '{"revision":3}' });
    expect((await readdir(join(world.folder, 'data'))).length).toBe(1);
  });

  test.each(Object.keys(damage))('%s is made anew while we run, and what others did meanwhile is still noticed', async (name) => {
    const repository = world.open();
    await repository.publish(request(2, { a: 'x' }));
    await (await world.person()).push({ 'clusters/alpha/a': 'by hand' });
    await broken(name);
    expect(await repository.publish(request(3, { b: '2' }))).toMatchObject({ kind: 'diverged', paths: ['clusters/alpha/a'] });
    await repository.head();
    expect(await repository.publish(request(3, { a: '2', b: '2' }))).toMatchObject({ kind: 'pushed' });
    expect(await contentsOf(world.remote, 'main')).toMatchObject({ 'clusters/alpha/a': '2', 'clusters/alpha/b': '2' });
  });

  test('that is gone is made anew by a mere look', async () => {
    const repository = world.open();
    await repository.head();
    await broken('that is gone');
    expect(await repository.head()).toMatchObject({ revision: 1, rewritten: false });
  });

  test('that can not be made is a failure that names its folder', async () => {
    await writeFile(join(world.folder, 'file'), '');
    const dataDir = join(world.folder, 'file', 'data');
    await expect(world.open({ dataDir }).head()).rejects.toMatchObject({ code: 'git-corrupt', mend: expect.stringContaining(dataDir) as string });
  });

  test('that breaks each time is a failure of its own', async () => {
    const path = await deadlyGit('never', 'before');
    await writeFile(join(world.folder, 'bin/git'), `#!/bin/sh\nPATH=${usualPath}\nif [ "$1" = fast-import ]; then echo "fatal: Out of memory" >&2; exit 128; fi\nexec git "$@"\n`);
    await expect(world.open({ path }).publish(request(2, { a: '2' }))).rejects.toMatchObject({ code: 'git-corrupt' });
  });

  test('is repacked after some commits, and nothing is lost', async () => {
    const repository = world.open();
    for (let i = 2; i < 22; i += 1) await repository.publish(request(i, { a: String(i), [`n/${String(i)}`]: String(i) }));
    await repository.maintain();
    const [folder = ''] = await readdir(join(world.folder, 'data'));
    const packs = (await readdir(join(world.folder, 'data', folder, 'objects/pack'))).filter((file) => file.endsWith('.pack'));
    expect(packs.length).toBeLessThan(10);
    await git(join(world.folder, 'data', folder), 'fsck');
    expect(await repository.publish(request(22, { a: '22' }))).toMatchObject({ kind: 'pushed' });
  });
});

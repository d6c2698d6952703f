import { chmod, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import { contentsOf, file, git, gitWorld, request, tree, type GitWorld } from '../../support/git.ts';

let world: GitWorld;
beforeEach(async () => {
  world = await gitWorld();
});
afterEach(() => world.close());

const code = (expected: string) => expect.objectContaining({ name: 'Failure', code: expected }) as Failure;

describe('an empty repository', () => {
  test('gets its branch with the first commit', async () => {
    const repository = world.open();
    expect(await repository.head()).toMatchObject({ commit: null, revision: null, ours: null, foreign: null, rewritten: false });

    const published = await repository.publish(request(1, { 'processors/a.yaml': 'a: 1\n' }));

    expect(published).toMatchObject({ kind: 'pushed', parent: null, attempts: 1 });
    const commit = await git(world.remote, 'rev-parse', 'main');
    expect(published).toMatchObject({ commit });
    expect(await contentsOf(world.remote, 'main')).toEqual({
      'clusters/alpha/.dory/change.json': '{"revision":1}',
      'clusters/alpha/.dory/owner.json': '{"owner":"owner-1"}',
      'clusters/alpha/processors/a.yaml': 'a: 1',
    });
    expect(await git(world.remote, 'log', '--format=%an <%ae> %at %cn <%ce> %ct', 'main')).toBe('dory <dory@localhost> 1790000001 dory <dory@localhost> 1790000001');
    await git(world.remote, 'fsck', '--strict');
  });

  test('is the same commit, whoever writes it', async () => {
    const first = await world.open({ dataDir: join(world.folder, 'one') }).publish(request(1, { a: '1' }));
    await git(world.remote, 'update-ref', '-d', 'refs/heads/main');
    const second = await world.open({ dataDir: join(world.folder, 'two') }).publish(request(1, { a: '1' }));
    expect(second).toEqual(first);
  });

  test('takes the first commit in parts where it is large', async () => {
    const content = 'x'.repeat(3 * 2 ** 20);
    const files = Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`processors/${String(i)}.yaml`, `${String(i)}${content}`]));
    const published = await world.open().publish(request(1, files));
    expect(published.kind).toBe('pushed');
    const listed = await git(world.remote, 'ls-tree', '-r', '--format=%(objectname) %(path)', 'main');
    for (const { path, blob } of tree(1, files)) expect(listed).toContain(`${String(blob)} ${path}`);
  });
});

describe('a commit', () => {
  test('changes exactly the files that differ', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1', b: '1', c: '1' }));
    const second = await repository.publish(request(2, { a: '1', b: '2', c: null, 'd/e': '2' }));
    expect(second).toMatchObject({ kind: 'pushed' });
    expect((await git(world.remote, 'diff-tree', '-r', '--name-status', 'main~1', 'main')).split('\n')).toEqual([
      'M\tclusters/alpha/.dory/change.json', 'M\tclusters/alpha/b', 'D\tclusters/alpha/c', 'A\tclusters/alpha/d/e',
    ]);
    expect((await repository.head()).files).toEqual((await world.open({ dataDir: join(world.folder, 'other') }).head()).files);
  });

  test('is not made where nothing differs', async () => {
    const repository = world.open();
    const first = await repository.publish(request(1, { a: '1' }));
    expect(await repository.publish(request(1, { a: '1' }))).toEqual({ kind: 'unchanged', commit: first.kind === 'pushed' ? first.commit : '' });
    expect(await git(world.remote, 'rev-list', '--count', 'main')).toBe('1');
  });

  test('never leaves our folder, and writes only names without surprises', async () => {
    const repository = world.open();
    for (const path of ['README.md', 'clusters/beta/a', 'clusters/alpha/../beta/a', 'clusters/alpha/.git/config', 'clusters/alpha/a b', 'clusters/alpha/a\nb', 'clusters/alpha//a']) {
      await expect(repository.publish(request(1, {}, { files: [file(path, 'x')] }))).rejects.toThrow('no path of ours');
    }
    expect(await git(world.remote, 'branch')).toBe('');
  });

  test('is not pushed by one who no longer leads', async () => {
    const leaderCheck = () => Promise.reject(new Failure('not-leader', 'no'));
    await expect(world.open().publish(request(1, { a: '1' }, { leaderCheck }))).rejects.toEqual(code('not-leader'));
    expect(await git(world.remote, 'branch')).toBe('');
  });
});

describe('people', () => {
  test("keep what they wrote outside of our folder, and we write on top of it", async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    const theirs = await (await world.person()).push({ 'README.md': 'hello', 'clusters/beta/x': 'theirs' });
    let checks = 0;
      const leaderCheck = () => {
      checks += 1;
      return Promise.resolve();
    };

    const published = await repository.publish(request(2, { a: '2' }, { leaderCheck }));

    expect(published).toMatchObject({ kind: 'pushed', parent: theirs, attempts: 2 });
    expect(checks).toBe(2);
    expect(await contentsOf(world.remote, 'main')).toMatchObject({ 'README.md': 'hello', 'clusters/beta/x': 'theirs', 'clusters/alpha/a': '2' });
    expect(await git(world.remote, 'rev-list', '--merges', '--count', 'main')).toBe('0');
  });

  test('who edit our folder are noticed, named, and not overwritten unseen', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1', b: '1' }));
    const theirs = await (await world.person()).push({ 'clusters/alpha/a': 'by hand', 'clusters/alpha/new': 'by hand' });

    const diverged = await repository.publish(request(2, { b: '2' }));
    expect(diverged).toMatchObject({ kind: 'diverged', head: theirs, paths: ['clusters/alpha/a', 'clusters/alpha/new'], edits: [{ commit: theirs, author: 'Ada <ada@example.org>' }] });
    // As long as nobody looked, it stays so.
    expect((await repository.publish(request(2, { b: '2' }))).kind).toBe('diverged');

    const head = await repository.head();
    expect(head).toMatchObject({ commit: theirs, revision: 1, foreign: { paths: ['clusters/alpha/a', 'clusters/alpha/new'], commits: [{ commit: theirs }] } });
    expect(await repository.publish(request(2, { a: '1', b: '2', new: null }))).toMatchObject({ kind: 'pushed', parent: theirs });
    expect(await repository.head()).toMatchObject({ revision: 2, foreign: null });
    expect(Object.keys(await contentsOf(world.remote, 'main'))).not.toContain('clusters/alpha/new');
  });

  test('who revert a commit of ours are seen as such', async () => {
    const repository = world.open();
    const first = await repository.publish(request(1, { a: '1' }));
    const second = await repository.publish(request(2, { a: '2' }));
    const person = await world.person();
    await person.git('revert', '--no-edit', 'HEAD');
    await person.git('push', '--quiet', 'origin', 'HEAD:main');

    const head = await repository.head();
    expect(first.kind).toBe('pushed');
    expect(head).toMatchObject({ revision: 1, ours: { revision: 2, commit: second.kind === 'pushed' ? second.commit : '' } });
    expect(head.foreign?.paths).toEqual(['clusters/alpha/.dory/change.json', 'clusters/alpha/a']);
  });

  test('who amend a commit of ours, text and trailers and all, have written it', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    await repository.publish(request(2, { a: '2' }));
    const person = await world.person();
    await person.git('rm', '--quiet', 'clusters/alpha/a');
    await person.git('commit', '--quiet', '--amend', '--no-edit');
    await person.git('push', '--quiet', '--force', 'origin', 'HEAD:main');

    const head = await repository.head();
    expect(head).toMatchObject({ rewritten: true, revision: 2, ours: { revision: 1 }, foreign: { commits: [{ revision: '2' }] } });
    expect(head.foreign?.paths).toEqual(['clusters/alpha/.dory/change.json', 'clusters/alpha/a']);
  });

  test('who give our files another mode, or odd names, are noticed and undone', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    const person = await world.person();
    await person.git('update-index', '--chmod=+x', 'clusters/alpha/a');
    await person.git('commit', '--quiet', '--message', 'chmod');
    await person.git('push', '--quiet', 'origin', 'HEAD:main');
    await person.push({ 'clusters/alpha/naïve "name"\n': 'x' });

    const { files } = await repository.head();
    const added = [...files.keys()].filter((path) => path.includes('name'));
    expect(files.get('clusters/alpha/a')).toMatch(/^100755:/);
    await repository.publish(request(2, { a: '1' }, { files: [...tree(2, { a: '1' }), ...added.map((path) => file(path, null))] }));
    expect(await git(world.remote, 'ls-tree', '-r', '--format=%(objectmode) %(path)', 'main', 'clusters/alpha/a')).toBe('100644 clusters/alpha/a');
    expect(Object.keys(await contentsOf(world.remote, 'main')).sort()).toEqual(['clusters/alpha/.dory/change.json', 'clusters/alpha/.dory/owner.json', 'clusters/alpha/a']);
  });

  test('who put a file where our folder was are undone', async () => {
    const repository = world.open();
    await repository.publish(request(1, { 'x/a': '1' }));
    await (await world.person()).push({ 'clusters/alpha/x': null });
    await (await world.person()).push({ 'clusters/alpha/x': 'a file' });
    await repository.head();
    await repository.publish(request(2, { x: null, 'x/a': '1' }));
    expect(await contentsOf(world.remote, 'main')).toMatchObject({ 'clusters/alpha/x/a': '1' });
  });
});

describe('two writers', () => {
  test('on one branch both arrive, one after the other, whatever happens', async () => {
    const alpha = world.open();
    const beta = world.open({ cluster: 'beta', owner: 'owner-2', dataDir: join(world.folder, 'beta') });
    const betas = (revision: number) => [file('clusters/beta/.dory/owner.json', '{"owner":"owner-2"}'), file('clusters/beta/n', String(revision))];
    for (let revision = 1; revision <= 5; revision += 1) {
      const results = await Promise.all([
        alpha.publish(request(revision, { n: String(revision) })),
        beta.publish(request(revision, {}, { files: betas(revision), message: `x\n\nDory-Cluster: beta\nDory-Revision: ${String(revision)}\n` })),
      ]);
      expect(results.map(({ kind }) => kind)).toEqual(['pushed', 'pushed']);
    }
    expect(await git(world.remote, 'rev-list', '--count', 'main')).toBe('10');
    expect(await contentsOf(world.remote, 'main')).toMatchObject({ 'clusters/alpha/n': '5', 'clusters/beta/n': '5' });
  });

  test('of the same revision make one commit', async () => {
    const one = world.open();
    const two = world.open({ dataDir: join(world.folder, 'two') });
    await one.publish(request(1, { a: '1' }));
    await two.head();
    const results = await Promise.all([one.publish(request(2, { a: '2' })), two.publish(request(2, { a: '2' }))]);
    expect(results.some(({ kind }) => kind === 'pushed')).toBe(true);
    expect(await git(world.remote, 'rev-list', '--count', 'main')).toBe('2');
  });

  test('give up after a bounded number of rounds', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    const person = await world.person();
    let n = 0;
    const leaderCheck = async (): Promise<void> => {
      await person.push({ 'README.md': String((n += 1)) });
    };
    await expect(repository.publish(request(2, { a: '2' }, { leaderCheck }))).rejects.toEqual(code('git-rejected'));
    expect(n).toBe(8);
  });

  test('the slower finds its own push that seemed lost', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    // The other instance pushes what this one believes to have failed.
    const twin = world.open({ dataDir: join(world.folder, 'twin') });
    await twin.publish(request(2, { a: '2' }));
    expect(await repository.publish(request(3, { a: '2', b: '3' }))).toMatchObject({ kind: 'pushed', attempts: 2 });
    expect(await git(world.remote, 'log', '--format=%(trailers:key=Dory-Revision,valueonly)', 'main')).toBe('3\n\n2\n\n1');
  });
});

describe('a remote', () => {
  test('that is down is unreachable, and takes everything when it is back', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    await rename(world.remote, `${world.remote}.away`);
    await expect(repository.publish(request(2, { a: '2' }))).rejects.toEqual(code('git-unreachable'));
    await expect(repository.head()).rejects.toEqual(code('git-unreachable'));
    await rename(`${world.remote}.away`, world.remote);
    expect(await repository.publish(request(2, { a: '2' }))).toMatchObject({ kind: 'pushed' });
  });

  test('that never answers is given up, and nothing of it is left running', async () => {
    const hook = join(world.remote, 'hooks/pre-receive');
    await writeFile(hook, '#!/bin/sh\necho $$ > "$GIT_DIR/hanging"\nexec sleep 600\n');
    await chmod(hook, 0o755);
    let pid = '';
    // On a busy machine what comes before the hook may take longer than the limit: then another one.
    for (let network = millis(400); pid === ''; network = millis(network * 4)) {
      const repository = world.open({ dataDir: join(world.folder, String(network)), timeouts: { local: seconds(120), network } });
      await expect(repository.publish(request(1, { a: '1' }))).rejects.toEqual(code('git-unreachable'));
      pid = (await readFile(join(world.remote, 'hanging'), 'utf8').catch(() => '')).trim();
    }
    // Ended, or ended and not yet collected by whoever adopted it.
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).toBe('');
  });

  test('whose hook says no refuses, in its own words made plain', async () => {
    const hook = join(world.remote, 'hooks/pre-receive');
    await writeFile(hook, '#!/bin/sh\nprintf "policy \\033[31mB-7\\033[0m forbids this\\n" >&2\nexit 1\n');
    await chmod(hook, 0o755);
    const failure = await world.open().publish(request(1, { a: '1' })).catch((error: unknown) => error);
    expect(failure).toEqual(code('git-refused'));
    expect((failure as Failure).mend).toContain('B-7');
    expect((failure as Failure).mend).not.toContain('\u001b');
  });

  test('whose branch was deleted, recreated or rewritten is followed', async () => {
    const repository = world.open();
    await repository.publish(request(1, { a: '1' }));
    await repository.publish(request(2, { a: '2' }));
    await git(world.remote, 'update-ref', 'refs/heads/main', 'main~1');
    expect(await repository.publish(request(3, { b: '3' }))).toMatchObject({ kind: 'diverged', paths: ['clusters/alpha/.dory/change.json', 'clusters/alpha/a'] });
    expect(await repository.head()).toMatchObject({ revision: 1, rewritten: true });
    await git(world.remote, 'update-ref', '-d', 'refs/heads/main');
    expect(await repository.head()).toMatchObject({ commit: null, revision: null, rewritten: true });
    expect(await repository.publish(request(3, { a: '2', b: '3' }))).toMatchObject({ kind: 'pushed', parent: null });
    expect(await repository.head()).toMatchObject({ revision: 3, rewritten: false });
  });

  test("with another owner's folder, or unknown files in ours, is refused", async () => {
    await world.open({ dataDir: join(world.folder, 'first') }).publish(request(1, { a: '1' }));
    const second = world.open({ owner: 'owner-2' });
    await expect(second.head()).rejects.toEqual(code('git-foreign-folder'));
    await expect(second.publish(request(1, {}, { files: tree(1, { a: '2' }, 'owner-2') }))).rejects.toEqual(code('git-foreign-folder'));
    await (await world.person()).push({ 'clusters/gamma/x': 'not ours' });
    await expect(world.open({ cluster: 'gamma' }).head()).rejects.toEqual(code('git-foreign-folder'));
  });
});

test('what was committed can be read again, byte for byte', async () => {
  const repository = world.open();
  const binary = file('clusters/alpha/bin', 'line\r\n\0end');
  const published = await repository.publish(request(1, {}, { files: [...tree(1, { a: '1' }), binary] }));
  const files = await repository.readFiles(published.kind === 'pushed' ? published.commit : '');
  expect([...files].map(([path, bytes]) => [path, Buffer.from(bytes).toString()]).sort()).toEqual([
    ['clusters/alpha/.dory/change.json', '{"revision":1}'], ['clusters/alpha/.dory/owner.json', '{"owner":"owner-1"}'], ['clusters/alpha/a', '1'], ['clusters/alpha/bin', 'line\r\n\0end'],
  ]);
});

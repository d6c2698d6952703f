import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { freshForAnHour, seedExampleFleet } from '../../support/seed-database.ts';
import { workshop, type Workshop } from './program.ts';

/** The example fleet, placed and committed; nothing in this file changes it, but for `verify`, which has its own. */
let shop: Workshop;
beforeAll(async () => {
  shop = await workshop();
  await seedExampleFleet(shop.pool, freshForAnHour());
  expect((await shop.dory('reconcile', '--once')).code).toBe(0);
});
afterAll(() => shop.close());

async function committed({ git }: Workshop, revision = 'main'): Promise<Map<string, string>> {
  const paths = (await git('ls-tree', '-r', '--name-only', revision)).trim().split('\n');
  return new Map(await Promise.all(paths.map(async (path) => [path, await git('show', `${revision}:${path}`)] as const)));
}

async function written(folder: string): Promise<Map<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(await Promise.all(files.map(async (file) => [file.slice(folder.length + 1), await readFile(file, 'utf8')] as const)));
}

const sorted = (files: ReadonlyMap<string, string>): [string, string][] => [...files].sort(([a], [b]) => (a < b ? -1 : 1));

describe('render', () => {
  it('--out writes the committed tree, byte for byte, and nothing else', async () => {
    const out = join(shop.folder, 'manifests');
    expect((await shop.dory('render', '--out', out)).code).toBe(0);
    await writeFile(join(out, 'clusters/test/processors/of-yesterday.yaml'), 'old: true\n');
    await writeFile(join(out, 'NOTES.md'), 'mine\n');
    expect(await shop.here('render', '--out', 'manifests')).toMatchObject({ code: 0, err: '' });
    const files = await written(out);
    expect(files.get('NOTES.md')).toBe('mine\n');
    files.delete('NOTES.md');
    expect(sorted(files)).toEqual(sorted(await committed(shop)));
  });

  it('prints YAML that kubectl takes: one document an object', async () => {
    const { code, out } = await shop.here('render');
    expect(code).toBe(0);
    const objects = parseAllDocuments(out).map((document) => document.toJS() as { kind?: string } | null);
    expect(objects.filter((object) => object?.kind === 'StatefulSet')).toHaveLength(26);
    expect(objects.every((object) => object !== null && typeof object.kind === 'string')).toBe(true);
  });

  it('--fleet writes what a database with that fleet would hold, without one', async () => {
    const out = join(shop.folder, 'from-file');
    const fleet = join(packageRoot(), 'config/fleet.example.yaml');
    expect((await shop.here('render', '--fleet', fleet, '--out', out, '--config-db', 'postgresql://nobody@127.0.0.1:1/none')).code).toBe(0);
    const manifests = (files: ReadonlyMap<string, string>): string[] => [...files.keys()].filter((path) => path.includes('/processors/')).sort();
    expect(manifests(await written(out))).toEqual(manifests(await committed(shop)));
  });

  it('--verify finds every byte as rendered, also under a person\'s commit', async () => {
    const clone = join(shop.folder, 'person');
    await shop.git('clone', '--quiet', shop.remote, clone);
    const path = [...(await committed(shop)).keys()].find((name) => name.includes('/processors/') && name.endsWith('.yaml')) ?? '';
    await writeFile(join(clone, path), 'edited: by a person\n');
    await shop.git('-C', clone, '-c', 'user.name=Ada', '-c', 'user.email=ada@example.com', 'commit', '--quiet', '--all', '--message', 'Tinker');
    await shop.git('-C', clone, 'push', '--quiet');
    const { code, out, err } = await shop.dory('render', '--verify');
    await shop.git('update-ref', 'refs/heads/main', 'main~1');
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(out).toMatch(/^commit [0-9a-f]{12}, revision 1: \d+ files, every byte as rendered/);
  });
});

describe('render --verify, where the commit is not what its inputs say', () => {
  let small: Workshop;
  beforeAll(async () => {
    small = await workshop();
    await seedSmallFleet(small.pool);
    await small.here('reconcile', '--once');
  });
  afterAll(() => small.close());

  it('names the first byte that differs, and ends with 1', async () => {
    await small.pool.query(`update dory.workloads set body = jsonb_set(body, '{image}', '"registry.example.com/camera:9.9.9"')`);
    const { code, out, err } = await small.here('render', '--verify');
    expect({ code, out }).toEqual({ code: 1, out: '' });
    const [, path = '', at = '', line = '', inCommit = '""'] = /^(\S+): byte (\d+) \(line (\d+)\): ("(?:[^"\\]|\\.)*") in the commit/.exec(err) ?? [];
    const file = Buffer.from((await committed(small)).get(path) ?? '');
    const found = JSON.parse(inCommit) as string;
    expect(found).toMatch(/^1\.0\.0/);
    expect(file.subarray(Number(at)).toString().startsWith(found)).toBe(true);
    expect(file.subarray(0, Number(at)).toString().split('\n')).toHaveLength(Number(line));
    expect(err).toMatch(/, revision 1: 3 of \d+ files are not as rendered\n$/);
  });

  it('ends with 1 where there is nothing of ours', async () => {
    await small.git('update-ref', '-d', 'refs/heads/main');
    const { code, err } = await small.here('render', '--verify');
    expect(code).toBe(1);
    expect(err).toContain('dory reconcile');
  });
});

describe('history', () => {
  interface Entry { readonly revision: number; readonly processor: string; readonly event: string; readonly epoch: number; readonly commit: string; readonly reason: string }
  const read = async (...args: string[]): Promise<readonly Entry[]> => JSON.parse((await shop.here('history', ...args, '-o', 'json')).out) as Entry[];
  let ids: readonly string[];
  beforeAll(async () => {
    ids = (await shop.pool.query<{ id: string }>('select id from processors order by id')).rows.map(({ id }) => id);
  });

  it('finds a processor by its id, the beginning of its id, and the name of its file', async () => {
    const [id = ''] = ids;
    const expected = await read(id);
    expect(expected).toMatchObject([{ revision: 1, event: 'place', epoch: 1, reason: 'first-placement', commit: (await shop.git('rev-parse', 'main')).trim() }]);
    let length = 1;
    while (ids.filter((other) => other.startsWith(id.slice(0, length))).length > 1) length += 1;
    expect(await read(id.slice(0, length))).toEqual(expected);
    expect(await read(id.toUpperCase())).toEqual(expected);
    const { rows } = await shop.pool.query<{ hash: string }>(`select left(encode(sha256($1::text::bytea), 'hex'), 12) as hash`, [id]);
    const file = [...(await committed(shop)).keys()].find((path) => path.endsWith(`-${rows[0]?.hash ?? '?'}.yaml`)) ?? '';
    expect(await read(file.replace(/.*\/|\.yaml$/g, ''))).toEqual(expected);
  });

  it.each<readonly [string, string, string]>([
    ['more than one', 'line-counter', 'more than one'],
    ['none', 'ffffffff-ffff', 'No processor'],
    ['none, whatever the database would make of it', '%', 'No processor'],
  ])('that matches %s ends with 1', async (_what, text, said) => {
    const { code, err } = await shop.here('history', text);
    expect(code).toBe(1);
    expect(err).toContain(said);
    expect(err).toContain(text);
  });

  it('shows the newest changes of all, no more than asked for', async () => {
    expect(await read()).toHaveLength(26);
    expect(await read('--limit', '3')).toHaveLength(3);
    expect((await shop.here('history', '--limit', '1', '-o', 'wide')).out).toMatch(/^REVISION +SINCE +PROCESSOR +EVENT +TARGET +EPOCH +COMMIT +LIVE AFTER +REASON +CYCLE +WHY\n/);
  });
});

describe('status', () => {
  it('tells the same as a table, as JSON and as YAML', async () => {
    const [page, json, yaml] = await Promise.all([shop.dory('status', '-o', 'wide'), shop.here('status', '-o', 'json'), shop.here('status', '-o', 'yaml')]);
    expect([page.code, json.code, yaml.code]).toEqual([0, 0, 0]);
    const head = (await shop.git('rev-parse', 'main')).trim();
    const status = { revision: 1, pending: 0, commit: head, leader: null, processors: { desired: 26, placed: 26, managed: 5 }, changes: 0, holds: [], refusals: [], quarantined: [] };
    expect(JSON.parse(json.out)).toMatchObject(status);
    expect(parse(yaml.out)).toMatchObject(status);
    expect(page.out).toContain(head.slice(0, 12));
    expect(page.out).toContain('26 desired, 26 placed, 5 of them managed');
    expect(page.out).toMatch(/^NODE +VERDICT +FOR +PROCESSORS +WHY$/m);
    expect(page.out).toMatch(/^harbor-edge-1 +healthy +\S+( \S+)* +5 +/m);
  });
});

describe('settings', () => {
  it('go environment over flags over file over defaults', async () => {
    const file = join(shop.folder, 'settings.yaml');
    await writeFile(file, 'cluster: from-file\nnamespace: from-file\n');
    const fleet = join(packageRoot(), 'config/fleet.example.yaml');
    const { out } = await shop.here('render', '--fleet', fleet, '--config', file, '--cluster', 'from-flag', '--namespace', 'from-flag');
    // The environment of these tests names the cluster.
    expect(out).toContain('# clusters/test/');
    expect(out).toContain('namespace: from-flag');
    expect(out).not.toContain('from-file');
  });
});

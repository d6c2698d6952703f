import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { keyOf, type DesiredEntry, type DesiredTree } from '../../../src/apply/objects.ts';
import { createSystemObjects, type SystemObjects } from '../../../src/apply/system-objects.ts';
import type { Digest, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let database: TestDatabase;
beforeAll(async () => { database = await testDatabase(); });
afterAll(() => database.close());
beforeEach(() => database.pool.query('truncate dory.system_objects restart identity'));

const ours = (leading: () => Promise<void> = () => Promise.resolve()): SystemObjects => createSystemObjects(database.pool, leading);
const entry = (name: string, file = `system/${name}`, processorId: ProcessorId | null = null): DesiredEntry =>
  ({ ref: { apiVersion: 'v1', kind: 'ServiceAccount', namespace: 'harbor', name }, path: `clusters/test/${file}.yaml`, digest: 'd' as Digest, processorId, epoch: null, revision: null, blob: 'b', place: 0 });
const tree = (...entries: readonly DesiredEntry[]): DesiredTree => ({ commit: 'c', revision: 1 as RevisionId, objects: new Map(entries.map((each) => [keyOf(each.ref), each])) });
const rows = async (): Promise<readonly unknown[]> => (await database.pool.query<Readonly<Record<string, unknown>>>('select *, xmin::text from dory.system_objects order by place')).rows;
const names = async (of: SystemObjects): Promise<readonly string[]> => (await of.all()).map(({ ref, path }) => `${ref.name} ${path.split('/').at(-1) ?? ''}`);

test('what a tree has of the system is known to the next process, the newest first, and written once', async () => {
  const first = ours();
  await first.expect(tree(entry('a'), entry('b'), entry('c', 'processors/c'), entry('d', 'system/d', '00000000-0000-4000-8000-0000000000c1' as ProcessorId)));
  expect(await names(first)).toEqual(['b b.yaml', 'a a.yaml']);
  const before = await rows();
  await first.expect(tree(entry('a'), entry('b')));
  await ours().expect(tree(entry('b'), entry('a')));
  expect(await rows()).toEqual(before);
  await first.expect(tree(entry('a', 'system/moved'), entry('e')));
  expect(await names(ours())).toEqual(['e e.yaml', 'b b.yaml', 'a moved.yaml']);
});

test('what is gone is forgotten by all, and what another instance wrote is seen when asked for', async () => {
  const [one, other] = [ours(), ours()];
  await one.expect(tree(entry('a'), entry('b')));
  expect(await names(other)).toEqual(['b b.yaml', 'a a.yaml']);
  await one.drop([keyOf(entry('a').ref)]);
  expect([await names(one), await names(ours())]).toEqual([['b b.yaml'], ['b b.yaml']]);
  other.forget();
  expect(await names(other)).toEqual(['b b.yaml']);
  // What is wanted again comes back.
  await one.expect(tree(entry('a'), entry('b')));
  expect(await names(one)).toEqual(['a a.yaml', 'b b.yaml']);
});

test('whoever leads no more writes nothing, and nothing asks for the lead where nothing is to be written', async () => {
  await ours().expect(tree(entry('a')));
  const deposed = ours(() => Promise.reject(new Error('deposed')));
  await deposed.expect(tree(entry('a')));
  await deposed.drop([]);
  await expect(deposed.expect(tree(entry('a'), entry('b')))).rejects.toThrow('deposed');
  await expect(deposed.drop([keyOf(entry('a').ref)])).rejects.toThrow('deposed');
  expect(await names(deposed)).toEqual(['a a.yaml']);
  expect(await rows()).toHaveLength(1);
});

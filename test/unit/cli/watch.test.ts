import { describe, expect, it } from 'vitest';
import { watchList, watchPage, type Watch } from '../../../src/cli/watch.ts';
import { hurryingClock } from '../../support/clock.ts';

interface Item {
  readonly id: string;
  readonly verdict: string;
  readonly age: number;
}

const columns = [{ header: 'ID', of: ({ id }: Item) => id }, { header: 'VERDICT', of: ({ verdict }: Item) => verdict }, { header: 'AGE', of: ({ age }: Item) => String(age) }];
const list = { key: ({ id }: Item) => id, state: ({ verdict }: Item) => verdict, columns, format: 'table' as const };

/** Looks once at each of these, and is told to stop at the last one. */
function looking<T>(seen: readonly T[]): { readonly watch: Watch; readonly look: () => Promise<T>; readonly told: string[] } {
  const stop = new AbortController();
  const told: string[] = [];
  let i = 0;
  const look = (): Promise<T> => {
    if (i === seen.length - 1) stop.abort();
    return Promise.resolve(seen[i++] as T);
  };
  return { watch: { clock: hurryingClock(), signal: stop.signal, out: (text) => told.push(text) }, look, told };
}

const item = (id: string, verdict: string, age = 0): Item => ({ id, verdict, age });

describe('-w on a list', () => {
  it('prints the list, then what is new or has changed; that time passes is no change', async () => {
    const { watch, look, told } = looking<readonly Item[]>([
      [item('a', 'healthy'), item('b', 'healthy')],
      [item('a', 'healthy', 2), item('b', 'healthy', 2)],
      [item('a', 'lost', 4), item('b', 'healthy', 4)],
      [item('a', 'lost', 6), item('b', 'healthy', 6), item('c', 'unknown')],
    ]);
    await watchList(watch, look, list);
    expect(told.map((text) => text.trim().split('\n').map((line) => line.split(/ +/).join(' ')))).toEqual([
      ['ID VERDICT AGE', 'a healthy 0', 'b healthy 0'], ['a lost 4'], ['c unknown 0'],
    ]);
  });

  it('says again what was gone and is back', async () => {
    const { watch, look, told } = looking<readonly Item[]>([[item('a', 'healthy')], [], [item('a', 'healthy')]]);
    await watchList(watch, look, list);
    expect(told).toHaveLength(2);
  });

  it('puts the newest at the end, where a list has it first', async () => {
    const { watch, look, told } = looking<readonly Item[]>([[item('2', 'x'), item('1', 'x')], [item('4', 'x'), item('3', 'x'), item('2', 'x')]]);
    await watchList(watch, look, { ...list, newestFirst: true, format: 'json' });
    expect(told.join('').trim().split('\n').map((line) => (JSON.parse(line) as Item).id)).toEqual(['1', '2', '3', '4']);
  });

  it('is a stream of documents in YAML', async () => {
    const { watch, look, told } = looking<readonly Item[]>([[item('1', 'x'), item('2', 'y')]]);
    await watchList(watch, look, { ...list, format: 'yaml' });
    expect(told.join('').match(/^---$/gm)).toHaveLength(2);
  });
});

it('-w on a page prints it again when it changes', async () => {
  const { watch, look, told } = looking([{ n: 1, at: 1 }, { n: 1, at: 2 }, { n: 2, at: 3 }]);
  await watchPage(watch, look, { watched: ({ n }) => n, print: ({ n }) => String(n) });
  expect(told).toEqual(['1', '2']);
});

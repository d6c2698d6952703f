import { expect, test } from 'vitest';
import { openAllowance } from '../../../src/apply/allowance.ts';
import { keyOf, type LiveObject } from '../../../src/apply/objects.ts';
import { seconds } from '../../../src/model/time.ts';

const live = (name: string): LiveObject => ({ ref: { apiVersion: 'apps/v1', kind: 'StatefulSet', namespace: 'default', name }, uid: `uid-${name}`, resourceVersion: '1', processorId: null, epoch: null, revision: null, owned: null, managers: [], trackedBy: null, terminating: false });
const keys = (...names: readonly string[]): ReadonlySet<string> => new Set(names.map((name) => keyOf(live(name).ref)));

function world({ objects = 10, share = 0.1, floor = 2, before = keys() }: { readonly objects?: number; readonly share?: number; readonly floor?: number; readonly before?: ReadonlySet<string> } = {}) {
  const spent: string[] = [];
  let reads = 0;
  const allowance = openAllowance({
    store: {
      spent: () => Promise.resolve(before).finally(() => { reads += 1; }),
      spend: (lives, cycle, because) => {
        spent.push(...lives.map(({ ref }) => [ref.name, cycle, because].join(' ')));
        return Promise.resolve();
      },
    },
    inventory: { objects: new Map(Array.from({ length: objects }, (_, n) => [String(n), live(String(n))])) },
    rules: { share, floor, window: seconds(300) },
    cycle: 'c1',
  });
  return { allowance, spent, reads: () => reads };
}

test('of many that ask at once no more are let through than the budget has, each written down; and what was begun may be tried again', async () => {
  const { allowance, spent, reads } = world({ floor: 3, before: keys('begun') });
  const answers = await Promise.all(['a', 'b', 'c', 'begun', 'a'].map((name) => allowance.claim(live(name))));
  expect(answers).toEqual([true, true, false, true, true]);
  expect([spent, await allowance.left(), reads()]).toEqual([['a c1 immutable', 'b c1 immutable'], 0, 1]);
});

test('what is pruned and what is made anew share it', async () => {
  const { allowance, spent } = world({ objects: 40 });
  await allowance.spend([live('a'), live('b'), live('c')]);
  expect(await allowance.left()).toBe(1);
  expect([await allowance.claim(live('d')), await allowance.claim(live('e'))]).toEqual([true, false]);
  expect(spent).toEqual(['a c1 ', 'b c1 ', 'c c1 ', 'd c1 immutable']);
});

test.each([[10, 0.1, 2, 2], [40, 0.1, 2, 4], [45, 0.1, 2, 4], [0, 1, 1, 1]])('of %i objects, %d or %i, it is %i', async (objects, share, floor, left) => {
  expect(await world({ objects, share, floor }).allowance.left()).toBe(left);
});

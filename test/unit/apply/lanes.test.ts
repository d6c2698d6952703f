import { describe, expect, test } from 'vitest';
import { runInLanes, type LanesOptions, type Step } from '../../../src/apply/lanes.ts';
import { millis } from '../../../src/model/time.ts';
import { manualClock } from '../../support/clock.ts';

interface Item {
  readonly name: string;
}
const items = (count: number, from = 0): Item[] => Array.from({ length: count }, (_, n) => ({ name: String(from + n) }));
/** Batches, one after another. */
const batches = (...given: readonly (readonly Item[])[]): LanesOptions<Item, string>['more'] => {
  const left = [...given];
  return () => Promise.resolve(left.shift() ?? null);
};

function options(of: readonly Item[], more: Partial<LanesOptions<Item, string>>): LanesOptions<Item, string> {
  return {
    clock: manualClock(), signal: new AbortController().signal, limit: () => 2, pausedUntil: () => millis(0),
    more: batches(of), work: ({ name }) => Promise.resolve({ done: name }), onDone: () => undefined, ...more,
  };
}

describe('work in lanes', () => {
  test('is done in order, so many at once, and all of it', async () => {
    const ended: string[] = [];
    let most = 0;
    let now = 0;
    const left = await runInLanes(options(items(9), {
      limit: () => 3,
      work: async ({ name }) => {
        now += 1;
        most = Math.max(most, now);
        await Promise.resolve();
        now -= 1;
        return { done: name };
      },
      onDone: (_, name) => ended.push(name),
    }));
    expect(left).toEqual([]);
    expect(ended).toEqual(items(9).map(({ name }) => name));
    expect(most).toBe(3);
    expect(await runInLanes(options([], {}))).toEqual([]);
  });

  test('what waits for another try holds no lane', async () => {
    const clock = manualClock();
    const ended: string[] = [];
    let tried = 0;
    const run = runInLanes(options(items(4), {
      clock, limit: () => 1,
      work: ({ name }): Promise<Step<string>> => Promise.resolve(name === '0' && (tried += 1) < 3 ? { again: millis(100) } : { done: name }),
      onDone: (_, name) => ended.push(name),
    }));
    await clock.asleep();
    expect(ended).toEqual(['1', '2', '3']);
    clock.advance(millis(100));
    await clock.asleep();
    clock.advance(millis(100));
    await run;
    expect(ended).toEqual(['1', '2', '3', '0']);
  });

  test('nothing begins during a pause', async () => {
    const clock = manualClock();
    let begun = 0;
    const run = runInLanes(options(items(3), { clock, pausedUntil: () => millis(500), work: ({ name }) => {
      begun += 1;
      return Promise.resolve({ done: name });
    } }));
    await clock.asleep();
    clock.advance(millis(499));
    await clock.asleep();
    expect(begun).toBe(0);
    clock.advance(millis(1));
    await run;
    expect(begun).toBe(3);
  });

  test('an abort ends waits and pauses, and awaits what is under way', async () => {
    const clock = manualClock();
    const stop = new AbortController();
    let finish: (() => void) | undefined;
    const ended: string[] = [];
    const run = runInLanes(options(items(4), {
      clock, signal: stop.signal,
      work: ({ name }): Promise<Step<string>> => (name === '0' ? Promise.resolve({ again: millis(1e9) }) : new Promise((resolve) => { finish = () => { resolve({ done: name }); }; })),
      onDone: (_, name) => ended.push(name),
      limit: () => 1,
    }));
    await new Promise(setImmediate);
    stop.abort();
    finish?.();
    expect((await run).map(({ name }) => name)).toEqual(['0', '2', '3']);
    expect(ended).toEqual(['1']);
    // Nothing is taken any more.
    expect(await runInLanes(options(items(2), { signal: stop.signal }))).toEqual([]);
  });

  test('an error begins nothing more, and is told when the rest has ended', async () => {
    const ended: string[] = [];
    const run = runInLanes(options(items(5), {
      work: async ({ name }) => {
        if (name === '0') throw new Error('no');
        await new Promise(setImmediate);
        return { done: name };
      },
      onDone: (_, name) => ended.push(name),
    }));
    await expect(run).rejects.toThrow('no');
    expect(ended).toEqual(['1']);
  });

  test('the end of a batch holds up nothing: the next one is asked for while there is something to do', async () => {
    const ended: string[] = [];
    let finish = (): void => undefined;
    const slow = new Promise<Step<string>>((resolve) => { finish = () => { resolve({ done: 'slow' }); }; });
    const run = runInLanes(options([], {
      limit: () => 3,
      more: batches([...items(5), { name: 'slow' }], items(5, 5), [], items(5, 10)),
      work: ({ name }) => (name === 'slow' ? slow : Promise.resolve({ done: name })),
      onDone: (_, name) => {
        ended.push(name);
        if (ended.length === 15) finish();
      },
    }));
    expect(await run).toEqual([]);
    expect(ended).toEqual([...items(15).map(({ name }) => name), 'slow']);
  });

  test('no more is taken than is needed soon, and none while very many wait for another try', async () => {
    const clock = manualClock();
    let taken = 0;
    let worked = 0;
    const take: LanesOptions<Item, string>['more'] = () => {
      taken += 1;
      return Promise.resolve(taken > 100 ? null : items(100, taken * 100));
    };
    const stop = new AbortController();
    const run = runInLanes(options([], {
      clock, more: take, limit: () => 4, signal: stop.signal,
      work: (): Promise<Step<string>> => {
        worked += 1;
        return Promise.resolve({ again: millis(1e9) });
      },
    }));
    await clock.asleep();
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    expect(worked).toBeGreaterThan(999);
    expect(worked).toBeLessThan(1_200);
    expect(taken * 100 - worked).toBeLessThan(110);
    stop.abort();
    expect(await run).toHaveLength(taken * 100);
  });

  test('an abort awaits a batch that was asked for, and begins nothing of it', async () => {
    const stop = new AbortController();
    let answer: ((items: readonly Item[]) => void) | undefined;
    const ended: string[] = [];
    const run = runInLanes(options([], { signal: stop.signal, more: () => new Promise((resolve) => { answer = resolve; }), onDone: (_, name) => ended.push(name) }));
    await new Promise(setImmediate);
    stop.abort();
    answer?.(items(2));
    expect((await run).map(({ name }) => name)).toEqual(['0', '1']);
    expect(ended).toEqual([]);
  });

  test('a batch that can not be had ends it, when what is under way has ended', async () => {
    const ended: string[] = [];
    const more = batches(items(1));
    let asked = 0;
    const run = runInLanes(options([], {
      more: () => ((asked += 1) === 1 ? more() : Promise.reject(new Error('no more'))),
      work: async ({ name }) => {
        await new Promise(setImmediate);
        return { done: name };
      },
      onDone: (_, name) => ended.push(name),
    }));
    await expect(run).rejects.toThrow('no more');
    expect(ended).toEqual(['0']);
    expect(asked).toBe(2);
  });
});

import { describe, expect, test } from 'vitest';
import { runInLanes, type LanesOptions, type Step } from '../../../src/apply/lanes.ts';
import { millis } from '../../../src/model/time.ts';
import { manualClock } from '../../support/clock.ts';

interface Item {
  readonly name: string;
}
const items = (count: number): Item[] => Array.from({ length: count }, (_, n) => ({ name: String(n) }));

function options(more: Partial<LanesOptions<Item, string>>): LanesOptions<Item, string> {
  return {
    clock: manualClock(), signal: new AbortController().signal, limit: () => 2, pausedUntil: () => millis(0),
    work: ({ name }) => Promise.resolve({ done: name }), onDone: () => undefined, ...more,
  };
}

describe('work in lanes', () => {
  test('is done in order, so many at once, and all of it', async () => {
    const ended: string[] = [];
    let most = 0;
    let now = 0;
    const left = await runInLanes(items(9), options({
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
    expect(await runInLanes([], options({}))).toEqual([]);
  });

  test('what waits for another try holds no lane', async () => {
    const clock = manualClock();
    const ended: string[] = [];
    let tried = 0;
    const run = runInLanes(items(4), options({
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
    const run = runInLanes(items(3), options({ clock, pausedUntil: () => millis(500), work: ({ name }) => {
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
    const run = runInLanes(items(4), options({
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
    expect((await runInLanes(items(2), options({ signal: stop.signal }))).length).toBe(2);
  });

  test('an error begins nothing more, and is told when the rest has ended', async () => {
    const ended: string[] = [];
    const run = runInLanes(items(5), options({
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
});

import { describe, expect, onTestFinished, test } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { millis, seconds, type Millis } from '../../../src/model/time.ts';
import type { Clock } from '../../../src/platform/clock.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { createKubeCache, type KubeCache, type KubeCacheOptions } from '../../../src/platform/kube/watch.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, hurryingClock, manualClock, type ManualClock } from '../../support/clock.ts';

/** What becomes of a watch: lines, and its end. */
type Watch = (options: Parameters<KubeClient['lines']>[2]) => AsyncGenerator<string, void>;

function client(watch: Watch): KubeClient & { readonly lists: () => number } {
  let lists = 0;
  return {
    lists: () => lists,
    get: (_, { limit }) => {
      if (limit !== '1') lists += 1;
      return Promise.resolve({ body: { metadata: { resourceVersion: '1' }, items: [] }, date: null });
    },
    lines: (_path, _query, options) => watch(options),
    close: () => undefined,
  };
}

function cacheOf(of: KubeClient, clock: Clock, more: Partial<KubeCacheOptions<null>> = {}): KubeCache<null> {
  const cache = createKubeCache<null>({
    client: of, clock, random: fixedRandom(0.5), log: silentLog, path: '/api/v1/nodes', labelSelector: '', metadataOnly: false, signEvery: seconds(5),
    read: () => null, onChange: () => undefined, onState: () => undefined, ...more,
  });
  onTestFinished(() => cache.close());
  cache.start();
  return cache;
}

/** Everything that waits for no clock has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
}

async function pass(clock: ManualClock, span: Millis): Promise<void> {
  await settle();
  for (let at = 0; at < span; at += 100) {
    clock.advance(millis(100));
    await settle();
  }
}

describe('a watch', () => {
  test('that ends as soon as it begins is followed by the next one at a pace', async () => {
    const clock = hurryingClock();
    let watches = 0;
    let enough = (): void => undefined;
    const several = new Promise<void>((resolve) => { enough = resolve; });
    // eslint-disable-next-line @typescript-eslint/require-await -- a stream without a line
    cacheOf(client(async function* () {
      watches += 1;
      if (watches === 5) enough();
    }), clock);
    await several;
    expect(clock.slept.filter((span) => span === 500)).toHaveLength(4);
  });

  test('that is accepted is a sign of life', async () => {
    const clock = manualClock();
    const cache = cacheOf(client(async function* ({ onOpen, signal }) {
      onOpen();
      await clock.sleep(seconds(11), signal);
    }), clock);
    await settle();
    expect(cache.aliveAt()).toBe(0);
    await pass(clock, seconds(1));
    expect(cache.aliveAt()).toBe(500);
  });

  test('that is accepted is none after one that went silent, until a line comes', async () => {
    const clock = manualClock();
    let line: string | null = null;
    const cache = cacheOf(client(async function* ({ onOpen, signal, silence }) {
      onOpen();
      await clock.sleep(millis(100), signal);
      if (line !== null) yield line;
      await clock.sleep(silence, signal);
      throw new Failure('kubernetes-unreachable', 'nothing came');
    }), clock);
    await pass(clock, seconds(40));
    expect(cache.aliveAt()).toBe(500);
    line = JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '2' } } });
    await pass(clock, seconds(12));
    expect(cache.aliveAt()).toBeGreaterThan(40_000);
  });

  test('that is ended early, without a word, is no sign; one that ends in its time is', async () => {
    const clock = manualClock();
    let lasts = millis(100);
    const cache = cacheOf(client(async function* ({ signal }) {
      await clock.sleep(lasts, signal);
    }), clock);
    await pass(clock, seconds(5));
    expect(cache.aliveAt()).toBe(0);
    lasts = seconds(7);
    await pass(clock, seconds(9));
    expect(cache.aliveAt()).toBeGreaterThan(10_000);
  });

  test('that the server refuses again and again, as it forgets too fast, makes it list no faster than a failure may be tried again', async () => {
    const clock = manualClock();
    // eslint-disable-next-line @typescript-eslint/require-await -- refused at once
    const of = client(async function* ({ onOpen }) {
      onOpen();
      yield JSON.stringify({ type: 'ERROR', object: { code: 410, message: 'too old' } });
    });
    cacheOf(of, clock);
    await pass(clock, seconds(30));
    // Half of 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5 … s.
    expect(of.lists()).toBeLessThanOrEqual(18);
    expect(of.lists()).toBeGreaterThan(5);
  });

  test('goes on although who is told of its state throws', async () => {
    const clock = manualClock();
    let watches = 0;
    const cache = cacheOf(client(async function* ({ onOpen, signal }) {
      watches += 1;
      onOpen();
      await clock.sleep(seconds(7), signal);
    }), clock, { onState: () => { throw new Error('no'); } });
    await pass(clock, seconds(8));
    expect(watches).toBe(2);
    expect(cache.aliveAt()).toBe(7_500);
  });
});

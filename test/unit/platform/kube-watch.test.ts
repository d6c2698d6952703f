import { expect, test } from 'vitest';
import { millis } from '../../../src/model/time.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { createKubeCache } from '../../../src/platform/kube/watch.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, hurryingClock } from '../../support/clock.ts';

test('watches that end as soon as they begin follow each other at a pace', async () => {
  const clock = hurryingClock();
  let watches = 0;
  let enough = (): void => undefined;
  const several = new Promise<void>((resolve) => { enough = resolve; });
  const client = {
    get: () => Promise.resolve({ body: { metadata: { resourceVersion: '1' }, items: [] }, date: null }),
    // eslint-disable-next-line @typescript-eslint/require-await -- a stream without a line
    lines: async function* () {
      watches += 1;
      if (watches === 5) enough();
    },
    close: () => undefined,
  } as unknown as KubeClient;
  const cache = createKubeCache({
    client, clock, random: fixedRandom(0), log: silentLog, path: '/api/v1/nodes', labelSelector: '', metadataOnly: false, signEvery: millis(5_000),
    read: () => null, onChange: () => undefined, onState: () => undefined,
  });
  cache.start();
  await several;
  expect(clock.slept.filter((span) => span > 0)).toHaveLength(4);
  await cache.close();
});

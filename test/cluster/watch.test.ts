import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { Failure } from '../../src/model/failure.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient, type KubeClient } from '../../src/platform/kube/client.ts';
import { createKubeCache, type KubeCache } from '../../src/platform/kube/watch.ts';
import { seconds } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import type { ControlPlane } from '../support/control-plane.ts';
import { halfOpenProxy } from '../support/half-open-proxy.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const path = '/api/v1/configmaps';
const folder = '/api/v1/namespaces/default/configmaps';

describe.skipIf(typeof programs === 'string')('a copy of what a cluster holds', () => {
  let cluster: OwnControlPlane;
  let selector: string;
  let names = 0;
  const open: { close(): Promise<void> }[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    cluster = await startOwnControlPlane({ programs });
  });
  afterAll(() => cluster.stop());
  afterEach(async () => {
    await Promise.all(open.splice(0).map((each) => each.close()));
  });

  /** Each test has objects of its own. */
  const own = (): string => (selector = `test=t${String(++names)}`);
  const put = async (name: string, value: string): Promise<void> => {
    const [key = '', label] = selector.split('=');
    const object = { metadata: { name: `${label ?? ''}-${name}`, labels: { [key]: label } }, data: { value } };
    await cluster.send('POST', folder, object).catch(() => cluster.send('PATCH', `${folder}/${object.metadata.name}`, object));
  };
  const remove = (name: string): Promise<unknown> => cluster.send('DELETE', `${folder}/${selector.split('=')[1] ?? ''}-${name}`);

  interface Copy extends KubeCache<string> {
    readonly changes: [before: string | null, after: string | null][];
    readonly states: boolean[];
    values(): Readonly<Record<string, string>>;
  }
  const copy = (options: { readonly kubeconfig?: string; readonly client?: KubeClient; readonly onChange?: (after: string | null) => void; readonly metadataOnly?: boolean } = {}): Copy => {
    const client = options.client ?? createKubeClient(createAccess({ kind: 'file', path: options.kubeconfig ?? cluster.own }));
    const changes: Copy['changes'] = [];
    const states: boolean[] = [];
    const cache = createKubeCache<string>({
      client, clock: systemClock, random: systemRandom, log: silentLog, path, labelSelector: selector, metadataOnly: options.metadataOnly ?? false, signEvery: seconds(6),
      read: (object) => (object as unknown as { data?: { value: string } }).data?.value ?? 'no data',
      onChange: (before, after) => {
        changes.push([before, after]);
        options.onChange?.(after);
      },
      onState: (up) => states.push(up),
    });
    cache.start();
    open.push({ close: () => cache.close().then(() => { client.close(); }) });
    const values = (): Record<string, string> => Object.fromEntries([...cache.items].map(([key, value]) => [key.slice(key.indexOf('-') + 1), value]));
    return { ...cache, changes, states, values };
  };
  const listed = (cache: Copy): Promise<void> => until(() => cache.aliveAt() !== null, 'everything was listed');
  const shows = (cache: Copy, values: Readonly<Record<string, string>>): Promise<void> =>
    until(() => JSON.stringify(Object.entries(cache.values()).sort()) === JSON.stringify(Object.entries(values).sort()), `it shows ${JSON.stringify(values)}`);

  test('what is there, what comes, what changes and what goes', async () => {
    own();
    await put('a', '1');
    const cache = copy();
    await listed(cache);
    expect(cache.values()).toEqual({ a: '1' });
    await put('b', '1');
    await put('a', '2');
    await remove('b');
    await until(() => cache.changes.length === 4, 'all of it was told');
    expect(cache.changes).toEqual([[null, '1'], [null, '1'], ['1', '2'], ['1', null]]);
    expect(cache.values()).toEqual({ a: '2' });
    expect(cache.states).toEqual([true]);
  });

  test('more than a page of it', async () => {
    own();
    const all = Array.from({ length: 600 }, (_, n) => `n${String(n)}`);
    for (let n = 0; n < all.length; n += 50) await Promise.all(all.slice(n, n + 50).map((name) => put(name, name)));
    const cache = copy();
    await listed(cache);
    expect(cache.items.size).toBe(600);
  });

  test('of labels alone, nothing else is read', async () => {
    own();
    await put('a', '1');
    const cache = copy({ metadataOnly: true });
    await shows(cache, { a: 'no data' });
    await put('a', '2');
    await until(() => cache.changes.length === 2, 'a change was told');
    expect(cache.values()).toEqual({ a: 'no data' });
  });

  test('a quiet cluster gives signs of life', async () => {
    own();
    const cache = copy();
    await listed(cache);
    const first = cache.aliveAt() ?? 0;
    // A bookmark comes after six seconds; the watch that is accepted after half a second is one too.
    await until(() => (cache.aliveAt() ?? 0) > first + 5_000, 'a bookmark came');
  });

  test('the server goes away without a word, and comes back', async () => {
    own();
    await put('a', '1');
    const cache = copy();
    await listed(cache);
    await cluster.stopServer();
    await until(() => cache.states.at(-1) === false, 'the break was told');
    const before = cache.aliveAt();
    await cluster.startServer();
    await put('a', '2');
    await shows(cache, { a: '2' });
    expect(cache.aliveAt()).toBeGreaterThan(before ?? 0);
    expect(cache.states).toEqual([true, false, true]);
    expect(cache.changes).toEqual([[null, '1'], ['1', '2']]);
  });

  test('a line that is cut every second for a minute loses nothing, and is never far behind', async () => {
    own();
    const proxy = await halfOpenProxy(cluster.url);
    open.push(proxy);
    const kubeconfig = join(cluster.folder, 'cut.kubeconfig');
    await cluster.writeKubeconfig(kubeconfig, { token: await ownToken(cluster), server: proxy.url.replace(/\/$/, '') });
    const cache = copy({ kubeconfig });
    await listed(cache);
    const cutting = setInterval(() => { proxy.cut(); }, 1_000);
    const written: string[] = [];
    let [oldest, slowest] = [0, 0];
    const look = (): void => { oldest = Math.max(oldest, systemClock.monotonic() - (cache.aliveAt() ?? 0)); };
    try {
      // While nothing happens, and then while much does.
      const quiet = performance.now() + 30_000;
      await until(() => {
        look();
        return performance.now() > quiet;
      }, 'some cuts came');
      const end = performance.now() + 30_000;
      while (performance.now() < end) {
        const value = String(written.length);
        await put('a', value);
        written.push(value);
        const since = performance.now();
        await until(() => {
          look();
          return cache.values()['a'] === value;
        }, 'the change is shown');
        slowest = Math.max(slowest, performance.now() - since);
      }
    } finally {
      clearInterval(cutting);
    }
    // As long as what was seen may be trusted. Where nothing else runs it is less than 4 s.
    expect(slowest).toBeLessThan(15_000);
    expect(oldest).toBeLessThan(15_000);
    // A watch that goes on from where the last one ended tells every change, in order.
    expect(cache.changes.map(([, after]) => after)).toEqual(written);
    expect(written.length).toBeGreaterThan(10);
  }, 300_000);

  test('a line that is dead and still open is given up', async () => {
    own();
    const proxy = await halfOpenProxy(cluster.url);
    open.push(proxy);
    const kubeconfig = join(cluster.folder, 'frozen.kubeconfig');
    await cluster.writeKubeconfig(kubeconfig, { token: await ownToken(cluster), server: proxy.url.replace(/\/$/, '') });
    const cache = copy({ kubeconfig });
    await listed(cache);
    proxy.freeze();
    const frozen = systemClock.monotonic();
    await put('a', '1');
    await shows(cache, { a: '1' });
    // Nothing that came over the dead line was taken for a sign of life.
    expect(cache.aliveAt()).toBeGreaterThan(frozen + 5_000);
  });

  test('what the server has forgotten is listed again, and told as changes', async () => {
    own();
    await put('stays', '1');
    await put('goes', '1');
    await put('changes', '1');
    const gate = gated(createKubeClient(createAccess({ kind: 'file', path: cluster.own })));
    const cache = copy({ client: gate });
    await listed(cache);
    gate.shut();
    await remove('goes');
    await put('changes', '2');
    await put('comes', '1');
    await cluster.compact();
    await cluster.stopServer();
    await cluster.startServer();
    gate.reopen();
    await shows(cache, { stays: '1', changes: '2', comes: '1' });
    expect(gate.codes).toContain('kubernetes-expired');
    expect(cache.changes.slice(3).filter(([before, after]) => before !== after).sort()).toEqual([[null, '1'], ['1', '2'], ['1', null]].sort());
  });

  test('a handler that throws ends nothing', async () => {
    own();
    const cache = copy({ onChange: (after) => { if (after === 'bad') throw new Error('no'); } });
    await listed(cache);
    await put('a', 'bad');
    await put('b', 'good');
    await shows(cache, { a: 'bad', b: 'good' });
    expect(cache.states).toEqual([true]);
  });

  test('credentials that were replaced are read again', async () => {
    own();
    await cluster.send('POST', '/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'reader' } });
    await cluster.send('POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', {
      metadata: { name: 'reader' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader', namespace: 'default' }],
    });
    const kubeconfig = join(cluster.folder, 'rotated.kubeconfig');
    await cluster.writeKubeconfig(kubeconfig, { token: await boundToken(cluster, 'first') });
    const cache = copy({ kubeconfig });
    await listed(cache);
    // A token dies with what it is bound to; a server that starts anew remembers no token that was good.
    await cluster.send('DELETE', '/api/v1/namespaces/default/secrets/first');
    await cluster.stopServer();
    await cluster.startServer();
    await until(() => cache.states.at(-1) === false, 'the token was refused');
    await cluster.writeKubeconfig(kubeconfig, { token: await boundToken(cluster, 'second') });
    await put('a', '1');
    await shows(cache, { a: '1' });
    expect(cache.states.at(-1)).toBe(true);
  });

  test('of a server that is not there, and of files that say nothing, it says so', async () => {
    own();
    const nowhere = join(cluster.folder, 'nowhere.kubeconfig');
    await cluster.writeKubeconfig(nowhere, { token: 'none', server: 'https://127.0.0.1:1' });
    const client = createKubeClient(createAccess({ kind: 'file', path: nowhere }));
    await expect(client.get(path, {})).rejects.toMatchObject({ code: 'kubernetes-unreachable' });
    const cache = copy({ client });
    await until(() => cache.states.length === 1, 'the failure was told');
    expect(cache.states).toEqual([false]);
    expect(cache.aliveAt()).toBeNull();
    await expect(createAccess({ kind: 'file', path: join(cluster.folder, 'absent') }).connect()).rejects.toMatchObject({ code: 'settings-invalid' });
    await cluster.writeKubeconfig(nowhere, { token: 'wrong' });
    await expect(createKubeClient(createAccess({ kind: 'file', path: nowhere })).get(path, {})).rejects.toMatchObject({ code: 'kubernetes-refused' });
  });
});

async function ownToken({ own }: OwnControlPlane): Promise<string> {
  return /token: (\S+)/.exec(await readFile(own, 'utf8'))?.[1] ?? '';
}

async function boundToken(cluster: ControlPlane, secret: string): Promise<string> {
  const { metadata } = (await cluster.send('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: secret } })) as { metadata: { uid: string } };
  const { status } = (await cluster.send('POST', '/api/v1/namespaces/default/serviceaccounts/reader/token', {
    spec: { boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: secret, uid: metadata.uid } },
  })) as { status: { token: string } };
  return status.token;
}

/** A client that can be kept from the server, and remembers what it was refused for. */
function gated(client: KubeClient): KubeClient & { readonly codes: readonly string[]; shut(): void; reopen(): void } {
  const codes: string[] = [];
  let shut = new AbortController();
  const note = (error: unknown): never => {
    if (error instanceof Failure) codes.push(error.code);
    throw error;
  };
  const check = (): void => {
    if (shut.signal.aborted) throw new Failure('kubernetes-unreachable', 'shut');
  };
  return {
    codes,
    shut: () => { shut.abort(); },
    reopen: () => { shut = new AbortController(); },
    get: async (...args) => {
      check();
      return client.get(...args).catch(note);
    },
    lines: async function* (where, query, options) {
      check();
      try {
        for await (const line of client.lines(where, query, { ...options, signal: AbortSignal.any([options.signal, shut.signal]) })) {
          if (line.includes('"code":410')) codes.push('kubernetes-expired');
          yield line;
        }
      } catch (error) {
        note(error);
      }
    },
    close: () => { client.close(); },
  };
}

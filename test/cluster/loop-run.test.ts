import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { openApplying } from '../../src/cli/applying.ts';
import type { Leadership } from '../../src/platform/campaign.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { apiProxy } from '../support/api-proxy.ts';
import { startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { openSmallFleet, type TestFleet } from '../support/fleet.ts';
import { halfOpenProxy } from '../support/half-open-proxy.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
/** The loop looks by itself after 27 s at least: what is there before, it was told of. */
const beforeThePoll = 25_000;

describe.skipIf(typeof programs === 'string')('the loop as `dory run --apply=ssa` has it', () => {
  let server: OwnControlPlane;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, apply: 'ssa' });
  });
  afterAll(() => server.stop());
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const replicas = async (): Promise<readonly number[]> =>
    ((await server.send('GET', '/apis/apps/v1/namespaces/default/statefulsets')) as unknown as { items: { spec: { replicas: number } }[] }).items.map(({ spec }) => spec.replicas);

  /** A fleet that was committed once, and the loop of an instance with the lease of `epoch()`; null: it does not lead. */
  const start = async (kubeconfig: string, epoch: () => number | null): Promise<{ readonly fleet: TestFleet; readonly metrics: Metrics; readonly pushed: () => void }> => {
    const fleet = await openSmallFleet({ apply: 'ssa' });
    closes.push(() => fleet.close());
    await fleet.once();
    const metrics = createMetrics();
    const leadership = { current: () => (epoch() === null ? null : { epoch: epoch() }) } as unknown as Leadership;
    const applying = openApplying({ ...fleet.runtime, kubernetes: { kind: 'file', path: kubeconfig } }, metrics, { repository: fleet.engine.repository, leadership, assertLeading: () => Promise.resolve() });
    const over = new AbortController();
    const running = applying?.run(over.signal);
    closes.push(async () => {
      over.abort();
      await running;
      await applying?.close();
      await server.send('DELETE', '/apis/apps/v1/namespaces/default/statefulsets?propagationPolicy=Background');
    });
    return { fleet, metrics, pushed: () => { applying?.pushed('cycle-1'); } };
  };
  const requests = async ({ applyRequests }: Metrics): Promise<number> => (await applyRequests.get()).values[0]?.value ?? 0;

  test('applies a commit when it is told of the push, puts drift back by itself, and is quiet then', async () => {
    const { fleet, metrics, pushed } = await start(server.own, () => 1);
    await until(async () => (await replicas()).join() === '1,1,1', 'the first commit is applied');
    await fleet.pool.query(`update processors set status = 'terminated' where id::text like '%c2'`);
    await fleet.once();
    pushed();
    await until(async () => (await replicas()).length === 2, 'the second commit is applied', beforeThePoll);
    await server.kubectl('scale', 'statefulset', '--all', '--replicas=4');
    await until(async () => (await replicas()).join() === '1,1', 'drift is put back', beforeThePoll);
    await until(async () => (await metrics.applyInSync.get()).values[0]?.value === 2, 'the loop sees that all is in sync');
    const before = await requests(metrics);
    pushed();
    await until(async () => (await metrics.appliedRevision.get()).values[0]?.value === 2, 'a further pass ends');
    expect(await requests(metrics)).toBe(before);
  });

  test('an instance that does not lead asks the cluster for nothing, and begins as soon as it does', async () => {
    let epoch: number | null = null;
    const { proxy, kubeconfig } = await proxied();
    const standby = await start(kubeconfig, () => epoch);
    standby.pushed();
    // Another one does all of it meanwhile.
    const other = await start(server.own, () => 1);
    await until(async () => (await other.metrics.applyInSync.get()).values[0]?.value === 3, 'the other one is through');
    expect([proxy.seen, await requests(standby.metrics)]).toEqual([[], 0]);
    epoch = 7;
    standby.pushed();
    await until(async () => (await standby.metrics.applyInSync.get()).values[0]?.value === 3, 'it knows of all of it', beforeThePoll);
    expect(proxy.seen.length).toBeGreaterThan(0);
  });

  const proxied = async () => {
    const proxy = await apiProxy(server, () => ({ kind: 'pass' }));
    closes.push(() => proxy.close());
    const kubeconfig = join(server.folder, 'proxied.kubeconfig');
    await server.writeKubeconfig(kubeconfig, { token: /token: (\S+)/.exec(await readFile(server.own, 'utf8'))?.[1] ?? '', server: proxy.url });
    return { proxy, kubeconfig };
  };

  test('a line that is cut again and again leaves no drift, and no object out', async () => {
    const proxy = await halfOpenProxy(server.url);
    closes.push(() => proxy.close());
    const token = /token: (\S+)/.exec(await readFile(server.own, 'utf8'))?.[1] ?? '';
    const kubeconfig = join(server.folder, 'cut.kubeconfig');
    await server.writeKubeconfig(kubeconfig, { token, server: proxy.url.replace(/\/$/, '') });
    const { metrics } = await start(kubeconfig, () => 1);
    for (let cut = 0; cut < 20; cut += 1) {
      proxy.cut();
      await server.kubectl('scale', 'statefulset', '--all', `--replicas=${String(2 + cut)}`).catch(() => undefined);
    }
    // What was cut off is tried again in seconds.
    await until(async () => (await replicas()).join() === '1,1,1', 'all is as committed', beforeThePoll);
    await until(async () => (await metrics.applyInSync.get()).values[0]?.value === 3, 'and known to be', beforeThePoll);
  });
});

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { openApplier, type OpenApplier } from '../../src/cli/applier.ts';
import { goesOn } from '../../src/cycle.ts';
import { silentLog } from '../../src/platform/log.ts';
import { apiProxy } from '../support/api-proxy.ts';
import { startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { testFleet, type TestFleet } from '../support/fleet.ts';
import { testDatabase } from '../support/postgres.ts';
import { seedSyntheticFleet } from '../support/seed-database.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const processors = 1_000;
const edited = 500;
const sets = '/apis/apps/v1/namespaces/default/statefulsets';

interface Sets {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly generation: number }; readonly spec: { readonly replicas: number } }[];
}

describe.skipIf(typeof programs === 'string')('a thousand objects', () => {
  let server: OwnControlPlane;
  let fleet: TestFleet;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, apply: 'ssa' });
    closes.push(() => server.stop());
    const database = await testDatabase();
    closes.push(() => database.close());
    const folder = await temporaryFolder();
    closes.push(() => folder.remove());
    await seedSyntheticFleet(database.pool, { processors });
    fleet = await testFleet({ pool: database.pool, url: database.url, folder: folder.path, flags: { apply: 'ssa' } });
    closes.push(() => fleet.close());
    await until(async () => !goesOn(await fleet.once()), 'all are placed');
  });
  afterAll(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const open = (kubeconfig = server.own): OpenApplier & { readonly woken: () => number } => {
    let woken = 0;
    const opened = openApplier(
      { ...fleet.runtime, log: silentLog, kubernetes: { kind: 'file', path: kubeconfig } },
      { repository: fleet.engine.repository, assertLeading: () => Promise.resolve(), onChange: () => { woken += 1; } },
    );
    closes.push(() => opened.close());
    return { ...opened, woken: () => woken };
  };
  const shown = async (): Promise<Sets['items']> => ((await server.send('GET', sets)) as unknown as Sets).items;

  test('one request creates each; in sync they cost none; half of them edited at once are put back, each told once', async () => {
    const opened = open();
    const first = await opened.applier.pass();
    expect([first.complete, first.outcomes.filter(({ kind }) => kind === 'created').length]).toEqual([true, processors]);
    // And a question, where StatefulSets are.
    expect(first.requests).toBe(processors + 1);
    expect(await opened.applier.pass()).toMatchObject({ requests: 0, inSync: processors });

    const before = new Map((await shown()).map(({ metadata }) => [metadata.name, metadata.generation]));
    const victims = [...before.keys()].slice(0, edited);
    const woken = opened.woken();
    for (let from = 0; from < edited; from += 50) await Promise.all(victims.slice(from, from + 50).map((name) => server.send('PATCH', `${sets}/${name}?fieldManager=somebody`, { spec: { replicas: 7 } })));
    await until(() => opened.woken() - woken >= edited, 'each change is seen');
    const storm = await opened.applier.pass();
    expect(storm.outcomes.filter(({ kind }) => kind === 'configured')).toHaveLength(edited);
    // What was changed of the first 200 is looked up; of all of them it is told that it was.
    expect(storm.requests).toBe(edited);
    expect(storm.drifts).toHaveLength(edited);
    expect(storm.drifts.filter(({ who }) => who[0]?.manager === 'somebody').length).toBeGreaterThanOrEqual(200);
    const after = await shown();
    expect(after.every(({ spec }) => spec.replicas === 1)).toBe(true);
    // Edited, and put back: twice; and nobody else touched at all.
    expect(after.every(({ metadata: { name, generation } }) => generation === (before.get(name) ?? 0) + (victims.includes(name) ? 2 : 0))).toBe(true);
    const { rows } = await fleet.pool.query<{ count: number; objects: number }>(`select count(*)::int, count(distinct evidence ->> 'object')::int as objects from dory.events where kind = 'drift'`);
    expect(rows).toEqual([{ count: edited, objects: edited }]);
    expect(await opened.applier.pass()).toMatchObject({ requests: 0, inSync: processors, drifts: [] });
    // Another instance begins where this one left off; what it sends is seen from outside.
    const proxy = await apiProxy(server, () => ({ kind: 'pass' }));
    closes.push(() => proxy.close());
    const kubeconfig = join(server.folder, 'proxied.kubeconfig');
    await server.writeKubeconfig(kubeconfig, { token: /token: (\S+)/.exec(await readFile(server.own, 'utf8'))?.[1] ?? '', server: proxy.url });
    const other = open(kubeconfig);
    for (let n = 0; n < 3; n += 1) expect(await other.applier.pass()).toMatchObject({ requests: 0, inSync: processors });
    const isWatching = (line: string): boolean => line === 'GET /apis/apps/v1' || /^GET \/apis\/apps\/v1\/statefulsets\?.*(?:limit|watch)=/.test(line);
    expect(proxy.seen.filter((line) => !isWatching(line))).toEqual([]);
    // A question, two pages, and a watch; and the next watch of a slow machine.
    expect(proxy.seen.length).toBeLessThan(10);
  });
});

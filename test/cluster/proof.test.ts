import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { openApplier, type OpenApplier } from '../../src/cli/applier.ts';
import { silentLog } from '../../src/platform/log.ts';
import { removeProcessors, podsOf, smallNodes, startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { openSmallFleet, type TestFleet } from '../support/fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

interface Pods {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly uid: string; readonly labels: Readonly<Record<string, string>> }; readonly spec: { readonly containers: readonly { readonly image: string }[] }; readonly status: { readonly phase: string } }[];
}

describe.skipIf(typeof programs === 'string')('what is committed runs, with the rights of our own ServiceAccount', () => {
  let server: OwnControlPlane;
  let fleet: TestFleet;
  let opened: OpenApplier;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({
      programs, apply: 'ssa', with: ['controllers', 'scheduler', 'nodes'],
      nodes: smallNodes,
    });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    fleet = await openSmallFleet({ apply: 'ssa' });
    closes.push(() => fleet.close());
    opened = openApplier(
      { ...fleet.runtime, log: silentLog, kubernetes: { kind: 'file', path: server.own } },
      { repository: fleet.engine.repository, assertLeading: () => Promise.resolve(), onChange: () => undefined },
    );
    closes.push(() => opened.close());
    closes.push(() => removeProcessors(server));
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const bring = async (): Promise<void> => {
    await fleet.beat('edge-1', 'edge-2');
    await fleet.once();
    await until(async () => (await opened.applier.pass()).complete, 'the commit is on the cluster');
  };
  const release = async (version: string): Promise<void> => {
    await fleet.pool.query('update processor_template_versions set version = $1, image_uri = $2', [version, `registry.example.com/camera:${version}`]);
    await fleet.pool.query('update dory.state set version = version + 1');
    await bring();
  };
  const podsAre = (expected: readonly string[]): Promise<void> => until(async () => (await podsOf(server)).join() === expected.join(), `the pods are ${expected.join(', ')}`);
  const podsOfProcessor = async (end: string): Promise<Pods['items']> =>
    ((await server.send('GET', '/api/v1/namespaces/default/pods')) as unknown as Pods).items.filter(({ metadata }) => metadata.labels['processor-id']?.endsWith(end) === true);
  const runs = (end: string, version: string, phase: string): Promise<void> =>
    until(async () => {
      const pods = await podsOfProcessor(end);
      return pods.length === 1 && pods[0]?.spec.containers[0]?.image === `registry.example.com/camera:${version}` && pods[0].status.phase === phase;
    }, `the one pod of ${end} is of ${version} and ${phase}`);

  test('a StatefulSet whose pod is of a broken revision is freed when a newer one comes: never ready, or without a node', async () => {
    await server.kubectl('cordon', 'pool-1');
    await bring();
    await podsAre(['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 - Pending']);
    const [broken] = await podsOfProcessor('c1');
    const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }], containerStatuses: [{ name: 'processor', image: 'x', imageID: '', ready: false, restartCount: 0, state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off' } } }] };
    await server.send('PATCH', `/api/v1/namespaces/default/pods/${broken?.metadata.name ?? ''}/status`, { status });
    await release('1.0.1');
    await runs('c1', '1.0.1', 'Running');
    await runs('c3', '1.0.1', 'Pending');
    await server.kubectl('uncordon', 'pool-1');
    await runs('c3', '1.0.1', 'Running');
    expect((await podsOfProcessor('c1'))[0]?.metadata.uid).not.toBe(broken?.metadata.uid);
  });

  test('a field that can not be changed: made anew when its pod is gone, under its name and its epoch', async () => {
    await bring();
    await podsAre(['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running']);
    const name = (await podsOfProcessor('c1'))[0]?.metadata.name.replace(/-0$/, '') ?? '';
    const path = `/apis/apps/v1/namespaces/default/statefulsets/${name}`;
    // As an older version of the program would have left it.
    const { metadata: { labels, annotations }, spec } = (await server.send('GET', path)) as { metadata: Record<string, unknown>; spec: Record<string, unknown> };
    await server.send('DELETE', `${path}?propagationPolicy=Foreground`);
    await until(() => server.send('GET', path).then(() => false, () => true), 'it is gone');
    const file = join(server.folder, 'older.json');
    await writeFile(file, JSON.stringify({ apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name, namespace: 'default', labels, annotations }, spec: { ...spec, podManagementPolicy: 'OrderedReady' } }));
    await server.kubectl('apply', '--server-side', '--field-manager=dory-orchestrator', '-f', file);
    await runs('c1', '1.0.0', 'Running');
    const [old] = await podsOfProcessor('c1');
    const seen = new Set<number>();
    await until(async () => {
      await opened.applier.pass();
      seen.add((await podsOfProcessor('c1')).length);
      const now = (await server.send('GET', path).catch(() => ({ spec: {} }))) as { spec: { podManagementPolicy?: string } };
      return now.spec.podManagementPolicy === 'Parallel';
    }, 'it is made anew');
    await runs('c1', '1.0.0', 'Running');
    expect((await podsOfProcessor('c1'))[0]?.metadata.uid).not.toBe(old?.metadata.uid);
    expect(Math.max(...seen)).toBe(1);
  });
});

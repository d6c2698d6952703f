import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { giveBack } from '../../src/apply/hand-over.ts';
import { openApplier, type OpenApplier } from '../../src/cli/applier.ts';
import type { OwnTree } from '../../src/commit/repository.ts';
import { silentLog } from '../../src/platform/log.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../support/fleet.ts';
import { testDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

interface Sets {
  readonly items: readonly { readonly metadata: { readonly name: string; readonly uid: string; readonly resourceVersion: string; readonly annotations: Readonly<Record<string, string>>; readonly labels: Readonly<Record<string, string>>; readonly managedFields: readonly { readonly manager: string; readonly operation: string }[] }; readonly spec: { readonly replicas: number } }[];
}

describe.skipIf(typeof programs === 'string')('the loop that keeps the cluster at the newest commit', () => {
  let server: ControlPlane;
  let fleet: TestFleet;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startControlPlane({ programs });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    closes.push(emptyCluster);
    const database = await testDatabase();
    closes.push(() => database.close());
    const folder = await temporaryFolder();
    closes.push(() => folder.remove());
    await seedSmallFleet(database.pool);
    fleet = await testFleet({ pool: database.pool, url: database.url, folder: folder.path });
    closes.push(() => fleet.close());
    await fleet.once();
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const emptyCluster = async (): Promise<void> => {
    await server.send('DELETE', '/apis/apps/v1/namespaces/default/statefulsets?propagationPolicy=Background');
    await until(async () => (await sets()).length === 0, 'nothing is left');
  };
  const sets = async (): Promise<Sets['items']> => ((await server.send('GET', '/apis/apps/v1/namespaces/default/statefulsets')) as unknown as Sets).items;
  const names = async (): Promise<readonly string[]> => (await sets()).map(({ metadata }) => `${metadata.labels['processor-id']?.slice(-2) ?? '?'} ${metadata.annotations['dory.io/epoch'] ?? '?'}`).sort();
  const path = (name: string): string => `/apis/apps/v1/namespaces/default/statefulsets/${name}`;
  const nameOf = async (end: string): Promise<string> => (await sets()).find(({ metadata }) => metadata.labels['processor-id']?.endsWith(end) === true)?.metadata.name ?? '';

  /** An instance's, with nothing remembered; `changes` counts what it was woken for. */
  const start = (more: { readonly settings?: Partial<TestFleet['runtime']['settings']['ssa']>; readonly assertLeading?: () => Promise<void>; readonly kubeconfig?: string; readonly tree?: OwnTree } = {}): OpenApplier & { readonly changes: () => number } => {
    let changes = 0;
    const { runtime, engine: { repository } } = fleet;
    const opened = openApplier(
      { ...runtime, log: silentLog, kubernetes: { kind: 'file', path: more.kubeconfig ?? server.kubeconfig }, settings: { ...runtime.settings, ssa: { ...runtime.settings.ssa, ...more.settings } } },
      { repository: more.tree === undefined ? repository : { ...repository, ownTree: () => Promise.resolve(more.tree ?? null) }, assertLeading: more.assertLeading ?? (() => Promise.resolve()), onChange: () => { changes += 1; } },
    );
    closes.push(() => opened.close());
    return { ...opened, changes: () => changes };
  };
  const settled = async (opened: OpenApplier): Promise<void> => {
    await until(async () => (await opened.applier.pass()).requests === 0, 'a pass finds nothing to do');
  };
  const remove = (end: string): Promise<unknown> => fleet.pool.query(`update processors set status = 'terminated' where id::text like '%' || $1`, [end]);
  const release = async (version: string): Promise<void> => {
    await fleet.pool.query('update processor_template_versions set version = $1, image_uri = $2', [version, `registry.example.com/camera:${version}`]);
    await fleet.pool.query('update dory.state set version = version + 1');
  };
  const events = async (): Promise<readonly { readonly evidence: Readonly<Record<string, unknown>> }[]> => (await fleet.pool.query<{ evidence: Readonly<Record<string, unknown>> }>(`select evidence from dory.events where kind = 'drift' order by id`)).rows;
  const problems = async (): Promise<readonly string[]> => (await fleet.pool.query<{ reason: string }>('select reason from dory.apply_problems order by object')).rows.map(({ reason }) => reason);

  test('creates what is committed, and sends nothing while that is so, not even after a restart', async () => {
    const first = start();
    const report = await first.applier.pass();
    expect(report.outcomes.map(({ kind }) => kind)).toEqual(['created', 'created', 'created']);
    expect(report.complete).toBe(true);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    expect(await first.applier.pass()).toMatchObject({ requests: 0, inSync: 3, complete: true });
    const before = (await sets()).map(({ metadata }) => metadata.resourceVersion);
    const second = start();
    expect(await second.applier.pass()).toMatchObject({ requests: 0, inSync: 3, complete: true, outcomes: [] });
    expect((await sets()).map(({ metadata }) => metadata.resourceVersion)).toEqual(before);
    expect((await fleet.pool.query('select shard, revision from dory.applied')).rows).toEqual([{ shard: 'clusters/test/processors', revision: '1' }]);
  });

  test('brings a new commit, and prunes what it has no more', async () => {
    const { applier } = start();
    await applier.pass();
    await release('1.0.1');
    await remove('c2');
    await fleet.once();
    const report = await applier.pass();
    expect(report.outcomes.map(({ kind }) => kind).sort()).toEqual(['configured', 'configured', 'pruned']);
    await until(async () => (await names()).join() === 'c1 1,c3 1', 'c2 is gone');
    await settled({ applier } as OpenApplier);
  });

  test('puts back what somebody changed, and says who, what and when', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    const woken = opened.changes();
    await server.kubectl('scale', 'statefulset', name, '--replicas=5');
    await until(() => opened.changes() > woken, 'the change is seen');
    const report = await opened.applier.pass();
    expect(report.outcomes.map(({ kind }) => kind)).toEqual(['configured']);
    expect((await sets()).map(({ spec }) => spec.replicas)).toEqual([1, 1, 1]);
    const [event] = await events();
    expect(event?.evidence).toMatchObject({ action: 'corrected', deleted: false, fields: ['spec.replicas'], who: [{ manager: 'kubectl', operation: 'Update' }] });
    await settled(opened);
  });

  test('tells of a field that was removed, and of one that was set in an editor, and when', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c1'), opened.changes()];
    await server.kubectl('set', 'env', 'statefulset', name, 'PROCESSOR_ID=another', 'DORY_APP_NAME-');
    await until(() => opened.changes() > woken, 'the change is seen');
    await opened.applier.pass();
    const [event] = await events();
    expect(event?.evidence).toMatchObject({ who: [{ manager: 'kubectl-set', operation: 'Update' }] });
    expect(event?.evidence['fields']).toEqual(['spec.template.spec.containers[processor].env[PROCESSOR_ID].value', 'spec.template.spec.containers[processor].env[DORY_APP_NAME]']);
    expect(JSON.stringify(event?.evidence)).toMatch(/"when":"20\d\d-/);
    await settled(opened);
  });

  test('leaves the fields of others alone', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    await server.kubectl('annotate', 'statefulset', name, 'example.com/note=theirs');
    await server.kubectl('rollout', 'restart', 'statefulset', name);
    const { applier } = start();
    for (const one of [opened.applier, applier]) expect((await one.pass()).requests).toBe(0);
    expect((await sets()).find(({ metadata }) => metadata.name === name)?.metadata.annotations['example.com/note']).toBe('theirs');
  });

  test('only tells of drift where that is asked for, once', async () => {
    const opened = start({ settings: { drift: 'report' } });
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c1'), opened.changes()];
    await server.kubectl('scale', 'statefulset', name, '--replicas=5');
    await until(() => opened.changes() > woken, 'the change is seen');
    for (let n = 0; n < 3; n += 1) expect((await opened.applier.pass()).complete).toBe(false);
    expect((await sets()).find(({ metadata }) => metadata.name === name)?.spec.replicas).toBe(5);
    expect((await events()).map(({ evidence }) => evidence['action'])).toEqual(['reported']);
    expect(await problems()).toEqual(['drift-reported']);
  });

  test('creates anew what somebody deleted', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c3'), opened.changes()];
    await server.kubectl('delete', 'statefulset', name);
    await until(() => opened.changes() > woken, 'the deletion is seen');
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['created']);
    expect((await events()).map(({ evidence }) => [evidence['deleted'], evidence['object']])).toEqual([[true, `apps/v1/StatefulSet/default/${name}`]]);
  });

  test('never applies a placement of which the cluster shows a later one, and never prunes what a later revision put there', async () => {
    const { applier } = start();
    await applier.pass();
    const name = await nameOf('c1');
    const [{ metadata, spec } = { metadata: {}, spec: {} }] = (await sets()).filter((each) => each.metadata.name === name) as unknown as readonly { metadata: Record<string, unknown>; spec: Record<string, unknown> }[];
    const later = name.replace('-e1', '-e2');
    await server.send('DELETE', `${path(name)}?propagationPolicy=Background`);
    await server.send('POST', '/apis/apps/v1/namespaces/default/statefulsets', { metadata: { name: later, labels: metadata['labels'], annotations: { 'dory.io/epoch': '2', 'dory.io/revision': '2' } }, spec });
    const restarted = start();
    const report = await restarted.applier.pass();
    expect(report.problems.map(({ reason }) => reason)).toEqual(['higher-epoch']);
    expect(report.outcomes.filter(({ kind }) => kind !== 'skipped')).toEqual([]);
    expect(await names()).toEqual(['c1 2', 'c2 1', 'c3 1']);
  });

  test('prunes by budget, keeps the rest for later, and never what another database put there', async () => {
    const opened = start({ settings: { deleteFloor: 1 } });
    await opened.applier.pass();
    const [one] = await sets();
    const labels = { ...one?.metadata.labels, 'processor-id': '00000000-0000-4000-8000-0000000000ff' };
    await server.kubectl('apply', '--server-side', '--field-manager=dory-orchestrator', '-f', await manifest({ ...one, metadata: { name: 'another-e1', namespace: 'default', labels, annotations: { 'dory.io/epoch': '1', 'dory.io/revision': '1' } }, apiVersion: 'apps/v1', kind: 'StatefulSet' }));
    await remove('c1');
    await remove('c2');
    await fleet.once();
    const report = await opened.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(1);
    expect(report.problems.map(({ reason }) => reason).sort()).toEqual(['delete-budget', 'not-ours']);
    expect((await opened.applier.pass()).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(0);
    const later = start({ settings: { deleteFloor: 10 } });
    expect((await later.applier.pass()).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(1);
    await until(async () => (await names()).join() === 'c3 1,ff 1', 'what is not ours is left');
  });

  const manifest = async (object: unknown): Promise<string> => {
    const file = `${server.folder}/object.json`;
    await writeFile(file, JSON.stringify(object, (key, value: unknown) => (['managedFields', 'uid', 'resourceVersion', 'creationTimestamp', 'generation', 'status'].includes(key) ? undefined : value)));
    return file;
  };

  test('a commit without any object empties the cluster only where a person says so', async () => {
    await start().applier.pass();
    const tree = (await fleet.engine.repository.ownTree())!;
    const empty = start({ tree: { ...tree, files: new Map() } });
    const report = await empty.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind === 'pruned')).toEqual([]);
    expect(report.problems.map(({ reason }) => reason)).toEqual(['delete-budget', 'delete-budget', 'delete-budget']);
    expect((await empty.applier.pass({ allowEmpty: true })).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(3);
  });

  test('nothing is pruned, and nothing sent, while the cluster gives no news', async () => {
    const opened = start();
    await opened.applier.pass();
    await remove('c1');
    await fleet.once();
    const unknown = start({ kubeconfig: await deafKubeconfig() });
    const report = await unknown.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind !== 'skipped')).toEqual([]);
    expect(report.complete).toBe(false);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['pruned']);
  });

  const deafKubeconfig = async (): Promise<string> => {
    const file = `${server.folder}/deaf.kubeconfig`;
    await server.writeKubeconfig(file, { token: 'wrong', server: 'https://127.0.0.1:1' });
    return file;
  };

  test('two instances at once come to the same, and one that leads no more sends nothing', async () => {
    const [one, two] = [start(), start()];
    await Promise.all([one.applier.pass(), two.applier.pass()]);
    await settled(one);
    await settled(two);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    await release('1.0.2');
    await fleet.once();
    const deposed = start({ assertLeading: () => Promise.reject(new Error('deposed')) });
    await expect(deposed.applier.pass()).rejects.toThrow('deposed');
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.0']));
    await one.applier.pass();
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.2']));
  });

  test('takes over from kubectl as it is, and from Argo CD only when told to; and there is a way back', async () => {
    const yaml = await committed();
    await server.kubectl('apply', '-f', yaml);
    const opened = start();
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['configured', 'configured', 'configured']);
    const managers = async (): Promise<readonly string[]> => [...new Set((await sets()).flatMap(({ metadata }) => metadata.managedFields.map(({ manager }) => manager)))].sort();
    expect(await managers()).toEqual(['dory-orchestrator']);
    expect((await sets()).flatMap(({ metadata }) => Object.keys(metadata.annotations).filter((key) => key.startsWith('kubectl')))).toEqual([]);
    await settled(opened);

    await emptyCluster();
    await server.kubectl('apply', '--server-side', '--field-manager=argocd-controller', '-f', yaml);
    await server.kubectl('annotate', '--field-manager=argocd-controller', 'statefulset', '--all', 'argocd.argoproj.io/tracking-id=fleet:apps/StatefulSet:default/x');
    const careful = start();
    expect((await careful.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['tracked-by-argocd', 'tracked-by-argocd', 'tracked-by-argocd']);
    const dry = await careful.applier.pass({ adopt: true, dryRun: true });
    expect(dry.outcomes.map(({ kind }) => kind)).toEqual(['configured', 'configured', 'configured']);
    expect(await managers()).toEqual(['argocd-controller']);
    expect((await careful.applier.pass({ adopt: true })).complete).toBe(true);
    expect(await managers()).toEqual(['dory-orchestrator']);
    expect((await sets()).flatMap(({ metadata }) => Object.keys(metadata.annotations).filter((key) => key.startsWith('argocd')))).toEqual([]);
    await settled(careful);

    for (const ref of (await careful.committed()).refs) {
      const patch = giveBack((await careful.objects.read(ref))!, { manager: 'argocd-controller', apiVersion: ref.apiVersion });
      expect(await careful.objects.patch(ref, patch!)).toBe(true);
    }
    expect(await managers()).toEqual(['argocd-controller']);
    await server.kubectl('apply', '--server-side', '--field-manager=argocd-controller', '-f', yaml);
  });

  /** What a person or a GitOps tool applies: the files of the branch. */
  const committed = async (): Promise<string> => {
    const paths = (await fleet.git('ls-tree', '-r', '--name-only', 'main', 'clusters/test/processors')).split('\n').filter((file) => file.endsWith('.yaml'));
    const file = `${server.folder}/committed.yaml`;
    await writeFile(file, (await Promise.all(paths.map((each) => fleet.git('show', `main:${each}`)))).join('\n---\n'));
    return file;
  };

  test('a storm of changes is put back, each of them', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    for (let n = 2; n < 7; n += 1) {
      await server.kubectl('scale', 'statefulset', '--all', `--replicas=${String(n)}`);
      await opened.applier.pass();
    }
    await until(async () => {
      await opened.applier.pass();
      return (await sets()).every(({ spec }) => spec.replicas === 1);
    }, 'all is as committed');
    await settled(opened);
  });

  test('a newer commit overtakes one that is being applied', async () => {
    let applying: OpenApplier | null = null;
    let asked = 0;
    // The newer commit comes when the first batch is about to go out.
    applying = start({ assertLeading: async () => {
      asked += 1;
      if (asked > 1) return;
      await release('1.0.3');
      await fleet.once();
      applying?.applier.overtake();
    } });
    const overtaken = await applying.applier.pass();
    expect(overtaken.complete).toBe(false);
    const { complete, revision } = await applying.applier.pass();
    expect([complete, revision]).toEqual([true, 2]);
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.3']));
  });

  test('a commit that is older than what was committed is not applied', async () => {
    const tree = (await fleet.engine.repository.ownTree())!;
    const { applier } = start({ tree: { ...tree, revision: 0 as never } });
    expect(await applier.pass()).toMatchObject({ requests: 0, outcomes: [] });
    expect(await names()).toEqual([]);
  });
});

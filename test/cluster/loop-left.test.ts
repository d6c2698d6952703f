import { readFile } from 'node:fs/promises';
import { describe, expect, inject, test } from 'vitest';
import { apiProxy } from '../support/api-proxy.ts';
import { useLoop, type Started } from '../support/loop.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

describe.skipIf(typeof programs === 'string')('what the loop finds as somebody left it', () => {
  const world = useLoop(programs);
  const { closes, sets, nameOf, start, settled, remove, events, problems, manifest, committed, committedWith } = world;
  /** With rights that the program's own account has not: to write what is no StatefulSet. */
  const startAsPerson = (more: Parameters<typeof start>[0]): Started => start({ ...more, kubeconfig: world.server.kubeconfig });
  const asIs = (_path: string, text: string): string => text;
  const applied = (report: Awaited<ReturnType<Started['applier']['pass']>>): readonly string[] => report.outcomes.map((outcome) => [outcome.kind, outcome.ref.kind, 'reason' in outcome ? outcome.reason : ''].join(' ').trim()).sort();

  test('a start compares no text of a folder that is as it was left; it does where one object of it is not', async () => {
    const first = start();
    await first.applier.pass();
    await settled(first);
    const counted = () => {
      let reads = 0;
      const { repository } = world.fleet.engine;
      return { trees: { readBlobs: (names: readonly string[]) => { reads += names.length; return repository.readBlobs(names); } }, reads: () => reads };
    };
    const second = counted();
    expect(await start(second).applier.pass()).toMatchObject({ requests: 0, inSync: 3, complete: true });
    // Once, to see what the files name.
    expect(second.reads()).toBe(3);
    await world.server.kubectl('scale', 'statefulset', await nameOf('c1'), '--replicas=5');
    const third = counted();
    expect(applied(await start(third).applier.pass())).toEqual(['configured StatefulSet']);
    expect(third.reads()).toBeGreaterThan(3);
  });

  test('what was changed while nobody looked is put back and told; where drift is only reported, it is told and left', async () => {
    const first = start();
    await first.applier.pass();
    await settled(first);
    const name = await nameOf('c1');
    await world.server.kubectl('set', 'env', 'statefulset', name, 'PROCESSOR_ID=another', 'DORY_APP_NAME-');
    const careful = start({ settings: { drift: 'report' } });
    for (let n = 0; n < 3; n += 1) expect((await careful.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['drift-reported']);
    expect(await world.server.kubectl('get', 'statefulset', name, '-o', 'jsonpath={.spec.template.spec.containers[0].env}')).toContain('another');
    expect((await events()).map(({ evidence: { action, who } }) => [action, who])).toMatchObject([['reported', [{ manager: 'kubectl-set' }]]]);
    expect((await start().applier.pass()).complete).toBe(true);
    expect(await world.server.kubectl('get', 'statefulset', name, '-o', 'jsonpath={.spec.template.spec.containers[0].env}')).not.toContain('another');
    expect((await events()).map(({ evidence: { action, who } }) => [action, who]).slice(1)).toMatchObject([['corrected', [{ manager: 'kubectl-set' }]]]);
    expect(await problems()).toEqual([]);
  });

  test('a change that is left and undone by itself is told again when it comes back', async () => {
    const opened = start({ settings: { drift: 'report' } });
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    for (const [replicas, wanted] of [[5, 1], [1, 0], [5, 1]] as const) {
      await world.server.kubectl('scale', 'statefulset', name, `--replicas=${String(replicas)}`);
      // Owned by somebody else now, whatever it holds: ours again where the values are.
      if (wanted === 0) await start({ settings: { drift: 'correct' } }).applier.pass();
      await until(async () => (await opened.applier.pass()).problems.length === wanted, 'it is seen');
    }
    expect((await events()).filter(({ evidence }) => evidence['action'] === 'reported')).toHaveLength(2);
  });

  test('what can only be created anew is, and nobody is said to have deleted it', async () => {
    let now = await committedWith(1, asIs);
    // One process, which knows that they were in sync.
    const opened = start({ trees: { ownTree: () => now.ownTree(), readBlobs: (names) => now.readBlobs(names) } });
    await opened.applier.pass();
    await settled(opened);
    now = await committedWith(2, (path, text) => (path.includes('/processors/') ? text.replace('podManagementPolicy: Parallel', 'podManagementPolicy: OrderedReady') : text));
    await opened.applier.pass();
    // What the garbage collector does when their pods are gone.
    for (const { metadata: { name } } of await sets()) await world.server.kubectl('patch', 'statefulset', name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
    await until(async () => (await opened.applier.pass()).complete, 'all of it is there');
    expect((await sets()).map(({ spec }) => (spec as unknown as { podManagementPolicy: string }).podManagementPolicy)).toEqual(['OrderedReady', 'OrderedReady', 'OrderedReady']);
    expect(await events()).toEqual([]);
  });

  test('what can only be created anew goes within the delete budget; the rest runs on as it was, and costs no request meanwhile', async () => {
    await start().applier.pass();
    const anew = await committedWith(2, (path, text) => (path.includes('/processors/') ? text.replace('podManagementPolicy: Parallel', 'podManagementPolicy: OrderedReady') : text));
    const careful = { deleteFloor: 1, deleteShare: 0.01 };
    const deposed = start({ trees: anew, settings: careful, assertLeading: () => Promise.reject(new Error('deposed')) });
    await expect(deposed.applier.pass()).rejects.toThrow('deposed');
    const opened = start({ trees: anew, settings: careful });
    expect(applied(await opened.applier.pass())).toEqual(['skipped StatefulSet delete-budget', 'skipped StatefulSet delete-budget', 'skipped StatefulSet terminating']);
    const ending = async (): Promise<number> => (await sets()).filter(({ metadata }) => 'deletionTimestamp' in metadata).length;
    expect(await ending()).toBe(1);
    const again = await opened.applier.pass();
    expect([applied(again), again.requests]).toEqual([['skipped StatefulSet delete-budget', 'skipped StatefulSet delete-budget', 'skipped StatefulSet terminating'], 0]);
    expect(await problems()).toEqual(['delete-budget', 'delete-budget']);
    // A restart gives no new budget.
    await start({ trees: anew, settings: careful }).applier.pass();
    expect(await ending()).toBe(1);
    const spent = await world.fleet.pool.query<{ because: string }>(`select evidence ->> 'because' as because from dory.events where kind = 'prune'`);
    expect(spent.rows).toEqual([{ because: 'immutable' }]);
    await world.fleet.pool.query(`update dory.events set at = at - interval '1 hour' where kind = 'prune'`);
    await opened.applier.pass();
    expect(await ending()).toBe(2);
    for (const { metadata: { name } } of await sets()) await world.server.kubectl('patch', 'statefulset', name, '--type=merge', '-p', '{"metadata":{"finalizers":null}}');
  });

  const configMap = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels:\n    managed-by: dory-orchestrator\n  name: extra\n  namespace: default\ndata:\n  a: "1"\n`;
  const maps = (): Promise<string> => world.server.kubectl('get', 'configmaps', '-l', 'managed-by=dory-orchestrator', '-o', 'name');

  test('of a kind that no commit has any more, the next process finds what a failed prune left', async () => {
    closes.push(() => world.server.kubectl('delete', 'configmap', 'extra', '--ignore-not-found'));
    const first = startAsPerson({ trees: await committedWith(2, asIs, { 'clusters/test/processors/extra.yaml': configMap }) });
    expect((await first.applier.pass()).complete).toBe(true);
    expect(await maps()).toContain('extra');
    const without = await committedWith(3, asIs);
    // Its budget is spent.
    const second = startAsPerson({ trees: without, settings: { deleteFloor: 1, deleteShare: 0.01 } });
    await world.fleet.pool.query(`insert into dory.events (kind, evidence) values ('prune', '{"object": "v1/ConfigMap/default/another"}')`);
    expect((await second.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['delete-budget']);
    await world.fleet.pool.query(`delete from dory.events where kind = 'prune'`);
    expect(applied(await startAsPerson({ trees: without }).applier.pass())).toEqual(['pruned ConfigMap']);
    expect(await maps()).toBe('');
    expect((await world.fleet.pool.query(`select evidence ->> 'object' as object from dory.events where kind = 'prune'`)).rows).toEqual([{ object: 'v1/ConfigMap/default/extra' }]);
    expect((await world.fleet.pool.query('select kinds from dory.applied')).rows).toEqual([{ kinds: ['apps/v1/StatefulSet'] }]);
  });

  test('a restart gives no new delete budget', async () => {
    await start().applier.pass();
    await remove('c1');
    await remove('c2');
    await world.fleet.once();
    const pruned = async (): Promise<number> => (await start({ settings: { deleteFloor: 1, deleteShare: 0.01 } }).applier.pass()).outcomes.filter(({ kind }) => kind === 'pruned').length;
    expect([await pruned(), await pruned(), await pruned()]).toEqual([1, 0, 0]);
  });

  test('the last processor goes only where a person says so, whatever else the commit holds', async () => {
    closes.push(() => world.server.kubectl('delete', 'configmap', 'extra', '--ignore-not-found'));
    await start().applier.pass();
    for (const end of ['c1', 'c2', 'c3']) await remove(end);
    const nobody = await committedWith(2, (path, text) => (path.includes('/processors/') ? null : text), { 'clusters/test/processors/extra.yaml': configMap });
    const opened = startAsPerson({ trees: nobody });
    expect((await opened.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['delete-budget', 'delete-budget', 'delete-budget']);
    expect(await sets()).toHaveLength(3);
    expect((await opened.applier.pass({ allowEmpty: true })).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(3);
  });

  test('a namespaced object without a namespace is one refusal, for which nothing is sent, and holds up no other', async () => {
    const opened = start({ trees: await committedWith(2, asIs, { 'clusters/test/processors/extra.yaml': configMap.replace('  namespace: default\n', '') }) });
    const report = await opened.applier.pass();
    expect(applied(report)).toEqual(['created StatefulSet', 'created StatefulSet', 'created StatefulSet', 'failed ConfigMap invalid']);
    expect(report.outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.detail] : []))).toEqual(['it names no namespace, and a ConfigMap lies in one']);
    const again = await opened.applier.pass();
    expect([applied(again), again.requests]).toEqual([['skipped ConfigMap backing-off'], 0]);
  });

  const account = 'apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  labels:\n    app: dory-orchestrator\n    kept: "1"\n  name: some-account\n  namespace: default\n';

  test('the system\'s own objects, which no label shows, are applied, left alone, and not taken from others; Argo CD\'s are not applied at all', async () => {
    closes.push(() => world.server.kubectl('delete', 'serviceaccount', 'some-account', '--ignore-not-found'));
    const application = 'apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: a\n  namespace: argocd\nspec: {}\n';
    const trees = await committedWith(2, asIs, { 'clusters/test/system/account.yaml': account, 'clusters/test/argocd/application.yaml': application });
    const settings = { system: true };
    const only = { ...trees, ownTree: async () => { const tree = (await trees.ownTree())!; return { ...tree, files: new Map([...tree.files].filter(([path]) => !path.includes('/system/') || path.endsWith('/account.yaml'))) }; } };
    const opened = startAsPerson({ trees: only, settings });
    expect(applied(await opened.applier.pass())).toEqual(['created ServiceAccount', 'created StatefulSet', 'created StatefulSet', 'created StatefulSet']);
    expect(await opened.applier.pass()).toMatchObject({ requests: 0, inSync: 4, complete: true });
    // A start reads it, and sends nothing else.
    expect(await startAsPerson({ trees: only, settings }).applier.pass()).toMatchObject({ inSync: 4, complete: true, outcomes: [] });
    await world.server.kubectl('label', '--overwrite', 'serviceaccount', 'some-account', 'app=changed');
    expect(applied(await startAsPerson({ trees: only, settings }).applier.pass())).toEqual(['configured ServiceAccount']);
    expect(await world.server.kubectl('get', 'serviceaccount', 'some-account', '-o', 'jsonpath={.metadata.labels.app}')).toBe('dory-orchestrator');
    await world.server.kubectl('delete', 'serviceaccount', 'some-account');
    await world.server.kubectl('create', 'serviceaccount', 'some-account');
    expect(applied(await startAsPerson({ trees: only, settings }).applier.pass())).toEqual(['skipped ServiceAccount not-ours']);
    expect(applied(await startAsPerson({ trees: only, settings: { ...settings, adopt: true } }).applier.pass())).toEqual(['configured ServiceAccount']);
  });

  test('an object with a strange label of a processor stops nothing', async () => {
    closes.push(() => world.server.kubectl('delete', 'statefulset', 'stray'));
    await start().applier.pass();
    const [one] = await sets();
    await world.server.kubectl('apply', '-f', await manifest({ ...one, metadata: { name: 'stray', namespace: 'default', labels: { ...one?.metadata.labels, 'processor-id': 'not-an-id' } }, apiVersion: 'apps/v1', kind: 'StatefulSet' }));
    const opened = start();
    expect(await opened.applier.pass()).toMatchObject({ complete: true, inSync: 3 });
    await world.server.kubectl('apply', '--server-side', '--force-conflicts', '--field-manager=dory-orchestrator', '-f', `${world.server.folder}/object.json`);
    expect((await start().applier.pass()).problems.map(({ reason }) => reason)).toEqual(['not-ours']);
  });

  test('what somebody changes again and again is put back with growing pauses', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    let waited = 0;
    for (let n = 0; n < 14; n += 1) {
      const woken = opened.changes();
      await world.server.kubectl('scale', 'statefulset', name, `--replicas=${String(n + 2)}`);
      await until(() => opened.changes() > woken || waited > 0, 'the change is seen');
      const { problems: left, due } = await opened.applier.pass();
      if (!left.some(({ reason }) => reason === 'backing-off')) continue;
      waited += 1;
      expect(due).toBeGreaterThan(0);
      expect(due).toBeLessThanOrEqual(60_000);
    }
    expect(waited).toBeGreaterThan(0);
    await until(async () => (await opened.applier.pass()).complete, 'it is put back in the end');
    expect((await events()).length).toBeLessThan(16);
  });

  test('of drift that can\'t be looked into nothing is told until it can be, and it holds up nothing else', async () => {
    const first = start();
    await first.applier.pass();
    await settled(first);
    const name = await nameOf('c1');
    await world.server.kubectl('scale', 'statefulset', name, '--replicas=5');
    let forbidden = true;
    const proxy = await apiProxy(world.server, (line) => (forbidden && line === `GET /apis/apps/v1/namespaces/default/statefulsets/${name}` ? { kind: 'answer', status: 403, body: '{}' } : { kind: 'pass' }));
    closes.push(() => proxy.close());
    const kubeconfig = `${world.server.folder}/forbidden.kubeconfig`;
    await world.server.writeKubeconfig(kubeconfig, { token: /token: (\S+)/.exec(await readFile(world.server.own, 'utf8'))?.[1] ?? '', server: proxy.url });
    await world.server.kubectl('delete', 'statefulset', await nameOf('c2'));
    const careful = start({ settings: { drift: 'report' }, kubeconfig });
    expect(applied(await careful.applier.pass())).toEqual(['created StatefulSet', 'skipped StatefulSet drift-reported']);
    expect((await careful.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['drift-reported']);
    expect(await events()).toEqual([]);
    forbidden = false;
    await careful.applier.pass();
    await careful.applier.pass();
    expect((await events()).map(({ evidence }) => evidence['action'])).toEqual(['reported']);
  });

  test('whoever leads no more takes no field from anybody', async () => {
    await world.server.kubectl('apply', '-f', await committed());
    const managers = async (): Promise<readonly string[]> => [...new Set((await sets()).flatMap(({ metadata }) => metadata.managedFields.map(({ manager }) => manager)))];
    await expect(start({ assertLeading: () => Promise.reject(new Error('deposed')) }).applier.pass()).rejects.toThrow('deposed');
    expect(await managers()).toEqual(['kubectl-client-side-apply']);
  });
});

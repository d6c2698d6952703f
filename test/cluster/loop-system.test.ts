import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { readApplied } from '../../src/operator/applied-view.ts';
import { apiProxy } from '../support/api-proxy.ts';
import { grantAlso } from '../support/cluster-fleet.ts';
import { useLoop, type Started } from '../support/loop.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

describe.skipIf(typeof programs === 'string')('objects of the system that a commit has no more', () => {
  const world = useLoop(programs);
  const { closes, start, committedWith } = world;
  const settings = { system: true };

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    // To apply the system's own manifests takes an administrator's rights: they hold rights themselves.
    await grantAlso(world.server, [
      { group: 'rbac.authorization.k8s.io', resources: ['roles', 'rolebindings'] }, { group: 'apiextensions.k8s.io', resources: ['customresourcedefinitions'] },
      { group: '', resources: ['serviceaccounts', 'configmaps', 'namespaces'] },
    ]);
    for (const name of ['stays', 'harbor', 'wind']) await world.server.send('POST', '/api/v1/namespaces', { metadata: { name } });
  });

  const supportOf = async (namespace: string): Promise<Readonly<Record<string, string>>> => {
    const text = await world.fleet.git('show', 'main:clusters/test/system/processor-access-default.yaml');
    return { [`clusters/test/system/processor-access-${namespace}.yaml`]: text.replaceAll('namespace: default', `namespace: ${namespace}`) };
  };
  const configMap = (name: string): string => `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: default\ndata:\n  a: "1"\n`;
  const file = (name: string): string => `clusters/test/system/${name}.yaml`;
  const whole = { [file('orchestrator')]: configMap('the-system') };
  /** As a commit of these files, beside the processors of the fleet, and what they need in a namespace that stays. What `default` needs a person applied. */
  const at = async (revision: number, more: Readonly<Record<string, string>> = {}): Promise<Awaited<ReturnType<typeof committedWith>>> => nothingBut(revision, { ...(await supportOf('stays')), ...more });
  const nothingBut = (revision: number, more: Readonly<Record<string, string>>): ReturnType<typeof committedWith> => committedWith(revision, (path, text) => (path.includes('/system/') ? null : text), more);
  const told = ({ outcomes }: Awaited<ReturnType<Started['applier']['pass']>>): readonly string[] =>
    outcomes.map((outcome) => [outcome.kind, outcome.ref.kind, outcome.ref.name, 'reason' in outcome ? outcome.reason : ''].join(' ').trim()).sort();
  const recorded = async (like: string): Promise<readonly string[]> =>
    (await world.fleet.pool.query<{ object: string }>('select object from dory.system_objects where object like $1 order by place', [like])).rows.map(({ object }) => object);
  const left = async (namespace: string): Promise<readonly string[]> =>
    (await world.server.kubectl('get', 'serviceaccounts,roles,rolebindings', '-n', namespace, '-l', 'app=dory-orchestrator', '-o', 'name')).split('\n').filter((line) => line !== '').sort();
  const support = ['serviceaccount/dory-processor', 'role.rbac.authorization.k8s.io/dory-processor', 'rolebinding.rbac.authorization.k8s.io/dory-processor', 'role.rbac.authorization.k8s.io/dory-orchestrator-secrets', 'rolebinding.rbac.authorization.k8s.io/dory-orchestrator-secrets'].sort();

  test('are deleted by the next process, and not while pods may need them; what others have is left', async () => {
    closes.push(() => world.server.kubectl('delete', 'roles,serviceaccounts', '-n', 'harbor', '-l', 'app=dory-orchestrator'));
    const first = await start({ settings, trees: await at(2, await supportOf('harbor')) }).applier.pass();
    expect(first.complete).toBe(true);
    expect(await left('harbor')).toEqual(support);
    // Somebody's, with our label; and one that somebody made anew.
    await world.server.kubectl('create', 'role', 'somebodys', '-n', 'harbor', '--verb=get', '--resource=pods');
    await world.server.kubectl('label', 'role', 'somebodys', '-n', 'harbor', 'app=dory-orchestrator');
    await world.server.kubectl('delete', 'serviceaccount', 'dory-processor', '-n', 'harbor');
    await world.server.kubectl('create', 'serviceaccount', 'dory-processor', '-n', 'harbor');
    await world.server.send('POST', '/api/v1/namespaces/harbor/pods', { metadata: { name: 'ends', labels: { 'managed-by': 'dory-orchestrator' } }, spec: { serviceAccountName: 'dory-processor', containers: [{ name: 'a', image: 'a' }] } });

    const dropped = await at(3);
    const opened = start({ settings, trees: dropped });
    const held = await opened.applier.pass();
    expect(told(held)).toEqual(['skipped Role dory-orchestrator-secrets in-use', 'skipped Role dory-processor in-use', 'skipped RoleBinding dory-orchestrator-secrets in-use', 'skipped RoleBinding dory-processor in-use']);
    expect([held.complete, held.requests]).toEqual([false, 0]);
    await world.server.kubectl('delete', 'pod', 'ends', '-n', 'harbor', '--force', '--grace-period=0');
    expect(told(await start({ settings: { system: false }, trees: dropped }).applier.pass())).toEqual([]);
    expect(told(await start({ settings, trees: dropped }).applier.pass({ dryRun: true })).filter((line) => line.startsWith('pruned'))).toHaveLength(4);
    expect(await recorded('%/harbor/%')).toHaveLength(4);
    const pruned = await opened.applier.pass();
    expect(pruned.outcomes.map(({ kind, ref }) => `${kind} ${ref.kind} ${ref.name}`)).toEqual(expect.arrayContaining(['pruned RoleBinding dory-processor', 'pruned Role dory-processor', 'pruned RoleBinding dory-orchestrator-secrets', 'pruned Role dory-orchestrator-secrets']));
    // And one, to ask for the kinds of their group.
    expect([pruned.complete, pruned.requests]).toEqual([true, 4 + 1]);
    expect(await left('harbor')).toEqual(['role.rbac.authorization.k8s.io/somebodys']);
    expect(await world.server.kubectl('get', 'serviceaccount', 'dory-processor', '-n', 'harbor', '-o', 'name')).toContain('dory-processor');
    expect([await left('stays'), await recorded('%/harbor/%')]).toEqual([support, []]);
    expect(await opened.applier.pass()).toMatchObject({ requests: 0, complete: true, outcomes: [] });
  });

  test('are deleted within the budget, of which a restart gives no more, and only by who leads', async () => {
    await start({ settings, trees: await at(2, await supportOf('wind')) }).applier.pass();
    const dropped = await at(3);
    await expect(start({ settings, trees: dropped, assertLeading: () => Promise.reject(new Error('deposed')) }).applier.pass()).rejects.toThrow('deposed');
    expect(await left('wind')).toEqual(support);
    const some = { ...settings, deleteFloor: 2, deleteShare: 0.01 };
    const report = await start({ settings: some, trees: dropped }).applier.pass();
    expect(told(report).map((line) => line.split(' ').at(line.startsWith('pruned') ? 0 : -1)).sort()).toEqual(['delete-budget', 'delete-budget', 'delete-budget', 'pruned', 'pruned']);
    expect((await start({ settings: some, trees: dropped }).applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['skipped', 'skipped', 'skipped']);
    expect((await start({ settings, trees: dropped }).applier.pass()).complete).toBe(true);
    expect(await left('wind')).toEqual([]);
  });

  const definition = 'apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: boats.dory.example\nspec:\n  group: dory.example\n  names: {kind: Boat, plural: boats, singular: boat}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n';

  test('are never a definition or a namespace: they are told, with what a person can do', async () => {
    const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata:\n  labels:\n    app: dory-orchestrator\n  name: kept\n';
    const opened = start({ settings, trees: await at(2, { ...whole, [file('more')]: [definition, namespace, configMap('dropped')].join('---\n') }) });
    expect((await opened.applier.pass()).complete).toBe(true);
    const dropped = await at(3, whole);
    const next = start({ settings, trees: dropped });
    expect(told(await next.applier.pass())).toEqual(['pruned ConfigMap dropped', 'skipped CustomResourceDefinition boats.dory.example kept', 'skipped Namespace kept kept']);
    const { problems } = await readApplied(world.fleet.pool, 9);
    expect(problems.map(({ object, reason, mend }) => [object, reason, mend !== null])).toEqual([['apiextensions.k8s.io/v1/CustomResourceDefinition//boats.dory.example', 'kept', true], ['v1/Namespace//kept', 'kept', true]]);
    for (const each of ['crd/boats.dory.example', 'namespace/kept']) await world.server.kubectl('get', each);
    await world.server.kubectl('delete', 'crd', 'boats.dory.example');
    await world.server.send('DELETE', '/api/v1/namespaces/kept');
    await world.server.send('PUT', '/api/v1/namespaces/kept/finalize', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'kept' }, spec: { finalizers: [] } });
    await until(async () => (await next.applier.pass()).complete, 'a person has deleted both');
    expect([await recorded('%kept'), (await readApplied(world.fleet.pool, 9)).problems]).toEqual([[], []]);
  });

  test('are kept where all of the system is missing, as settings that are not complete leave it', async () => {
    closes.push(() => world.server.kubectl('delete', 'configmap', 'the-system', 'dashboard', '--ignore-not-found'));
    const all = { ...whole, [file('monitoring')]: configMap('dashboard'), ...(await supportOf('wind')) };
    expect((await start({ settings, trees: await at(2, all) }).applier.pass()).complete).toBe(true);
    // What processors need in their namespaces depends on no setting.
    const incomplete = await at(3);
    const kept = ['skipped ConfigMap dashboard kept', 'skipped ConfigMap the-system kept'];
    expect(told(await start({ settings, trees: incomplete }).applier.pass()).filter((line) => !line.startsWith('pruned'))).toEqual(kept);
    expect(await left('wind')).toEqual([]);
    const nothing = await nothingBut(4, {});
    const none = await start({ settings, trees: nothing }).applier.pass();
    expect(new Set(none.problems.map(({ reason }) => reason))).toEqual(new Set(['delete-budget']));
    expect(await left('stays')).toEqual(support);
    expect(told(await start({ settings, trees: nothing }).applier.pass({ allowEmpty: true })).filter((line) => line.includes('ConfigMap'))).toEqual(kept);
    const complete = await at(5, { ...whole });
    expect((await start({ settings, trees: complete }).applier.pass()).complete).toBe(true);
    expect(await world.server.kubectl('get', 'configmap', 'the-system', 'dashboard', '--ignore-not-found', '-o', 'name')).toBe('configmap/the-system\n');
  });

  test('are left while one can\'t be read, which holds up no other; so is what Argo CD tracks', async () => {
    closes.push(() => world.server.kubectl('delete', 'configmap', 'the-system', 'hidden', 'tracked', '--ignore-not-found'));
    const more = { [file('more')]: ['hidden', 'tracked', 'plain'].map(configMap).join('---\n') };
    expect((await start({ settings, trees: await at(2, { ...whole, ...more }) }).applier.pass()).complete).toBe(true);
    await world.server.kubectl('annotate', 'configmap', 'tracked', 'argocd.argoproj.io/tracking-id=fleet:/ConfigMap:default/tracked');
    const proxy = await apiProxy(world.server, (line) => (line === 'GET /api/v1/namespaces/default/configmaps/hidden' ? { kind: 'answer', status: 403, body: '{}' } : { kind: 'pass' }));
    closes.push(() => proxy.close());
    const kubeconfig = `${world.server.folder}/hidden.kubeconfig`;
    await world.server.writeKubeconfig(kubeconfig, { token: /token: (\S+)/.exec(await readFile(world.server.own, 'utf8'))?.[1] ?? '', server: proxy.url });
    expect(told(await start({ settings, kubeconfig, trees: await at(3, whole) }).applier.pass())).toEqual(['pruned ConfigMap plain', 'skipped ConfigMap hidden partial-knowledge', 'skipped ConfigMap tracked tracked-by-argocd']);
    expect(told(await start({ settings, trees: await at(3, whole) }).applier.pass({ adopt: true }))).toEqual(['pruned ConfigMap hidden', 'pruned ConfigMap tracked']);
  });
});

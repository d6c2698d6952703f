import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Action } from '../../src/apply/actions.ts';
import type { Execution } from '../../src/apply/execute.ts';
import type { KubeObject } from '../../src/platform/kube/object.ts';
import { millis } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { addNode, grantAlso, setKubelet, startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import type { ControlPlane, Json } from '../support/control-plane.ts';
import { configMap, desired, liveOf, statefulSet, testExecutor, toApply, told, type TestExecutor } from '../support/executor.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const sets = '/apis/apps/v1/namespaces/default/statefulsets';
const maps = '/api/v1/namespaces/default/configmaps';
const statefulSets = { apiVersion: 'apps/v1', kind: 'StatefulSet' };

describe.skipIf(typeof programs === 'string')('what is committed is sent to the cluster', () => {
  /** What it does itself is done as an administrator, who plays users. */
  let cluster: OwnControlPlane;
  let to: TestExecutor;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    cluster = await startOwnControlPlane({ programs, apply: 'ssa', with: ['controllers', 'scheduler', 'nodes'] });
    await grantAlso(cluster, [
      { group: '', resources: ['configmaps', 'secrets', 'namespaces'] }, { group: 'apiextensions.k8s.io', resources: ['customresourcedefinitions'] },
      { group: 'admissionregistration.k8s.io', resources: ['validatingwebhookconfigurations'] }, { group: 'dory.example', resources: ['boats'] },
    ]);
    to = testExecutor(cluster.own);
  });
  afterAll(async () => {
    to.close();
    await cluster.stop();
  });
  const open: { close(): unknown }[] = [];
  afterEach(async () => {
    for (const each of open.splice(0)) await each.close();
  });
  const send = (yaml: string, force = false): Action => toApply(desired(yaml), null, force);
  const only = ({ outcomes: [outcome] }: Execution) => outcome;

  test('an object is created, configured, found unchanged, and pruned', async () => {
    expect(told(await to.run([send(statefulSet('a'))]))).toEqual(['StatefulSet/default/a created']);
    // Its controller writes the status, which is a version of its own.
    await until(async () => (await cluster.kubectl('get', 'statefulset', 'a', '-o', 'jsonpath={.status.observedGeneration}')) === '1', 'its controller has seen it');
    const first = await liveOf(cluster, `${sets}/a`, statefulSets);
    expect(told(await to.run([toApply(desired(statefulSet('a')), first)]))).toEqual(['StatefulSet/default/a unchanged']);
    const { outcomes } = await to.run([toApply(desired(statefulSet('a', { image: 'registry.example/a:2' })), first)]);
    expect(outcomes).toMatchObject([{ kind: 'configured', live: { uid: first.uid, terminating: false } }]);
    const { metadata } = (await cluster.send('GET', `${sets}/a`)) as { metadata: { managedFields: Json[] } };
    // Of the status.
    const others = ['kube-controller-manager'];
    expect(metadata.managedFields.filter(({ manager }) => !others.includes(String(manager)))).toMatchObject([{ manager: 'dory-orchestrator', operation: 'Apply' }]);

    const stranger = { ...first, uid: '00000000-0000-4000-8000-000000000000' };
    expect(told(await to.run([{ kind: 'prune', live: stranger }]))).toEqual(['StatefulSet/default/a failed precondition soon']);
    expect(told(await to.run([{ kind: 'prune', live: first }]))).toEqual(['StatefulSet/default/a pruned']);
    await expect(cluster.send('GET', `${sets}/a`)).rejects.toThrow('404');
    // Who deleted it does not matter.
    expect(told(await to.run([{ kind: 'prune', live: first }]))).toEqual(['StatefulSet/default/a pruned']);
  });

  test('a kind is asked for once, and an object is one request', async () => {
    const fresh = testExecutor(cluster.own);
    open.push(fresh);
    const actions = Array.from({ length: 20 }, (_, n) => send(configMap(`once-${String(n)}`)));
    expect((await fresh.run(actions)).requests).toBe(21);
    expect((await fresh.run(actions)).requests).toBe(20);
  });

  test('what others own of an object stays as it is, and a field that both want is a conflict that names both', async () => {
    await to.run([send(statefulSet('shared'))]);
    await cluster.kubectl('scale', 'statefulset', 'shared', '--replicas=3');
    await cluster.kubectl('annotate', 'statefulset', 'shared', 'team=blue');
    const result = await to.run([send(statefulSet('shared', { image: 'registry.example/a:2' }))]);
    expect(told(result)).toEqual(['StatefulSet/default/shared failed conflict later']);
    expect(only(result)).toMatchObject({ detail: expect.stringContaining('"kubectl" with subresource "scale" using apps/v1 owns .spec.replicas') as string });
    expect(told(await to.run([send(statefulSet('shared', { image: 'registry.example/a:2' }), true)]))).toEqual(['StatefulSet/default/shared configured']);
    const { spec, metadata } = (await cluster.send('GET', `${sets}/shared`)) as { spec: { replicas: number }; metadata: { annotations: Json } };
    expect([spec.replicas, metadata.annotations]).toEqual([0, { team: 'blue' }]);
  });

  test('a dry run says what would happen, and nothing happens', async () => {
    await to.run([send(statefulSet('dry'))]);
    const live = await liveOf(cluster, `${sets}/dry`, statefulSets);
    const result = await to.run([toApply(desired(statefulSet('dry', { image: 'registry.example/a:2' })), live), send(configMap('dry')), { kind: 'prune', live }], { dryRun: true });
    expect(told(result)).toEqual(['ConfigMap/default/dry created', 'StatefulSet/default/dry configured', 'StatefulSet/default/dry pruned']);
    expect(await liveOf(cluster, `${sets}/dry`, statefulSets)).toMatchObject({ uid: live.uid, owned: live.owned, terminating: false });
    await expect(cluster.send('GET', `${maps}/dry`)).rejects.toThrow('404');
  });

  test('each refusal is what its causes say, and holds up nothing else', async () => {
    await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'full' } });
    await cluster.kubectl('-n', 'full', 'create', 'quota', 'none', '--hard=count/statefulsets.apps=0');
    await cluster.send('POST', '/api/v1/namespaces', { metadata: { name: 'ending' } });
    await cluster.send('POST', '/api/v1/namespaces/ending/configmaps', { metadata: { name: 'stays', finalizers: ['dory.io/test'] } });
    await cluster.send('DELETE', '/api/v1/namespaces/ending');
    await to.run([send(statefulSet('fixed')), send(configMap('sealed', { a: '1' }).replace('\ndata:', '\nimmutable: true\ndata:'))]);
    await refuseByWebhookAndPolicy(cluster);
    const actions = [
      send(statefulSet('fixed', { serviceName: 'other' })),
      send(configMap('sealed', { a: '2' }).replace('\ndata:', '\nimmutable: true\ndata:')),
      send(statefulSet('unknown-field', { more: '          imagePullPolice: Always\n' })),
      send(statefulSet('bad-value', { more: '          imagePullPolicy: Sometimes\n' })),
      send(statefulSet('bad-type').replace('replicas: 0', 'replicas: none')),
      toApply({ ...desired(statefulSet('twice')), yaml: statefulSet('twice').replace('spec:\n', 'spec:\n  replicas: 1\n') }),
      send(statefulSet('full', { namespace: 'full' })),
      send(statefulSet('ending', { namespace: 'ending' })),
      send(statefulSet('nowhere', { namespace: 'nowhere' })),
      send(configMap('denied', { hook: 'policy' })),
      send('apiVersion: v1\nkind: Secret\nmetadata:\n  name: hooked\n  namespace: default\ndata: {}\n'),
      send('apiVersion: dory.example/v1\nkind: Nothing\nmetadata:\n  name: x\n  namespace: default\n'),
      send(configMap('good')),
    ];
    await until(async () => told(await to.run([send(configMap('denied', { hook: String(Math.random()) }))], { dryRun: true })).join('').includes('webhook'), 'the policy holds');
    // No pause ends while the clock stands.
    const still = testExecutor(cluster.own, { ...systemClock, monotonic: () => millis(0) });
    open.push(still);
    const result = await still.run(actions);
    expect(told(result)).toEqual([
      'ConfigMap/default/denied failed webhook later',
      'ConfigMap/default/good created',
      'ConfigMap/default/sealed failed immutable never',
      'Nothing/default/x failed kind-unknown later',
      'Secret/default/hooked failed webhook later',
      'StatefulSet/default/bad-type failed invalid never',
      'StatefulSet/default/bad-value failed invalid never',
      'StatefulSet/default/fixed failed immutable never',
      'StatefulSet/default/twice failed invalid never',
      'StatefulSet/default/unknown-field failed invalid never',
      'StatefulSet/ending/ending failed namespace-terminating later',
      'StatefulSet/full/full failed quota later',
      'StatefulSet/nowhere/nowhere failed namespace-missing later',
    ]);
    // None of them was sent twice, nor is it again as long as nothing changes.
    const kindsAsked = 3;
    expect(result.requests).toBe(actions.length - 1 + kindsAsked);
    const second = await still.run(actions);
    expect(second.requests).toBe(1);
    expect(told(second).filter((line) => line.endsWith('skipped backing-off'))).toHaveLength(12);
    expect(still.executor.retryAt()).toBeGreaterThan(0);
    // Other bytes are another object.
    expect(told(await still.run([send(statefulSet('unknown-field'))]))).toEqual(['StatefulSet/default/unknown-field created']);
    expect(result.outcomes.filter((outcome) => outcome.kind === 'failed' && (outcome.detail === '' || outcome.detail.length > 300))).toEqual([]);
    await cluster.send('PUT', '/api/v1/namespaces/ending/finalize', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'ending' }, spec: { finalizers: [] } });
  });

  test('what is allowed to nobody is forbidden, and what a Secret holds is in no answer', async () => {
    const token = (await cluster.kubectl('create', 'token', 'default')).trim();
    const kubeconfig = join(cluster.folder, 'nobody.kubeconfig');
    await cluster.writeKubeconfig(kubeconfig, { token });
    const nobody = testExecutor(kubeconfig);
    open.push(nobody);
    expect(told(await nobody.run([send(configMap('forbidden'))]))).toEqual(['ConfigMap/default/forbidden failed forbidden later']);
    const secret = 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: told\n  namespace: default\nstringData:\n  a:\n    hunter2: 1\n';
    const result = await to.run([send(secret)]);
    expect(told(result)).toEqual(['Secret/default/told failed invalid never']);
    expect(JSON.stringify(result)).not.toContain('hunter2');
  });

  test('a definition, a namespace, what needs them, and a webhook arrive in one pass', async () => {
    const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: boats.dory.example}
spec:
  group: dory.example
  names: {kind: Boat, plural: boats, singular: boat}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {name: {type: string}}}}}}}]
`;
    const webhook = webhookYaml('last', ['dory.example'], ['boats']);
    const boat = 'apiVersion: dory.example/v1\nkind: Boat\nmetadata: {name: one, namespace: fleet}\nspec: {name: one}\n';
    const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata: {name: fleet}\n';
    const result = await to.run([webhook, boat, namespace, crd].map((yaml) => send(yaml)));
    expect(result.outcomes.map(({ kind, ref }) => `${ref.kind} ${kind}`)).toEqual(['Namespace created', 'CustomResourceDefinition created', 'Boat created', 'ValidatingWebhookConfiguration created']);
    const live = (path: string, apiVersion: string, kind: string) => liveOf(cluster, path, { apiVersion, kind });
    const gone = await to.run([
      { kind: 'prune', live: await live('/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.dory.example', 'apiextensions.k8s.io/v1', 'CustomResourceDefinition') },
      { kind: 'prune', live: await live('/apis/dory.example/v1/namespaces/fleet/boats/one', 'dory.example/v1', 'Boat') },
      { kind: 'prune', live: await live('/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/last', 'admissionregistration.k8s.io/v1', 'ValidatingWebhookConfiguration') },
    ]);
    expect(gone.outcomes.map(({ kind, ref }) => `${ref.kind} ${kind}`)).toEqual(['ValidatingWebhookConfiguration pruned', 'Boat pruned', 'CustomResourceDefinition pruned']);
  });

  test('a field that can\'t be changed is reported; where it may be, the object makes room when its pods are gone, and not before', async () => {
    await addNode(cluster, 'n1', {});
    const replicas = 1;
    await to.run([send(statefulSet('again', { replicas }))]);
    const phase = async (): Promise<string> => ((await cluster.send('GET', '/api/v1/namespaces/default/pods/again-0').catch(() => ({ status: {} }))) as { status: { phase?: string } }).status.phase ?? '';
    await until(async () => (await phase()) === 'Running', 'its pod runs');
    await setKubelet(cluster, 'n1', false);
    const changed = desired(statefulSet('again', { replicas, serviceName: 'other' }));
    const live = await liveOf(cluster, `${sets}/again`, statefulSets);
    const now = await to.run([toApply(changed, live)]);
    expect(told(now)).toEqual(['StatefulSet/default/again failed immutable never']);

    const other = testExecutor(cluster.own);
    open.push(other);
    const recreate = () => () => Promise.resolve(true);
    expect(told(await other.run([toApply(changed, live)], { recreate }))).toEqual(['StatefulSet/default/again skipped terminating']);
    // The kubelet of its pod says nothing: the pod may run.
    const seen = (await cluster.send('GET', `${sets}/again`)) as unknown as KubeObject;
    expect(seen.metadata['finalizers']).toEqual(['foregroundDeletion']);
    expect(told(await other.run([toApply(desired(statefulSet('again', { replicas, image: 'registry.example/a:9' })), live)], { recreate }))).toEqual(['StatefulSet/default/again skipped terminating']);
    await setKubelet(cluster, 'n1', true);
    await until(() => cluster.send('GET', `${sets}/again`).then(() => false, () => true), 'it is gone');
    expect(await phase()).toBe('');
    expect(told(await other.run([toApply(changed)]))).toEqual(['StatefulSet/default/again created']);
  });

  test('what could not be created anew is not deleted', async () => {
    const policy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-service}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [statefulsets]}]}
  validations: [{expression: "object.spec.serviceName != 'denied'"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-service}
spec: {policyName: no-service, validationActions: [Deny]}
`;
    await cluster.kubectl('apply', '-f', await file(cluster, [policy]));
    const other = testExecutor(cluster.own);
    open.push(other);
    await other.run([send(statefulSet('kept'))]);
    await until(async () => told(await other.run([send(statefulSet('probe', { serviceName: 'denied' }))], { dryRun: true })).join('').includes('webhook'), 'the policy holds');
    const live = await liveOf(cluster, `${sets}/kept`, statefulSets);
    const recreate = (yaml: string): Promise<Execution> => other.run([toApply(desired(yaml), live)], { recreate: () => () => Promise.resolve(true) });
    const denied = await recreate(statefulSet('kept', { serviceName: 'denied' }));
    expect(told(denied)).toEqual(['StatefulSet/default/kept failed webhook later']);
    expect(only(denied)).toMatchObject({ detail: expect.stringContaining('can\'t be created anew') as string });
    expect(told(await recreate(statefulSet('kept', { serviceName: 'other' }).replace('replicas: 0', 'replicas: -1')))).toEqual(['StatefulSet/default/kept failed invalid never']);
    expect(await liveOf(cluster, `${sets}/kept`, statefulSets)).toMatchObject({ uid: live.uid, terminating: false });
    expect(told(await recreate(statefulSet('kept', { serviceName: 'other' })))).toEqual(['StatefulSet/default/kept skipped terminating']);
  });

  test('five hundred conflicts hold up nobody, and are not tried again and again', async () => {
    const names = Array.from({ length: 550 }, (_, n) => `many-${String(n)}`);
    const theirs = testExecutor(cluster.own);
    open.push(theirs);
    await theirs.run(names.map((name) => send(configMap(name))));
    await Promise.all(names.slice(0, 500).map((name) => cluster.send('PATCH', `${maps}/${name}?fieldManager=someone`, { data: { a: '2' } })));
    const actions = names.map((name) => send(configMap(name, { a: '3' })));
    const result = await to.run(actions);
    expect(told(result).filter((line) => line.endsWith('failed conflict later'))).toHaveLength(500);
    expect(told(result).filter((line) => line.endsWith('configured'))).toHaveLength(50);
    expect(result.requests).toBe(550);
  });
});

async function file({ folder }: ControlPlane, documents: readonly string[]): Promise<string> {
  const path = join(folder, 'objects.yaml');
  await writeFile(path, documents.join('\n---\n'));
  return path;
}

function webhookYaml(name: string, groups: readonly string[], resources: readonly string[]): string {
  return `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: ${name}}
webhooks:
  - name: ${name}.dory.example
    admissionReviewVersions: [v1]
    sideEffects: None
    timeoutSeconds: 1
    clientConfig: {url: 'https://127.0.0.1:1/'}
    rules: [{apiGroups: [${groups.map((group) => `"${group}"`).join(',')}], apiVersions: [v1], operations: [CREATE], resources: [${resources.join(',')}]}]
`;
}

async function refuseByWebhookAndPolicy(cluster: ControlPlane): Promise<void> {
  const policy = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-hooks}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]}
  validations: [{expression: "!has(object.data) || !('hook' in object.data)"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-hooks}
spec: {policyName: no-hooks, validationActions: [Deny]}
`;
  await cluster.kubectl('apply', '-f', await file(cluster, [policy, webhookYaml('secrets', [''], ['secrets'])]));
}

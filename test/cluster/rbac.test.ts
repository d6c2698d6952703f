import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { defaultSystemProps, systemFiles, systemProps } from '../../charts-ts/system/index.ts';
import { createClusterObjects } from '../../src/apply/cluster-objects.ts';
import { createKinds } from '../../src/apply/kinds.ts';
import { runningPredecessor } from '../../src/apply/predecessor.ts';
import { Failure } from '../../src/model/failure.ts';
import { seconds } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { createAccess, type KubeAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient, type KubeClient } from '../../src/platform/kube/client.ts';
import { createKubeWriter, type KubeWriter } from '../../src/platform/kube/write.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { ownKubeconfig } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { desired, liveOf, testExecutor, toApply } from '../support/executor.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

interface Rule {
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}
interface Role {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly rules: readonly Rule[];
}

const propsWith = (apply: string) => systemProps({ apply }, defaultSystemProps.shared);
const accessFiles = ['orchestrator-access.yaml', 'processor-access-default.yaml'];
/** What the program may do beyond the running system's rules, as its manifests say it. */
const beyond = ['ssa', 'argocd'].flatMap((apply) => accessFiles.flatMap((name) => parseAllDocuments(systemFiles(propsWith(apply), []).get(name) ?? '').map((document) => document.toJS() as Role)))
  .filter(({ kind, metadata }) => kind.endsWith('Role') && metadata.annotations?.['dory.io/why'] !== undefined);
const granted = new Map<string, Role>(beyond.flatMap((role) => role.rules.flatMap(({ resources, verbs }) => resources.flatMap((resource) => verbs.map((verb) => [`${resource} ${verb}`, role] as const)))));

describe.skipIf(typeof programs === 'string')('each right beyond those of the running system', () => {
  let server: ControlPlane;
  let kubeconfig: string;
  let access: KubeAccess;
  let client: KubeClient;
  let writer: KubeWriter;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startControlPlane({ programs });
    for (const name of ['dory-system', 'argocd', 'kube-node-lease']) await server.send('POST', '/api/v1/namespaces', { metadata: { name } }).catch(() => undefined);
    for (const apply of ['argocd', 'ssa']) {
      for (const name of accessFiles) {
        const file = join(server.folder, `${apply}-${name}`);
        await writeFile(file, systemFiles(propsWith(apply), []).get(name) ?? '');
        await server.kubectl('apply', '-f', file);
      }
    }
    kubeconfig = await ownKubeconfig(server);
    access = createAccess({ kind: 'file', path: kubeconfig });
    client = createKubeClient(access);
    writer = createKubeWriter(access);
  });
  afterAll(async () => {
    access.close();
    await server.stop();
  });

  /** What is not refused may well find nothing. */
  const reads = async (asked: Promise<unknown>): Promise<boolean> => {
    try {
      await asked;
      return true;
    } catch (error) {
      if (error instanceof Failure && (error.code === 'kubernetes-refused' || error.code === 'kubernetes-missing')) return error.code === 'kubernetes-missing';
      throw error;
    }
  };
  const watches = (path: string): Promise<boolean> => reads((async () => {
    for await (const line of client.lines(path, { watch: 'true', timeoutSeconds: '1' }, { signal: new AbortController().signal, silence: seconds(10), onOpen: () => undefined })) if (line !== '') return;
  })());
  const manifests = {
    StatefulSet: (name: string) => `apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: ${name}, namespace: default, annotations: {n: "${systemRandom.hex(4)}"}}\nspec: {replicas: 0, serviceName: "", selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: example.com/main}]}}}\n`,
    Secret: (name: string) => `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: default, annotations: {n: "${systemRandom.hex(4)}"}}\n`,
  };
  const folders = { StatefulSet: '/apis/apps/v1/namespaces/default/statefulsets', Secret: '/api/v1/namespaces/default/secrets' };
  /** As `apply` carries it out. `isThere`: an administrator made it before. */
  const applies = async (kind: keyof typeof manifests, isThere: boolean, remove = false): Promise<boolean> => {
    const name = `n${systemRandom.hex(4)}`;
    const object = desired(manifests[kind](name));
    if (isThere) {
      const file = join(server.folder, `${name}.yaml`);
      await writeFile(file, object.yaml);
      await server.kubectl('apply', '--server-side', '--field-manager=dory-orchestrator', '-f', file);
    }
    const live = isThere ? await liveOf(server, `${folders[kind]}/${name}`, object.ref) : null;
    const executor = testExecutor(kubeconfig);
    try {
      const { outcomes: [outcome] } = await executor.run([remove && live !== null ? { kind: 'prune', live } : toApply(desired(manifests[kind](name)), live)]);
      if (outcome?.kind === 'failed' && outcome.reason === 'forbidden') return false;
      expect(outcome?.kind).toMatch(/^(?:created|configured|pruned)$/);
      return true;
    } finally {
      executor.close();
    }
  };

  /** What the program does with it; false: it is refused. */
  const operations: Readonly<Record<string, () => Promise<boolean>>> = {
    'statefulsets list': () => reads(client.get('/apis/apps/v1/statefulsets', { labelSelector: 'managed-by=dory-orchestrator' })),
    'statefulsets watch': () => watches('/apis/apps/v1/statefulsets'),
    'statefulsets get': () => reads(createClusterObjects(writer, createKinds(systemClock)).read({ apiVersion: 'apps/v1', kind: 'StatefulSet', namespace: 'default', name: 'any' })),
    'statefulsets create': () => applies('StatefulSet', false),
    'statefulsets patch': () => applies('StatefulSet', true),
    'statefulsets delete': () => applies('StatefulSet', true, true),
    'secrets create': () => applies('Secret', false),
    'secrets patch': () => applies('Secret', true),
    'secrets delete': () => applies('Secret', true, true),
    'events list': () => reads(client.get('/api/v1/namespaces/default/events', { fieldSelector: 'reason=FailedCreate,involvedObject.kind=StatefulSet' })),
    'leases get': () => reads(client.get('/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/edge-1', {})),
    'deployments get': () => reads(runningPredecessor(client, { namespace: 'dory-system', deployment: 'dory-orchestrator' })),
    // Without Argo CD's definitions: the right is asked for before the kind.
    'applications list': () => reads(client.get('/apis/argoproj.io/v1alpha1/namespaces/argocd/applications', {})),
    'applications watch': () => watches('/apis/argoproj.io/v1alpha1/namespaces/argocd/applications'),
    'applications patch': async () => {
      const answer = await writer.send({ method: 'PATCH', path: '/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/any', body: { type: 'application/merge-patch+json', text: '{}' } });
      return answer.kind === 'answered' && answer.status === 404;
    },
  };

  test('is used by something that the program does', () => {
    expect([...granted.keys()].sort()).toEqual(Object.keys(operations).sort());
  });

  test.each(Object.keys(operations))('%s: with it, what needs it is done; without it, it is refused', async (name) => {
    const operation = operations[name];
    const role = granted.get(name);
    if (operation === undefined || role === undefined) throw new Error('the test before says what is missing');
    const [resource, verb] = name.split(' ');
    const { kind, metadata } = role;
    const path = `/apis/rbac.authorization.k8s.io/v1${metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`}/${kind.toLowerCase()}s/${metadata.name}`;
    const { rules } = (await server.send('GET', path)) as unknown as Role;
    expect(await operation()).toBe(true);
    await server.send('PATCH', path, { rules: rules.map((rule) => (rule.resources.includes(resource ?? '') ? { ...rule, verbs: rule.verbs.filter((each) => each !== verb) } : rule)).filter(({ verbs }) => verbs.length > 0) });
    try {
      await until(async () => !(await operation()), 'it is refused');
    } finally {
      await server.send('PATCH', path, { rules });
    }
    await until(operation, 'it is done again');
  });
});

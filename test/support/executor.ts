import { parse } from 'yaml';
import type { Action } from '../../src/apply/actions.ts';
import { createExecutor, type Execution, type Executor, type Pass } from '../../src/apply/execute.ts';
import { keyOf, type DesiredObject, type LiveObject, type ObjectRef } from '../../src/apply/objects.ts';
import { readLive } from '../../src/apply/live.ts';
import type { Epoch, ProcessorId } from '../../src/model/ids.ts';
import { systemClock, type Clock } from '../../src/platform/clock.ts';
import { digestText } from '../../src/platform/digest.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import type { KubeObject } from '../../src/platform/kube/object.ts';
import { createKubeWriter } from '../../src/platform/kube/write.ts';
import { systemRandom } from '../../src/platform/random.ts';
import type { ControlPlane, Json } from './control-plane.ts';

export interface TestExecutor {
  readonly executor: Executor;
  /** A pass in which nothing speaks against anything, unless `pass` does. */
  readonly run: (actions: readonly Action[], pass?: Partial<Pass>) => Promise<Execution>;
  readonly close: () => void;
}

export function testExecutor(kubeconfig: string, clock: Clock = systemClock): TestExecutor {
  const access = createAccess({ kind: 'file', path: kubeconfig });
  const executor = createExecutor({ writer: createKubeWriter(access), clock, random: systemRandom });
  return {
    executor,
    run: (actions, pass = {}) => executor.execute(actions, { ...openPass(), ...pass }),
    close: () => { access.close(); },
  };
}

function openPass(): Pass {
  return { signal: new AbortController().signal, assertLeading: () => Promise.resolve(), objection: () => null, recreate: () => null, dryRun: false };
}

/** One document, as it would be committed. */
export function desired(yaml: string, processor: { readonly id: string; readonly epoch: number } | null = null): DesiredObject {
  const { apiVersion, kind, metadata } = parse(yaml) as { apiVersion: string; kind: string; metadata: { name: string; namespace?: string } };
  return {
    ref: { apiVersion, kind, namespace: metadata.namespace ?? null, name: metadata.name },
    path: `${metadata.name}.yaml`, yaml, digest: digestText(yaml),
    processorId: (processor?.id ?? null) as ProcessorId | null, epoch: (processor?.epoch ?? null) as Epoch | null,
  };
}

export function toApply(object: DesiredObject, live: LiveObject | null = null, force = false): Action {
  return { kind: 'apply', desired: object, live, force, why: live === null ? 'missing' : 'changed' };
}

/** As the watch would show it. */
export async function liveOf(cluster: ControlPlane, path: string, { apiVersion, kind }: Pick<ObjectRef, 'apiVersion' | 'kind'>): Promise<LiveObject> {
  return readLive((await cluster.send('GET', path)) as unknown as KubeObject, { apiVersion, kind });
}

/** `apps/v1/StatefulSet/default/a created`, or `… failed conflict never`; sorted. */
export function told({ outcomes }: Execution): readonly string[] {
  return outcomes.map((outcome) => {
    const reason = 'reason' in outcome ? ` ${outcome.reason}` : '';
    return `${keyOf(outcome.ref).split('/').slice(-3).join('/')} ${outcome.kind}${reason}${outcome.kind === 'failed' ? ` ${outcome.retry}` : ''}`;
  }).sort();
}

export function statefulSet(name: string, { namespace = 'default', replicas = 0, image = 'registry.example/a:1', serviceName = '', more = '' }: { readonly namespace?: string; readonly replicas?: number; readonly image?: string; readonly serviceName?: string; readonly more?: string } = {}): string {
  return `apiVersion: apps/v1
kind: StatefulSet
metadata:
  labels:
    managed-by: dory-orchestrator
  name: ${name}
  namespace: ${namespace}
spec:
  replicas: ${String(replicas)}
  selector:
    matchLabels:
      app: ${name}
  serviceName: "${serviceName}"
  template:
    metadata:
      labels:
        app: ${name}
    spec:
      containers:
        - image: ${image}
          name: processor
${more}`;
}

export function configMap(name: string, data: Json = { a: '1' }, namespace = 'default'): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\ndata:\n${Object.entries(data).map(([key, value]) => `  ${key}: ${JSON.stringify(value)}\n`).join('')}`;
}

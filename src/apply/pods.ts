import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { millis, type Millis } from '../model/time.ts';
import { refusal, type KubeClient } from '../platform/kube/client.ts';
import type { KubeWriter } from '../platform/kube/write.ts';

/** What the cluster is asked and told of pods and nodes, one by one, right before something is done that can't be undone. */
export interface PodCalls {
  readonly client: KubeClient;
  readonly writer: KubeWriter;
}

export interface PodRef {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

export interface LivePod extends PodRef {
  /** Null: not scheduled yet. */
  readonly node: string | null;
  /** By the cluster's clock, how long ago its grace ran out; negative before; null: nobody deleted it. */
  readonly overdue: Millis | null;
  /** Null without the label. */
  readonly processorId: string | null;
  readonly ready: boolean;
}

/**
 * Of a node's kubelet. `answers`: it is Ready, or says itself that it is not. `silent`: Kubernetes has not heard of it for its grace
 * period (40 to 50 s). `gone`: there is no such Node.
 */
export type Kubelet = 'answers' | 'silent' | 'gone';

const podSchema = z.object({
  metadata: z.object({ name: z.string(), namespace: z.string(), uid: z.string(), deletionTimestamp: z.string().optional(), labels: z.record(z.string(), z.string()).optional() }),
  spec: z.object({ nodeName: z.string().optional() }),
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })).optional() }).optional(),
});
const listSchema = z.object({ metadata: z.object({ continue: z.string().optional() }), items: z.array(z.unknown()).nullable() });

function podPath({ namespace, name }: Pick<PodRef, 'namespace' | 'name'>): string {
  return `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
}

/** Null: it is gone, or another one has its name. */
export async function readPod({ client }: Pick<PodCalls, 'client'>, ref: PodRef): Promise<LivePod | null> {
  const answer = await found(client.get(podPath(ref), {}));
  const pod = answer === null ? null : toPod(podSchema.parse(answer.body), answer.date);
  return pod?.uid === ref.uid ? pod : null;
}

/** All that a selector finds. `namespace` null: of the whole cluster. */
export async function listPods({ client }: Pick<PodCalls, 'client'>, namespace: string | null, labelSelector: string): Promise<readonly LivePod[]> {
  const path = namespace === null ? '/api/v1/pods' : `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`;
  const pods: LivePod[] = [];
  for await (const { object, date } of eachObject(client, path, labelSelector)) pods.push(toPod(podSchema.parse(object), date));
  return pods;
}

/** One after the other, from page to page: all of a large fleet's are more than memory has. `date`: the server's clock when it answered. */
export async function* eachObject(client: KubeClient, path: string, labelSelector: string): AsyncGenerator<{ readonly object: unknown; readonly date: number | null }, void> {
  let token: string | undefined;
  do {
    const { body, date } = await client.get(path, { labelSelector, limit: '500', continue: token });
    const { metadata, items } = listSchema.parse(body);
    for (const object of items ?? []) yield { object, date };
    token = metadata.continue === '' ? undefined : metadata.continue;
  } while (token !== undefined);
}

function toPod({ metadata, spec, status }: z.output<typeof podSchema>, date: number | null): LivePod {
  const { name, namespace, uid, deletionTimestamp, labels = {} } = metadata;
  const now = date ?? Number.NaN;
  return {
    name, namespace, uid,
    node: spec.nodeName ?? null,
    // Without the cluster's clock nothing is known to be late.
    overdue: deletionTimestamp === undefined ? null : millis(Number.isNaN(now) ? 0 : now - Date.parse(deletionTimestamp)),
    processorId: labels['processor-id'] ?? null,
    ready: (status?.conditions ?? []).some(({ type, status: value }) => type === 'Ready' && value === 'True'),
  };
}

const nodeSchema = z.object({
  metadata: z.object({ resourceVersion: z.string() }),
  spec: z.object({ taints: z.array(z.looseObject({ key: z.string(), value: z.string().optional(), effect: z.string() })).optional() }),
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string() })).optional() }).optional(),
});

export interface LiveNode {
  readonly resourceVersion: string;
  readonly taints: readonly { readonly key: string; readonly value?: string | undefined; readonly effect: string }[];
  /** Of the condition `Ready`. */
  readonly ready: 'True' | 'False' | 'Unknown';
}

export async function readNode({ client }: Pick<PodCalls, 'client'>, name: string): Promise<LiveNode | null> {
  const answer = await found(client.get(nodePath(name), {}));
  if (answer === null) return null;
  const { metadata, spec, status } = nodeSchema.parse(answer.body);
  const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  return { resourceVersion: metadata.resourceVersion, taints: spec.taints ?? [], ready: ready === 'True' || ready === 'False' ? ready : 'Unknown' };
}

export const nodePath = (name: string): string => `/api/v1/nodes/${encodeURIComponent(name)}`;

function kubeletOf(node: LiveNode | null): Kubelet {
  if (node === null) return 'gone';
  return node.ready === 'Unknown' ? 'silent' : 'answers';
}

export type KubeletReader = (node: string) => Promise<Kubelet>;

/** Asks for each node once, and remembers: for one round of work. */
export function kubeletReader(calls: Pick<PodCalls, 'client'>): KubeletReader {
  const asked = new Map<string, Promise<Kubelet>>();
  return (node) => {
    const known = asked.get(node) ?? readNode(calls, node).then(kubeletOf);
    asked.set(node, known);
    return known;
  };
}

/**
 * Deletes exactly this pod. `force`: at once, whatever its kubelet says; else with the pod's own grace. False: it was gone already.
 * @throws Failure as `KubeClient.get`
 */
export async function deletePod({ writer }: Pick<PodCalls, 'writer'>, ref: PodRef, { force }: { readonly force: boolean }): Promise<boolean> {
  const body = { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: ref.uid }, ...(force ? { gracePeriodSeconds: 0 } : {}) };
  const answer = await writer.send({ method: 'DELETE', path: podPath(ref), body: { type: 'application/json', text: JSON.stringify(body) } });
  if (answer.kind !== 'answered') throw new Failure('kubernetes-unreachable', `Kubernetes can't be reached (DELETE ${podPath(ref)}): ${answer.why}`);
  if (answer.status < 300) return true;
  // 409: another pod has its name by now.
  if (answer.status === 404 || answer.status === 409) return false;
  throw refusal(answer.status, `DELETE ${podPath(ref)}`, typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
}

async function found<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Failure && error.code === 'kubernetes-missing') return null;
    throw error;
  }
}

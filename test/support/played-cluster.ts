import { Failure } from '../../src/model/failure.ts';
import type { PodCalls } from '../../src/apply/pods.ts';
import type { KubeRequest } from '../../src/platform/kube/write.ts';

export interface PlayedPod {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly node: string | null;
  readonly phase?: string;
  /** Unix ms. */
  readonly deletedAt?: number;
  readonly ready?: boolean;
}

interface PlayedNode {
  ready: 'True' | 'False' | 'Unknown';
  taints: { key: string; value?: string; effect: string }[];
}

/** So much of an API server as the work on single pods and nodes asks for; who asks for more is told that it is missing. */
export interface PlayedCluster {
  readonly calls: PodCalls;
  readonly pods: Map<string, PlayedPod>;
  readonly nodes: Map<string, PlayedNode>;
  /** The predecessor's, as JSON; null: there is none. */
  deployment: unknown;
  /** As JSON. */
  sets: readonly unknown[];
  /** Writes, in their order: `DELETE camera-c1 grace 0`. */
  readonly writes: string[];
  /** Requests whose path holds it are answered 500, as a webhook that is down makes a server answer. */
  refuses: string | null;
}

/** Ms: of all that it answers. */
export const playedNow = Date.parse('2026-06-01T00:00:00Z');

export function playedCluster(): PlayedCluster {
  const own: PlayedCluster = {
    calls: { client: { get: (path, query) => Promise.resolve().then(() => ({ body: read(own, path, query), date: playedNow })), lines: () => { throw new Error('nothing is watched'); }, close: () => undefined }, writer: { send: (request) => Promise.resolve({ kind: 'answered', retryAfter: null, ...write(own, request) }) } },
    pods: new Map(), nodes: new Map(), deployment: null, sets: [], writes: [], refuses: null,
  };
  return own;
}

export function put({ pods }: PlayedCluster, ...added: readonly PlayedPod[]): void {
  for (const pod of added) pods.set(`${pod.namespace}/${pod.name}`, pod);
}

function read({ pods, nodes, deployment, sets, refuses }: PlayedCluster, path: string, query: Readonly<Record<string, string | undefined>>): unknown {
  if (refuses !== null && path.includes(refuses)) throw new Failure('kubernetes-unreachable', `500 of ${path}`);
  const [, namespace, name] = /^\/api\/v1(?:\/namespaces\/([^/]+))?\/pods(?:\/(.+))?$/.exec(path) ?? [];
  if (name !== undefined) return jsonOf(there(pods.get(`${namespace ?? ''}/${name}`), path));
  if (path.endsWith('/pods')) {
    const found = [...pods.values()].filter((pod) => (namespace === undefined || pod.namespace === namespace) && selects(query['labelSelector'] ?? '', pod.labels));
    return { metadata: {}, items: found.map(jsonOf) };
  }
  if (path.endsWith('/statefulsets')) return { metadata: {}, items: sets };
  if (path.includes('/deployments/')) return there(deployment ?? undefined, path);
  const { ready, taints } = there(nodes.get(path.replace('/api/v1/nodes/', '')), path);
  return { metadata: { resourceVersion: '1' }, spec: { taints }, status: { conditions: [{ type: 'Ready', status: ready }] } };
}

function there<T>(found: T | undefined, path: string): T {
  if (found === undefined) throw new Failure('kubernetes-missing', `404 of ${path}`);
  return found;
}

function selects(selector: string, labels: Readonly<Record<string, string>>): boolean {
  return selector.split(',').every((term) => {
    if (term.startsWith('!')) return labels[term.slice(1)] === undefined;
    const [key = '', value] = term.split('=');
    return value === undefined ? labels[key] !== undefined : labels[key] === value;
  });
}

function jsonOf({ namespace, name, uid, labels, annotations = {}, node, phase = 'Running', deletedAt, ready = false }: PlayedPod): unknown {
  return {
    metadata: { namespace, name, uid, resourceVersion: '1', labels, annotations, ...(deletedAt === undefined ? {} : { deletionTimestamp: new Date(deletedAt).toISOString() }) },
    spec: node === null ? {} : { nodeName: node },
    status: { phase, conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] },
  };
}

/** A pod that is deleted is gone at once. */
function write({ pods, nodes, writes, refuses }: PlayedCluster, { method, path, body }: KubeRequest): { readonly status: number; readonly body: unknown } {
  if (refuses !== null && path.includes(refuses)) return { status: 500, body: { message: 'failed calling webhook' } };
  const sent = JSON.parse(body?.text ?? '{}') as { gracePeriodSeconds?: number; preconditions?: { uid: string }; spec?: { taints: PlayedNode['taints'] } };
  const key = path.replace('/api/v1/namespaces/', '').replace('/pods', '');
  if (method === 'DELETE') {
    const pod = pods.get(key);
    if (pod === undefined) return { status: 404, body: {} };
    if (pod.uid !== sent.preconditions?.uid) return { status: 409, body: {} };
    pods.delete(key);
    writes.push(`DELETE ${pod.name}${sent.gracePeriodSeconds === undefined ? '' : ` grace ${String(sent.gracePeriodSeconds)}`}`);
    return { status: 200, body: {} };
  }
  const name = path.replace('/api/v1/nodes/', '');
  const node = nodes.get(name);
  if (node === undefined) return { status: 404, body: {} };
  node.taints = sent.spec?.taints ?? [];
  writes.push(`PATCH ${name} ${node.taints.map((taint) => taint.key).join()}`);
  return { status: 200, body: {} };
}

import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { byText } from '../model/ids.ts';
import { quantity } from '../model/quantity.ts';
import type { KubeClient } from '../platform/kube/client.ts';

/** Why pods of the managed pool have no node, in the words of what should give them one. */

const condition = z.object({ type: z.string(), status: z.string(), reason: z.string().optional(), message: z.string().optional() });
const conditions = z.array(condition).optional();
type Condition = z.output<typeof condition>;
const quantities = z.record(z.string(), z.union([z.string(), z.number()])).optional();
const metadata = z.object({ name: z.string(), labels: z.record(z.string(), z.string()).optional() });
const nodePoolSchema = z.object({
  metadata,
  spec: z.object({
    limits: quantities,
    template: z.object({
      metadata: z.object({ labels: z.record(z.string(), z.string()).optional() }).optional(),
      spec: z.object({ requirements: z.array(z.object({ key: z.string(), operator: z.string(), values: z.array(z.string()).optional() })).optional() }).optional(),
    }),
  }),
  status: z.object({ resources: quantities, conditions }).optional(),
});
const nodeClaimSchema = z.object({ metadata, status: z.object({ conditions }).optional() });
const podSchema = z.object({
  spec: z.object({
    nodeName: z.string().optional(),
    nodeSelector: z.record(z.string(), z.string()).optional(),
    containers: z.array(z.object({ resources: z.object({ requests: quantities }).optional() })),
  }),
});

export type NodePool = z.output<typeof nodePoolSchema>;
export type NodeClaim = z.output<typeof nodeClaimSchema>;

/** What Karpenter shows of itself. */
export interface Capacity {
  readonly pools: readonly NodePool[];
  readonly claims: readonly NodeClaim[];
}

/** What waits for a node. */
export interface Waiting {
  /** Of the largest pod, by resource. */
  readonly requests: ReadonlyMap<string, number>;
}

/** Nodes of the managed pool are labelled so, and its pods select them by it. */
const poolLabel = { key: 'workload-type', value: 'application' } as const;
/** Whether the nodes that it launched lately became Nodes. */
const registration = 'NodeRegistrationHealthy';
/** Enough for a person. */
const longestText = 200;
const mostClaims = 5;

/**
 * Sentences that say what keeps a node from coming; empty if nothing waits, or if nothing is known to be wrong. A cluster without Karpenter
 * has nothing to say. `processorId` null: of all processors. @throws Failure as `KubeClient.get`
 */
export async function whyNoNode(client: KubeClient, processorId: string | null): Promise<readonly string[]> {
  const selector = `managed-by=dory-orchestrator${processorId === null ? '' : `,processor-id=${processorId}`}`;
  const pods = await list(client, '/api/v1/pods', podSchema, { labelSelector: selector, fieldSelector: 'status.phase=Pending,spec.nodeName=' });
  const waiting = (pods ?? []).filter(({ spec }) => spec.nodeSelector?.[poolLabel.key] === poolLabel.value);
  if (waiting.length === 0) return [];
  const [pools, claims] = await Promise.all([list(client, '/apis/karpenter.sh/v1/nodepools', nodePoolSchema), list(client, '/apis/karpenter.sh/v1/nodeclaims', nodeClaimSchema)]);
  return pools === null || claims === null ? [] : explainCapacity({ pools, claims }, { requests: largest(waiting) });
}

/** Pure. In the order of the pools' names, each with its NodeClaims. */
export function explainCapacity({ pools, claims }: Capacity, waiting: Waiting): readonly string[] {
  const ours = pools.filter(servesPool).sort((a, b) => byText(a.metadata.name, b.metadata.name));
  if (ours.length === 0) return [`no NodePool gives nodes that are labelled ${poolLabel.key}=${poolLabel.value}`];
  return ours.flatMap((pool) => {
    const { name } = pool.metadata;
    const own = claims.filter(({ metadata: { labels } }) => labels?.['karpenter.sh/nodepool'] === name);
    return [...poolWords(pool, waiting), ...own.flatMap(claimWords).sort(byText).slice(0, mostClaims)];
  });
}

function servesPool({ spec: { template } }: NodePool): boolean {
  if (template.metadata?.labels?.[poolLabel.key] === poolLabel.value) return true;
  return (template.spec?.requirements ?? []).some(({ key, operator, values }) => key === poolLabel.key && operator === 'In' && values?.includes(poolLabel.value) === true);
}

function poolWords({ metadata: { name }, spec: { limits = {} }, status }: NodePool, { requests }: Waiting): readonly string[] {
  const conditions = status?.conditions ?? [];
  const reached = Object.entries(limits).flatMap(([resource, limit]) => {
    const used = status?.resources?.[resource] ?? 0;
    const asked = requests.get(resource) ?? 0;
    if (quantity(String(used)) + asked <= quantity(String(limit)) && quantity(String(used)) < quantity(String(limit))) return [];
    return [`NodePool ${name}: limit ${resource} ${String(limit)} reached (${String(used)} in use)`];
  });
  // Not a part of Ready: it goes on to launch nodes, and pays for them.
  const unregistered = conditions.filter(({ type, status: value }) => type === registration && value === 'False').map((condition) => `NodePool ${name}: its nodes fail to join the cluster${said(condition)}`);
  return [...notReadyWords(name, conditions), ...unregistered, ...reached.sort(byText)];
}

/** In the words of what it waits for: of itself it only says which those are. */
function notReadyWords(name: string, conditions: readonly Condition[]): readonly string[] {
  const ready = conditions.find(({ type }) => type === 'Ready');
  if (ready === undefined || ready.status === 'True') return [];
  const causes = conditions.filter(({ type, status }) => type !== 'Ready' && type !== registration && status !== 'True').sort((a, b) => byText(a.type, b.type));
  return (causes.length === 0 ? [ready] : causes).map((condition) => `NodePool ${name} is not ready${said(condition, condition === ready ? '' : condition.type)}`);
}

/** In the order in which a node comes. */
const steps = [['Launched', 'launched'], ['Registered', 'registered'], ['Initialized', 'initialized']] as const;

function claimWords({ metadata: { name }, status }: NodeClaim): readonly string[] {
  const found = (type: string) => status?.conditions?.find((condition) => condition.type === type);
  const missing = steps.find(([type]) => found(type)?.status !== 'True');
  if (missing === undefined) return [];
  const [type, word] = missing;
  return [`NodeClaim ${name} is not ${word} yet${said(found(type))}`];
}

function said(condition: Pick<Condition, 'reason' | 'message'> | undefined, type = ''): string {
  const { reason = '', message = '' } = condition ?? {};
  // Its controller repeats what has nothing more to say: a condition's type as its reason, a reason as its message.
  const words = [type, reason, message].filter((text, i, all) => text !== '' && all.indexOf(text) === i).join(': ');
  return words === '' ? '' : `: ${words.slice(0, longestText)}`;
}

function largest(pods: readonly z.output<typeof podSchema>[]): ReadonlyMap<string, number> {
  const most = new Map<string, number>();
  for (const { spec } of pods) {
    const own = new Map<string, number>();
    for (const { resources } of spec.containers) {
      for (const [resource, amount] of Object.entries(resources?.requests ?? {})) own.set(resource, (own.get(resource) ?? 0) + quantity(String(amount)));
    }
    for (const [resource, amount] of own) most.set(resource, Math.max(most.get(resource) ?? 0, amount));
  }
  return most;
}

/** Null: the cluster has no such kind. The first page is enough to explain by. */
async function list<T extends z.ZodType>(client: KubeClient, path: string, item: T, query: Readonly<Record<string, string>> = {}): Promise<readonly z.output<T>[] | null> {
  try {
    const { body } = await client.get(path, { ...query, limit: '500' });
    return z.object({ items: z.array(item).nullable() }).parse(body).items ?? [];
  } catch (error) {
    if (error instanceof Failure && error.code === 'kubernetes-missing') return null;
    throw error;
  }
}

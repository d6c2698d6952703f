import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { KubeClient } from '../platform/kube/client.ts';

/** Where the system that ran here before runs; our own Deployment has the same name. */
export interface PredecessorPlace {
  readonly namespace: string;
  readonly deployment: string;
}

/** What still runs of it. */
export interface Predecessor {
  /** That its Deployment is to have. */
  readonly replicas: number;
  readonly pods: readonly string[];
}

/** Of our own pods and their template: where they come from. The other system's have no such annotation. */
const ourMark = 'dory.io/settings';
const metadata = z.object({ name: z.string().optional(), annotations: z.record(z.string(), z.string()).optional() });
const deploymentSchema = z.object({
  spec: z.object({
    replicas: z.number().optional(),
    selector: z.object({ matchLabels: z.record(z.string(), z.string()).optional() }),
    template: z.object({ metadata: metadata.optional() }),
  }),
});
const podsSchema = z.object({ items: z.array(z.object({ metadata, status: z.object({ phase: z.string().optional() }).optional() })).nullable() });
/** Of a pod that has ended for good: it may lie there for days, evicted, and does nothing any more. */
const ended: ReadonlySet<string | undefined> = new Set(['Succeeded', 'Failed']);

/**
 * Null: it does not run. A Deployment that is to have no pods, was deleted, or was replaced by ours, may have one that is still
 * ending: so both are asked. @throws Failure as `KubeClient.get`
 */
export async function runningPredecessor(client: KubeClient, { namespace, deployment }: PredecessorPlace): Promise<Predecessor | null> {
  const below = (path: string): string => `${path}/namespaces/${encodeURIComponent(namespace)}`;
  const theirs = await readDeployment(client, `${below('/apis/apps/v1')}/deployments/${encodeURIComponent(deployment)}`);
  const labels = theirs?.selector.matchLabels ?? { app: deployment };
  const { body } = await client.get(`${below('/api/v1')}/pods`, { labelSelector: Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(',') });
  const pods = (podsSchema.parse(body).items ?? []).filter((pod) => !isOurs(pod.metadata) && !ended.has(pod.status?.phase)).map((pod) => pod.metadata.name ?? '');
  const replicas = theirs === null ? 0 : theirs.replicas ?? 1;
  return replicas === 0 && pods.length === 0 ? null : { replicas, pods };
}

/** Null: there is none, or it is ours. */
async function readDeployment(client: KubeClient, path: string): Promise<z.output<typeof deploymentSchema>['spec'] | null> {
  try {
    const { spec } = deploymentSchema.parse((await client.get(path, {})).body);
    return isOurs(spec.template.metadata) ? null : spec;
  } catch (error) {
    if (error instanceof Failure && error.code === 'kubernetes-missing') return null;
    throw error;
  }
}

function isOurs(of: z.output<typeof metadata> | undefined): boolean {
  return of?.annotations?.[ourMark] !== undefined;
}

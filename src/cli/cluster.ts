import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { seconds } from '../model/time.ts';
import { createCluster, type Cluster } from '../observe/cluster.ts';
import { createAccess, type KubeSource } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { CliContext } from './context.ts';
import type { Runtime } from './runtime.ts';

/** Where the kubelet puts a pod's ServiceAccount. */
const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount';

/** The kubeconfig that the settings name; else, in a pod with a ServiceAccount, that one's cluster; else null: heartbeats alone decide. */
export function kubeSource({ kubeconfig }: Settings, env: CliContext['env'], folder = accountFolder): KubeSource | null {
  if (kubeconfig !== null) return { kind: 'file', path: kubeconfig };
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = '443' } = env;
  if (host === undefined || host === '' || !existsSync(join(folder, 'token'))) return null;
  return { kind: 'pod', host, port, folder };
}

/**
 * The cluster, to be started and closed; one that can't be reached is tried again and again. Null without one.
 * @throws Failure `settings-invalid` if the kubeconfig can't be read
 */
export async function openCluster(runtime: Runtime, on: { readonly change: () => void; readonly health: (healthy: boolean) => void; readonly member?: (processorId: string) => void }): Promise<Cluster | null> {
  const { kubernetes, clock, random, log, settings } = runtime;
  if (kubernetes === null) return null;
  const access = createAccess(kubernetes);
  await access.connect();
  return createCluster({
    client: createKubeClient(access),
    clock, random, log,
    siteLabel: settings.sites.label,
    fresh: settings.failover.intakeFresh,
    onChange: on.change,
    ...(on.member === undefined ? {} : { onMember: on.member }),
    onHealth: on.health,
  });
}

/** A person waits, and a cluster that answers at all has listed everything by then. */
const patience = seconds(5);

/** Nobody's clock is believed, so that what a command sees begins with it. */
const justAsked = 'Kubernetes was asked just now: for how long a node is as it is counts from here. What `dory run` has seen, it tells with --server.\n';

/** For a command that looks once. A condition that it sees is as old as the command: what has to last for a while, only the service knows. */
export async function withCluster<T>(runtime: Runtime, use: (cluster: Cluster | null) => Promise<T>): Promise<T> {
  const cluster = await openCluster(runtime, { change: () => undefined, health: () => undefined });
  try {
    cluster?.start();
    if ((await cluster?.synced(patience)) === true) runtime.tell(justAsked);
    return await use(cluster);
  } finally {
    await cluster?.close();
  }
}

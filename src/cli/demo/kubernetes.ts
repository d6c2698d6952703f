import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultSystemProps, processorSupportFiles, systemFiles } from '../../../charts-ts/system/index.ts';
import { Failure } from '../../model/failure.ts';
import { seconds } from '../../model/time.ts';
import type { Clock } from '../../platform/clock.ts';
import { createAccess } from '../../platform/kube/access.ts';
import { createKubeClient } from '../../platform/kube/client.ts';
import type { KubeObject } from '../../platform/kube/object.ts';
import { createKubeCache } from '../../platform/kube/watch.ts';
import type { Log } from '../../platform/log.ts';
import type { Random } from '../../platform/random.ts';
import { managedNode } from './cluster.ts';
import { findControlPlane, type ControlPlanePrograms } from './control-plane-programs.ts';
import { startControlPlane, type ControlPlane, type Json } from './control-plane.ts';
import type { DesiredPod } from './manifests.ts';

const execute = promisify(execFile);

/** A real API server with its controllers and scheduler; kwok plays the kubelets of the demo's nodes. */
export interface DemoKubernetes {
  /** With the rights of the program's own ServiceAccount, and no others. */
  readonly kubeconfig: string;
  /** With all rights: for people who look around. */
  readonly adminKubeconfig: string;
  /** What runs where, as the API server shows it, until `signal` is aborted. */
  readonly follow: (signal: AbortSignal, onPods: (pods: readonly DesiredPod[]) => void) => Promise<void>;
  /** The kubelet of a node falls silent, or is there again. */
  readonly setKubelet: (node: string, alive: boolean) => Promise<void>;
  readonly stop: () => Promise<void>;
}

export interface DemoKubernetesOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** An empty folder of its own. */
  readonly folder: string;
  /** Names of the edge nodes. */
  readonly nodes: readonly string[];
  /** In which processors run. */
  readonly namespaces: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** @throws Failure `settings-invalid` where the programs of a control plane are missing */
export async function startDemoKubernetes(options: DemoKubernetesOptions): Promise<DemoKubernetes> {
  const { folder, clock, random } = options;
  const found = await findControlPlane(options.env);
  if (!found.complete) {
    throw new Failure('settings-invalid', `There is no control plane on this machine: ${found.missing.join(', ')} are missing.`, {
      mend: 'Name a folder that has them in KUBEBUILDER_ASSETS; or run `npm run test:cluster` once, which builds them where Go is. Without --cluster the demo needs none of them.',
    });
  }
  const server = await startControlPlane({ programs: found.programs, folder, with: ['controllers', 'scheduler', 'nodes'], clock, random });
  try {
    await install(server, found.programs, options);
    const kubeconfig = await ownKubeconfig(server, join(folder, 'own.kubeconfig'));
    return { kubeconfig, adminKubeconfig: server.kubeconfig, follow: (signal, onPods) => follow(options, server.kubeconfig, signal, onPods), setKubelet: (node, alive) => setKubelet(server, node, alive), stop: server.stop };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** What an installation has before its first commit: namespaces, our rights and those of processors, and the nodes. */
async function install(server: ControlPlane, programs: ControlPlanePrograms, { folder, nodes, namespaces }: DemoKubernetesOptions): Promise<void> {
  for (const name of new Set([defaultSystemProps.namespace, ...namespaces])) {
    if (name !== 'default') await server.send('POST', '/api/v1/namespaces', { metadata: { name } });
  }
  const access = systemFiles({ ...defaultSystemProps, apply: 'ssa' }, []).get('orchestrator-access.yaml') ?? '';
  const file = join(folder, 'access.yaml');
  await writeFile(file, [access, ...processorSupportFiles([...namespaces].sort()).values()].join('\n---\n'));
  await execute(programs.kubectl, ['--kubeconfig', server.kubeconfig, '--cache-dir', join(folder, 'kubectl'), 'apply', '-f', file]);
  const room = { cpu: '64', memory: '256Gi', pods: '500', 'nvidia.com/gpu': '4' };
  const status = { capacity: room, allocatable: room };
  await Promise.all([...nodes.map((name) => addNode(server, name, { 'node-type': 'edge' }, status)), addNode(server, managedNode, { 'workload-type': 'application' }, status)]);
}

/** A node whose kubelet is played by kwok for as long as it is `alive`. */
export async function addNode(server: Pick<ControlPlane, 'send'>, name: string, labels: Readonly<Record<string, string>>, status: Json = {}): Promise<void> {
  await server.send('POST', '/api/v1/nodes', { metadata: { name, labels: { 'kubernetes.io/hostname': name, kubelet: 'alive', ...labels } }, status });
}

export async function setKubelet(server: Pick<ControlPlane, 'send'>, name: string, alive: boolean): Promise<void> {
  await server.send('PATCH', `/api/v1/nodes/${name}`, { metadata: { labels: { kubelet: alive ? 'alive' : null } } });
}

/** Writes a kubeconfig with exactly the rights of the program's own ServiceAccount, for the server or for another address of it. */
export async function ownKubeconfig(server: Pick<ControlPlane, 'send' | 'url' | 'writeKubeconfig'>, file: string, address = server.url): Promise<string> {
  const answer = await server.send('POST', `/api/v1/namespaces/${defaultSystemProps.namespace}/serviceaccounts/dory-orchestrator/token`, { spec: { expirationSeconds: 3600 } });
  const { token } = answer['status'] as { readonly token: string };
  await server.writeKubeconfig(file, { token, server: address });
  return file;
}

/** As the agents' side of the demo sees the cluster: with an administrator's eyes, whatever the program may see. */
async function follow({ clock, random, log }: DemoKubernetesOptions, kubeconfig: string, signal: AbortSignal, onPods: (pods: readonly DesiredPod[]) => void): Promise<void> {
  const client = createKubeClient(createAccess({ kind: 'file', path: kubeconfig }));
  const told = (): void => { onPods([...cache.items.values()].filter((pod) => pod !== null)); };
  const cache = createKubeCache<DesiredPod | null>({
    client, clock, random, log, path: '/api/v1/pods', labelSelector: 'managed-by=dory-orchestrator', metadataOnly: false, signEvery: seconds(5),
    read: runningPod, onChange: told, onState: told,
  });
  cache.start();
  await new Promise<void>((resolve) => { signal.addEventListener('abort', () => { resolve(); }, { once: true }); });
  await cache.close();
  client.close();
}

/** Null for a pod that does not run, or is to go. */
function runningPod(object: KubeObject): DesiredPod | null {
  const { metadata, spec, status } = object as KubeObject & { readonly spec?: { readonly nodeName?: string }; readonly status?: { readonly phase?: string } };
  const { labels = {} } = metadata;
  if (metadata['deletionTimestamp'] !== undefined || status?.phase !== 'Running' || spec?.nodeName === undefined) return null;
  return { processorId: labels['processor-id'] ?? '', epoch: Number(labels['dory.io/epoch']), node: spec.nodeName };
}

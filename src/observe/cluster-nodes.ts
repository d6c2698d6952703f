import { z } from 'zod';
import { byText } from '../model/ids.ts';
import { outOfServiceTaint } from '../model/kubernetes-names.ts';
import { quantity } from '../model/quantity.ts';
import type { LivePod } from '../model/rollout.ts';
import type { NodeCondition } from '../model/snapshot.ts';
import type { Millis } from '../model/time.ts';
import type { KubeObject } from '../platform/kube/object.ts';

/** What is kept of one Node. */
export interface NodeEntry extends Omit<NodeCondition, 'since' | 'leaseAgeMs'> {
  readonly name: string;
  readonly uid: string;
  /** When `Ready` last changed, by the cluster's clock: compared with itself only. */
  readonly transition: string;
  /** Since when this process sees `ready` as it is, on its monotonic clock. */
  readonly since: Millis;
  /** What it can give to pods: cores and bytes; null before its kubelet has told. */
  readonly capacity: { readonly cpu: number; readonly memory: number } | null;
}

const nodeSchema = z.object({
  spec: z.object({ taints: z.array(z.object({ key: z.string(), value: z.string().optional(), effect: z.string() })).optional() }).optional(),
  status: z
    .object({
      conditions: z.array(z.object({ type: z.string(), status: z.string(), lastTransitionTime: z.string().nullish() })).optional(),
      nodeInfo: z.object({ architecture: z.string() }).optional(),
      allocatable: z.record(z.string(), z.string()).optional(),
    })
    .optional(),
});
type Node = z.output<typeof nodeSchema>;

/** Of the node's state, not of its purpose: `plan` sees it as the condition. */
const conditionTaints: ReadonlySet<string> = new Set(['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']);
const gpuResource = 'nvidia.com/gpu';

export function readNode(object: KubeObject, before: NodeEntry | null, options: { readonly now: Millis; readonly siteLabel: string | null }): NodeEntry {
  const { metadata: { name, uid, labels = {} } } = object;
  const { spec, status } = nodeSchema.parse(object);
  const { ready, transition } = readiness(status);
  // After a break in the watch, an equal time of change says that there was none in between.
  const unbroken = before !== null && before.uid === uid && before.ready === ready && before.transition === transition;
  return {
    name, uid, ready, transition,
    since: unbroken ? before.since : options.now,
    taints: taintsOf(spec),
    architecture: status?.nodeInfo?.architecture ?? null,
    gpu: gpuOf(status),
    capacity: capacityOf(status),
    site: options.siteLabel === null ? null : (labels[options.siteLabel] ?? null),
  };
}

/** A node without the condition has a kubelet that has not spoken yet. */
function readiness(status: Node['status']): Pick<NodeEntry, 'ready' | 'transition'> {
  const condition = status?.conditions?.find(({ type }) => type === 'Ready');
  const ready = condition?.status === 'True' ? 'true' : condition?.status === 'False' ? 'false' : 'unknown';
  return { ready, transition: condition?.lastTransitionTime ?? '' };
}

/** Nothing that does not tolerate it starts there, and what was there is told to end. */
export function isOutOfService({ taints }: Pick<NodeEntry, 'taints'>): boolean {
  return taints.includes(outOfServiceTaint);
}

function taintsOf(spec: Node['spec']): readonly string[] {
  const taints = (spec?.taints ?? []).filter(({ key, effect }) => effect !== 'PreferNoSchedule' && !conditionTaints.has(key));
  // One key may be tainted with two effects.
  return [...new Set(taints.map(({ key, value = '' }) => (value === '' ? key : `${key}=${value}`)))].sort(byText);
}

/** Null before its kubelet has told what it can give. */
function gpuOf(status: Node['status']): boolean | null {
  if (status?.allocatable === undefined) return null;
  return (status.allocatable[gpuResource] ?? '0') !== '0';
}

function capacityOf(status: Node['status']): NodeEntry['capacity'] {
  if (status?.allocatable === undefined) return null;
  const { cpu = '0', memory = '0' } = status.allocatable;
  return { cpu: quantity(cpu), memory: quantity(memory) };
}

/** Of each node that can give anything, by its name: the larger share of its CPU and its memory that these pods request. */
export function utilization(nodes: Iterable<NodeEntry>, pods: Iterable<LivePod>): ReadonlyMap<string, number> {
  const requested = new Map<string, { cpu: number; memory: number }>();
  for (const { node, cpu, memory } of pods) {
    if (node === null) continue;
    const sum = requested.get(node) ?? { cpu: 0, memory: 0 };
    requested.set(node, { cpu: sum.cpu + cpu / 1000, memory: sum.memory + memory });
  }
  const share = (wanted: number, given: number): number => (given > 0 ? wanted / given : 0);
  return new Map([...nodes].flatMap(({ name, capacity }) => {
    const { cpu, memory } = requested.get(name) ?? { cpu: 0, memory: 0 };
    return capacity === null ? [] : [[name, Math.max(share(cpu, capacity.cpu), share(memory, capacity.memory))] as const];
  }));
}

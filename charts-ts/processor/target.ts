import type { k8s } from 'cdk8s-plus-30';
import type { ProcessorTarget } from '../processor.ts';

export function nodeSelector(target: ProcessorTarget): Record<string, string> {
  return target.kind === 'edge'
    ? { 'kubernetes.io/hostname': target.nodeName, 'node-type': 'edge' }
    : { 'workload-type': 'application' };
}

/**
 * An edge pod stays bound to its node for as long as Dory says so: Kubernetes' own eviction after five minutes of
 * `not-ready` or `unreachable` is tolerated without a limit. `edge-node=true` is the taint of the SDK's label contract.
 */
const edgeTolerations: readonly k8s.Toleration[] = [
  { key: 'edge-node', operator: 'Equal', value: 'true', effect: 'NoSchedule' },
  { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' },
  { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute' },
];

/** GPU nodes are commonly tainted with the name of the resource, to keep other pods off. */
const gpuToleration: k8s.Toleration = { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' };

export function tolerations(target: ProcessorTarget, gpu: boolean): k8s.Toleration[] {
  return [...(target.kind === 'edge' ? edgeTolerations : []), ...(gpu ? [gpuToleration] : [])];
}

import { k8s } from 'cdk8s-plus-30';
import type { Workload } from '../../src/model/fleet.ts';

/** Where the SDK looks for a mounted volume. */
const defaultStateMount = '/data';
const tmpMount = '/tmp';
/** The SDK's states end at 10 MB; this is the least that every common provisioner hands out. */
const stateVolumeSize = '1Gi';

/** Where the state volume is mounted (`DORY_STATE_PVC_MOUNT`); null unless the state backend is `pvc`. */
export function stateMount({ stateBackend, env }: Workload): string | null {
  if (stateBackend !== 'pvc') return null;
  const mount = env.find(({ name }) => name === 'DORY_STATE_PVC_MOUNT');
  return mount !== undefined && 'value' in mount ? mount.value : defaultStateMount;
}

/** With a read-only root file system, something must still be writable: Python, and the SDK's `local` state, want /tmp. */
function needsTmp(workload: Workload): boolean {
  return workload.security.readOnlyRootFilesystem && stateMount(workload) !== tmpMount;
}

export function volumes(workload: Workload): k8s.Volume[] {
  return needsTmp(workload) ? [{ name: 'tmp', emptyDir: {} }] : [];
}

export function volumeMounts(workload: Workload): k8s.VolumeMount[] {
  const mount = stateMount(workload);
  return [
    ...(mount === null ? [] : [{ name: 'state', mountPath: mount }]),
    ...(needsTmp(workload) ? [{ name: 'tmp', mountPath: tmpMount }] : []),
  ];
}

/**
 * A claim of this placement alone, kept by Kubernetes when the StatefulSet goes. It does not travel: that is why `plan`
 * holds a processor with this backend where it is.
 */
export function stateClaims(workload: Workload): k8s.KubePersistentVolumeClaimProps[] {
  if (stateMount(workload) === null) return [];
  const storage = k8s.Quantity.fromString(stateVolumeSize);
  return [{ metadata: { name: 'state' }, spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } } }];
}

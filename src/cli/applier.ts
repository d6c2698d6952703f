import { createAppliedStore } from '../apply/applied.ts';
import { createApplier, type Applier } from '../apply/applier.ts';
import { createClusterObjects, type ClusterObjects } from '../apply/cluster-objects.ts';
import { createDesiredReader } from '../apply/desired.ts';
import { createExecutor } from '../apply/execute.ts';
import { createInventory } from '../apply/inventory.ts';
import { createKinds } from '../apply/kinds.ts';
import type { ObjectRef } from '../apply/objects.ts';
import { createSystemObjects } from '../apply/system-objects.ts';
import type { Repository } from '../commit/repository.ts';
import { Failure } from '../model/failure.ts';
import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Runtime } from './runtime.ts';

/** What applies commits to the cluster, with its adapters. */
export interface OpenApplier {
  readonly applier: Applier;
  readonly objects: ClusterObjects;
  /** Objects of the newest commit of ours; commit and revision null: there is none. */
  readonly committed: () => Promise<{ readonly commit: string | null; readonly revision: number | null; readonly refs: readonly ObjectRef[] }>;
  close(): Promise<void>;
}

export interface ApplierPorts {
  readonly repository: Pick<Repository, 'ownTree' | 'readBlobs'>;
  readonly assertLeading: () => Promise<void>;
  /** Something on the cluster is not as it was left. */
  readonly onChange: () => void;
}

/** @throws Failure `settings-invalid` without a cluster, or if the kubeconfig can't be read */
export function openApplier(runtime: Pick<Runtime, 'kubernetes' | 'settings' | 'pool' | 'clock' | 'random' | 'log'>, { repository, assertLeading, onChange }: ApplierPorts): OpenApplier {
  const { kubernetes, settings, pool, clock, random, log } = runtime;
  if (kubernetes === null) throw new Failure('settings-invalid', 'apply is ssa, and there is no cluster to apply to.', { mend: 'Set kubeconfig, or run where a ServiceAccount is mounted; or set apply to none or argocd.' });
  const access = createAccess(kubernetes);
  const client = createKubeClient(access);
  const writer = createKubeWriter(access);
  const objects = createClusterObjects(writer, createKinds(clock));
  const inventory = createInventory({
    client, objects, clock, random, log,
    onChange: (before, after) => { if (applier.changed(before, after)) onChange(); },
  });
  const { drift, adopt, system, deleteShare, deleteFloor, deleteWindow } = settings.ssa;
  const desired = createDesiredReader({ newest: () => repository.ownTree(), blobs: (names) => repository.readBlobs(names) }, { folder: `clusters/${settings.cluster}/`, system });
  const applier = createApplier({
    desired, inventory, objects, clock, assertLeading,
    executor: createExecutor({ writer, clock, random }),
    store: createAppliedStore(pool, assertLeading),
    rules: { drift, adopt },
    system: system ? createSystemObjects(pool, assertLeading) : null,
    prune: { share: deleteShare, floor: deleteFloor, window: deleteWindow },
  });
  return {
    applier, objects,
    committed: async () => {
      const tree = await desired.newest();
      return { commit: tree?.commit ?? null, revision: tree?.revision ?? null, refs: [...(tree?.objects.values() ?? [])].map(({ ref }) => ref) };
    },
    close: async () => {
      await inventory.close();
      client.close();
    },
  };
}

import { systemProps } from '../../charts-ts/system/index.ts';
import { adoptFurther } from '../apply/adopt.ts';
import type { PodCalls } from '../apply/pods.ts';
import type { PredecessorPlace } from '../apply/predecessor.ts';
import { tendPowerOffs } from '../apply/power-off.ts';
import { sweep } from '../apply/sweep.ts';
import { seconds } from '../model/time.ts';
import type { Cluster } from '../observe/cluster.ts';
import type { Leadership } from '../platform/campaign.ts';
import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { Runtime } from './runtime.ts';

/** So soon after a move its leftovers go, at the latest. */
const lookEvery = seconds(5);
/** The name of the running system's Deployment, and of ours. */
const deployment = 'dory-orchestrator';

export interface AftermathOptions {
  readonly cluster: Cluster;
  readonly leadership: Pick<Leadership, 'current'>;
  /** Reads the lease again. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
}

/**
 * What a leader sees to in the cluster beside its cycles: what moves left behind, nodes without power, what the system that ran
 * here before left. In every mode, whoever applies what is committed. Ends with `signal`.
 */
export async function seeToAftermath(runtime: Runtime, options: AftermathOptions, signal: AbortSignal): Promise<void> {
  const { kubernetes, clock, log } = runtime;
  if (kubernetes === null) return;
  const access = createAccess(kubernetes);
  const once = aftermath(runtime, { ...options, calls: { client: createKubeClient(access), writer: createKubeWriter(access) } });
  try {
    // A sleep that is cut short is the end.
    while (await clock.sleep(lookEvery, signal).then(() => true, () => false)) {
      if (options.leadership.current() === null) continue;
      await once().catch((error: unknown) => { log.warn({ err: databaseFailure(error) }, 'what moves left behind could not be seen to; it is tried again'); });
    }
  } finally {
    access.close();
  }
}

/** One look. */
export function aftermath({ pool, settings, log }: Pick<Runtime, 'pool' | 'settings' | 'log'>, { cluster, assertLeading, calls }: Pick<AftermathOptions, 'cluster' | 'assertLeading'> & { readonly calls: PodCalls }): () => Promise<void> {
  const shared = { ...calls, pool, assertLeading, bound: settings.failover.fenceBound };
  return async () => {
    for (const { orphan: { namespace, name }, fate } of await sweep({ ...shared, orphans: cluster.orphans })) {
      if (fate.kind !== 'wait') log.info({ pod: `${namespace}/${name}`, fate: fate.kind }, 'a pod that a move left behind');
    }
    await tendPowerOffs({ ...shared, condition: cluster.freshest });
    const { begun, refused } = await adoptFurther({ ...shared, predecessor: predecessorOf(settings), anyLeft: () => (cluster.bare()?.size ?? 0) > 0 });
    if (begun > 0) log.info({ pods: begun }, 'taking over what the system before this one left');
    if (refused) log.warn('nothing is taken over while the system before this one runs: scale its Deployment to 0');
  };
}

/** Where the system that ran here before is looked for: where the manifests put ours. */
export function predecessorOf(settings: Settings): PredecessorPlace {
  return { namespace: systemProps(settings.system, settings).namespace, deployment };
}

import { systemProps } from '../../charts-ts/system/index.ts';
import { adoptFurther, type AdoptStep } from '../apply/adopt.ts';
import { inTurn } from '../apply/in-turn.ts';
import type { PodCalls } from '../apply/pods.ts';
import type { PredecessorPlace } from '../apply/predecessor.ts';
import { tendPowerOffs } from '../apply/power-off.ts';
import { sweep, type Swept } from '../apply/sweep.ts';
import { seconds } from '../model/time.ts';
import type { Cluster } from '../observe/cluster.ts';
import type { Leadership } from '../platform/campaign.ts';
import { createAccess } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
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
  readonly metrics: Metrics;
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

type Looks = Pick<AftermathOptions, 'cluster' | 'assertLeading' | 'metrics'> & { readonly calls: PodCalls };

/** One look; what fails in one part of it holds up no other. @throws the first failure */
export function aftermath({ pool, settings, log }: Pick<Runtime, 'pool' | 'settings' | 'log'>, { cluster, assertLeading, metrics, calls }: Looks): () => Promise<void> {
  const shared = { ...calls, pool, assertLeading, bound: settings.failover.fenceBound };
  const works = [
    async () => { tellSwept(log, metrics, await sweep({ ...shared, orphans: cluster.orphans })); },
    () => tendPowerOffs({ ...shared, condition: cluster.freshest, live: cluster.live }),
    async () => { tellAdopted(log, metrics, await adoptFurther({ ...shared, predecessor: predecessorOf(settings), anyLeft: () => (cluster.bare()?.size ?? 0) > 0 })); },
  ];
  return async () => {
    const failed = await inTurn(works);
    if (failed !== null) throw failed.error;
  };
}

function tellSwept(log: Log, metrics: Metrics, swept: readonly Swept[]): void {
  metrics.leftoverPods.reset();
  for (const { orphan: { namespace, name }, fate, first } of swept) {
    const forced = fate.kind === 'force';
    if (forced || fate.kind === 'delete') {
      if (first) metrics.leftoverPodsRemoved.inc({ how: forced ? 'forced' : 'asked' });
    } else {
      metrics.leftoverPods.inc({ state: fate.kind === 'wait' ? fate.why : fate.kind });
    }
    if (first) log.info({ pod: `${namespace}/${name}`, fate: fate.kind }, 'a pod that a move left behind');
  }
  const failures = swept.flatMap(({ fate }) => (fate.kind === 'failed' ? [fate.error] : []));
  if (failures.length > 0) log.warn({ err: databaseFailure(failures[0]), pods: failures.length }, 'pods that moves left behind could not be removed; it is tried again');
}

function tellAdopted(log: Log, metrics: Metrics, { open, begun, taken, refused, failed }: AdoptStep): void {
  metrics.adoptionsOpen.set(open);
  metrics.adoptions.inc(taken);
  if (begun > 0) log.info({ pods: begun }, 'taking over what the system before this one left');
  if (refused) log.warn('nothing is taken over while the system before this one runs: scale its Deployment to 0');
  if (failed !== null) throw failed.error;
}

/** Where the system that ran here before is looked for: where the manifests put ours. */
export function predecessorOf(settings: Settings): PredecessorPlace {
  return { namespace: systemProps(settings.system, settings).namespace, deployment };
}

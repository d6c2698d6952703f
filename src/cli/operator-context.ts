import { openRepository, type Repository } from '../commit/repository.ts';
import { readState } from '../commit/revisions.ts';
import type { Snapshot } from '../model/snapshot.ts';
import type { Cluster } from '../observe/cluster.ts';
import { createObserver } from '../observe/database.ts';
import type { OperatorContext } from '../operator/operation.ts';
import { withCluster } from './cluster.ts';
import { predecessorOf } from './aftermath.ts';
import { gitSettings } from './git-settings.ts';
import { withKube } from './kube-client.ts';
import { observeSettings } from './policy.ts';
import { manifestSettings } from './render-settings.ts';
import type { Runtime } from './runtime.ts';

/** What operations get. A repository and a cluster that are open already can be lent; they are opened, and closed, for each that asks otherwise. */
export function operatorContext(runtime: Runtime, lent: Repository | null = null, cluster: Cluster | null = null): OperatorContext {
  const { pool, clock, random, log, settings } = runtime;
  const observe = (from: Cluster | null): Promise<Snapshot> => createObserver(pool, observeSettings(settings), from).observe();
  return {
    pool, clock, random, log, settings,
    manifests: manifestSettings(settings),
    // An observer's memory would hold the fleet a second time for as long as the server runs.
    observe: shared(() => (cluster === null ? withCluster(runtime, observe) : observe(cluster))),
    nodeCondition: cluster?.freshest ?? (() => null),
    withKube: (use) => withKube(runtime, use),
    predecessor: predecessorOf(settings),
    withRepository: (use) => (lent === null ? withRepository(runtime, use) : use(lent)),
  };
}

async function withRepository<T>(runtime: Runtime, use: (repository: Repository) => Promise<T>): Promise<T> {
  const { owner } = await readState(runtime.pool);
  const repository = openRepository(await gitSettings(runtime.settings, owner, runtime.path), runtime);
  try {
    return await use(repository);
  } finally {
    await repository.close();
  }
}

/** Many that ask at once get one answer: a snapshot of a large fleet costs half a second. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | null = null;
  return () => {
    underWay ??= ask().finally(() => { underWay = null; });
    return underWay;
  };
}

import { openRepository, type Repository } from '../commit/repository.ts';
import { readState } from '../commit/revisions.ts';
import type { Push } from '../apply/argocd.ts';
import type { SecretsKeeper } from '../apply/secrets-keeper.ts';
import type { Stages } from '../cycle.ts';
import { decide } from '../decide/decide.ts';
import { Failure } from '../model/failure.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { seconds, type Instant } from '../model/time.ts';
import type { Cluster } from '../observe/cluster.ts';
import { createObserver, type Observer } from '../observe/database.ts';
import type { Lease } from '../platform/leadership.ts';
import type { Metrics } from '../platform/metrics.ts';
import { createPublisher, type Publisher } from '../publisher.ts';
import { gitSettings } from './git-settings.ts';
import { observeSettings } from './policy.ts';
import { renderSettings } from './render-settings.ts';
import { openSecretsKeeper } from './secrets-keeper.ts';
import type { Runtime } from './runtime.ts';
import { programVersion } from './version.ts';

/** The stages with their adapters: what `reconcile`, `run` and `demo` put to work. */
export interface Engine {
  readonly stages: Stages;
  readonly publisher: Publisher;
  readonly repository: Repository;
  /** Null where heartbeats alone decide. */
  readonly cluster: Cluster | null;
  close(): Promise<void>;
}

export interface EngineOptions {
  /** The lease under which decisions are made; null while another leads. */
  readonly lease: () => Lease | null;
  /** Lent: whoever opened it closes it. */
  readonly cluster: Cluster | null;
  /** Reads the lease again in the database. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
  readonly onStep?: Stages['onStep'];
  /** A Secret of the cluster is not as it was: a cycle should look. */
  readonly onSecrets?: () => void;
  readonly metrics?: Pick<Metrics, 'secretWrites' | 'secretProblems'>;
  /** Told of each push, right after it; or of one whose answer was lost, when it is found. */
  readonly onPushed?: (push: Push) => void;
  /** Names the cycle under way; a name of its own for each decision where it is absent. */
  readonly cycleName?: () => string;
}

export async function openEngine(runtime: Runtime, options: EngineOptions): Promise<Engine> {
  const { settings, pool } = runtime;
  const { cluster, cycleName = () => newCycleName(runtime) } = options;
  const observer = createObserver(pool, observeSettings(settings), cluster);
  const { owner } = await readState(pool);
  const repository = openRepository(await gitSettings(settings, owner, runtime.path), runtime);
  const renderer = `dory ${programVersion()}`;
  const secrets = openSecretsKeeper(runtime, { onChange: options.onSecrets ?? null, metrics: options.metrics ?? null });
  secrets?.start();
  let waited = false;
  let seen: Instant = runtime.clock.now();
  const publisher = createPublisher({
    pool,
    repository,
    renderSettings: renderSettings(settings),
    renderer,
    coalesce: settings.git.coalesce,
    foreignEdits: settings.git.foreignEdits,
    now: () => seen,
    assertLeading: options.assertLeading,
  });
  const stages: Stages = {
    observe: async () => {
      if (!waited) await secrets?.synced(firstSecrets);
      waited = true;
      const snapshot = await observeWithSecrets(observer, secrets, options);
      seen = snapshot.at;
      return snapshot;
    },
    decide: async (snapshot, planned) => {
      const lease = options.lease();
      if (lease === null) throw new Failure('not-leader', 'Another instance leads.');
      const { changes } = planned;
      if (changes.length > 0) await publisher.assertPublishable({ stops: changes.some(({ kind }) => kind === 'stop') });
      return decide({ pool, leaderEpoch: lease.epoch, layout: settings.layout, renderer, cycle: cycleName(), conditionOf: cluster?.freshest ?? null }, snapshot, planned);
    },
    render: () => publisher.render(),
    commit: async (rendered) => {
      const publication = await publisher.commit(rendered);
      if (publication.kind === 'pushed') options.onPushed?.({ ...publication, paths: rendered.files.map(({ path }) => path) });
      // Pushed by somebody who may have died before telling.
      if (publication.kind === 'already-there' && publication.commit !== null) options.onPushed?.({ before: null, commit: publication.commit, paths: null });
      return publication;
    },
    ...(options.onStep ? { onStep: options.onStep } : {}),
  };
  return { stages, publisher, repository, cluster, close: async () => {
    await secrets?.close();
    await repository.close();
  } };
}

/** For the list of Secrets the first cycle waits, and not for long. */
const firstSecrets = seconds(5);

/** Secrets come before the manifests that refer to them, and are in the cluster before a version of them is in a manifest. */
async function observeWithSecrets(observer: Observer, secrets: SecretsKeeper | null, { lease, assertLeading }: EngineOptions): Promise<Snapshot> {
  const snapshot = await observer.observe();
  const [held, rows] = [lease(), observer.credentialsMark()];
  if (secrets === null || held === null || rows === null) return snapshot;
  const replaced = await secrets.keep(snapshot.fleet, rows, { epoch: held.epoch, assertLeading });
  return replaced ? observer.observe() : snapshot;
}

/** Short enough to be read out, long enough to be met once in a retention of events. */
export function newCycleName({ random }: Runtime): string {
  return random.hex(6);
}

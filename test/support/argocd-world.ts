import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openArgocd, type Argocd } from '../../src/cli/argocd.ts';
import { operatorContext } from '../../src/cli/operator-context.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { status, type Status } from '../../src/operator/status-view.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { podsOf } from './cluster-fleet.ts';
import type { ControlPlane, Json } from './control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet } from './fleet.ts';
import { httpsGitServer } from './git.ts';
import { testDatabase } from './postgres.ts';
import { temporaryFolder } from './temp.ts';
import { until } from './until.ts';

export interface ArgocdClusters {
  /** Where pods run. */
  readonly cluster: ControlPlane;
  /** With the rights of the program's own ServiceAccount there. */
  readonly kubeconfig: string;
  /** Where Argo CD runs. */
  readonly home: ControlPlane;
}

export interface ArgocdWorldOptions {
  readonly flags: Readonly<Record<string, string>>;
  /** SQL, before the first decision. */
  readonly change?: string;
  /** What runs in the end; `atHome` without it. */
  readonly pods?: readonly string[];
  /** Lent. */
  readonly watched?: Cluster;
}

/** The small fleet, whose repository Argo CD brings to the cluster. */
export interface ArgocdWorld {
  readonly fleet: TestFleet;
  readonly its: Argocd;
  readonly metrics: Metrics;
  /** By `processor epoch node phase`. */
  readonly podsAre: (expected: readonly string[]) => Promise<void>;
  /** All Applications of the head's folders that hold processors show it, and nothing is left to do. */
  readonly synced: () => Promise<void>;
  readonly application: (name: string) => Promise<ApplicationObject>;
  /** What `dory status` shows of Argo CD, of what is stored now. */
  readonly shown: () => Promise<NonNullable<Status['argocd']>>;
  /** Another instance, begun anew. */
  readonly instance: (metrics: Metrics) => Promise<Argocd>;
  readonly close: () => Promise<void>;
}

interface ApplicationObject {
  readonly metadata: { readonly annotations?: Readonly<Record<string, string>>; readonly resourceVersion: string };
  readonly status?: { readonly sync?: { readonly status: string; readonly revision: string }; readonly operationState?: { readonly phase: string }; readonly reconciledAt?: string };
}

export const atHome: readonly string[] = ['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running'];
/** Argo CD polls once an hour here: what happens within a minute happens because it was told. */
export const patience = 60_000;

/** A fleet whose first commit was brought to the cluster, and whose Applications are there. */
export async function argocdWorld(clusters: ArgocdClusters, options: ArgocdWorldOptions): Promise<ArgocdWorld> {
  const closes: (() => Promise<unknown>)[] = [];
  const close = async (): Promise<void> => {
    for (const each of closes.splice(0).reverse()) await each();
  };
  try {
    return await open(clusters, options, closes, close);
  } catch (error) {
    await close();
    throw error;
  }
}

async function open({ cluster, kubeconfig, home }: ArgocdClusters, { flags, change = '', pods = atHome, watched }: ArgocdWorldOptions, closes: (() => Promise<unknown>)[], close: () => Promise<void>): Promise<ArgocdWorld> {
  const temporary = await temporaryFolder();
  closes.push(() => temporary.remove());
  const folder = temporary.path;
  const git = await httpsGitServer(folder, 'argocd', 'a-token');
  closes.push(() => git.close());
  const database = await testDatabase();
  closes.push(() => database.close());
  await seedSmallFleet(database.pool);
  await database.pool.query(change);
  let its: Argocd | null = null;
  const fleet = await testFleet({
    pool: database.pool, url: database.url, folder, ...(watched === undefined ? {} : { cluster: watched }), onPushed: (push) => { its?.pushed(push); },
    flags: { apply: 'argocd', 'argocd-repo-url': git.url, layout: 'flat', ...flags },
  });
  closes.push(() => fleet.close());
  const metrics = createMetrics();
  const instance = async (its: Metrics): Promise<Argocd> => {
    const opened = await openArgocd({ ...fleet.runtime, kubernetes: { kind: 'file', path: kubeconfig } }, its);
    if (opened === null) throw new Error('no Argo CD');
    closes.push(opened.close);
    opened.start();
    return opened;
  };
  its = await instance(metrics);
  await fleet.once();
  const podsAre = (expected: readonly string[]): Promise<void> => until(async () => (await podsOf(cluster)).join() === expected.join(), `the pods are ${expected.join(', ')}`, patience);
  // After the Applications, which would put them back.
  closes.push(async () => {
    await cluster.kubectl('delete', 'statefulsets,pods', '-A', '-l', 'managed-by=dory-orchestrator', '--force', '--grace-period=0');
    await podsAre([]);
  });
  await install(home, { fleet, folder, url: git.url }, closes);
  const application = async (name: string): Promise<ApplicationObject> => (await home.send('GET', `/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/${name}`)) as unknown as ApplicationObject;
  const synced = async (): Promise<void> => {
    const head = (await fleet.git('rev-parse', 'main')).trim();
    await until(async () => {
      const { sync, operationState } = (await application('dory-test-processors')).status ?? {};
      return sync?.status === 'Synced' && sync.revision === head && operationState?.phase === 'Succeeded';
    }, `Argo CD has synced ${head}`, patience);
  };
  await podsAre(pods);
  if ((flags['layout'] ?? 'flat') === 'flat') await synced();
  const shown = async (): Promise<NonNullable<Status['argocd']>> => {
    await its.record();
    const { argocd } = await status.run(operatorContext(fleet.runtime, fleet.engine.repository), {}, { name: 'test' });
    if (argocd === null) throw new Error('nothing is shown of Argo CD');
    return argocd;
  };
  return { fleet, its, metrics, podsAre, synced, application, shown, instance, close };
}

/** As the guide says: the repository's Secret, and the generated files. */
async function install(home: ControlPlane, { fleet, folder, url }: { readonly fleet: TestFleet; readonly folder: string; readonly url: string }, closes: (() => Promise<unknown>)[]): Promise<void> {
  const repository: Json = { type: 'git', url, username: 'argocd', password: 'a-token', insecure: 'true' };
  await home.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'repository', labels: { 'argocd.argoproj.io/secret-type': 'repository' } }, stringData: repository });
  closes.push(() => home.send('DELETE', '/api/v1/namespaces/argocd/secrets/repository'));
  for (const name of ['projects', 'applications']) {
    const file = join(folder, `${name}.yaml`);
    await writeFile(file, await fleet.git('show', `main:clusters/test/argocd/${name}.yaml`));
    await home.kubectl('apply', '-f', file);
    closes.push(() => home.kubectl('delete', '-f', file, '--ignore-not-found'));
  }
}

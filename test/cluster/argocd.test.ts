import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { argocdFiles, type ArgocdProps } from '../../charts-ts/argocd/index.ts';
import { defaultSystemProps, systemFiles, systemProps } from '../../charts-ts/system/index.ts';
import { openArgocd, type Argocd } from '../../src/cli/argocd.ts';
import { seconds } from '../../src/model/time.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { startArgocd, installArgocd, type RunningArgocd } from '../support/argocd.ts';
import { argocdPrograms } from '../support/argocd-build.ts';
import { addNode, installAccess, ownKubeconfig, podsOf, watchedCluster } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane, type Json } from '../support/control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../support/fleet.ts';
import { httpsGitServer, type HttpsGitServer } from '../support/git.ts';
import { testDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const controlPlane = inject('controlPlane');
const tell = (text: string): void => { process.stderr.write(`${text}\n`); };
const argocd = typeof controlPlane === 'string' ? controlPlane : await argocdPrograms(process.env, tell);
if (typeof argocd === 'string') tell(`Tests with Argo CD itself are skipped: ${argocd}.`);

/** It polls once an hour here: what happens within a minute happens because it was told. */
const patience = 60_000;
const webhookSecret = 'a-shared-secret';

describe.skipIf(typeof argocd === 'string')('with Argo CD itself', () => {
  let server: ControlPlane;
  let running: RunningArgocd;
  /** With the rights of the program's own ServiceAccount. */
  let kubeconfig: string;
  const always: (() => Promise<unknown>)[] = [];
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof controlPlane === 'string' || typeof argocd === 'string') return;
    server = await startControlPlane({ programs: controlPlane, with: ['controllers', 'scheduler', 'nodes'] });
    always.push(() => server.stop());
    const options = { programs: argocd, cluster: server, webhookSecret };
    await installArgocd(options);
    await installAccess(server, systemProps({ apply: 'argocd' }, defaultSystemProps.shared));
    kubeconfig = await ownKubeconfig(server);
    await addNode(server, 'pool-1', { 'workload-type': 'application' });
    for (const name of ['edge-1', 'edge-2']) await addNode(server, name, { 'node-type': 'edge' });
    running = await startArgocd(options);
    always.push(running.stop);
  });
  afterAll(async () => {
    for (const close of always.splice(0).reverse()) await close();
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  let git: HttpsGitServer;
  let folder: string;
  let secretFile: string;
  beforeEach(async () => {
    const temporary = await temporaryFolder();
    closes.push(() => temporary.remove());
    folder = temporary.path;
    secretFile = join(folder, 'webhook-secret');
    await writeFile(secretFile, webhookSecret);
    git = await httpsGitServer(folder, 'argocd', 'a-token');
    closes.push(() => git.close());
    const repository = { type: 'git', url: git.url, username: 'argocd', password: 'a-token', insecure: 'true' };
    await server.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'repository', labels: { 'argocd.argoproj.io/secret-type': 'repository' } }, stringData: repository });
    closes.push(() => server.send('DELETE', '/api/v1/namespaces/argocd/secrets/repository'));
  });

  const atHome = ['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running'];

  interface World {
    readonly fleet: TestFleet;
    readonly its: Argocd;
    readonly metrics: Metrics;
  }
  /** A fleet whose first commit was brought to the cluster, and whose Applications are there. */
  const world = async (flags: Readonly<Record<string, string>>, change = '', pods: readonly string[] = atHome, cluster: Cluster | null = null): Promise<World> => {
    const database = await testDatabase();
    closes.push(() => database.close());
    await seedSmallFleet(database.pool);
    await database.pool.query(change);
    let its: Argocd | null = null;
    const fleet = await testFleet({
      pool: database.pool, url: database.url, folder, ...(cluster === null ? {} : { cluster }), onPushed: (push) => { its?.pushed(push); },
      flags: { apply: 'argocd', 'argocd-repo-url': git.url, layout: 'flat', ...flags },
    });
    closes.push(() => fleet.close());
    const metrics = createMetrics();
    its = await openArgocd({ ...fleet.runtime, kubernetes: { kind: 'file', path: kubeconfig } }, metrics);
    if (its === null) throw new Error('no Argo CD');
    closes.push(its.close);
    its.start();
    await fleet.once();
    // After the Applications, which would put them back.
    closes.push(async () => {
      await server.kubectl('delete', 'statefulsets,pods', '-A', '-l', 'managed-by=dory-orchestrator', '--force', '--grace-period=0');
      await podsAre([]);
    });
    for (const name of ['projects', 'applications']) {
      const file = join(folder, `${name}.yaml`);
      await writeFile(file, await fleet.git('show', `main:clusters/test/argocd/${name}.yaml`));
      await server.kubectl('apply', '-f', file);
      closes.push(() => server.kubectl('delete', '-f', file, '--ignore-not-found'));
    }
    await podsAre(pods);
    await synced(fleet);
    return { fleet, its, metrics };
  };
  const podsAre = (expected: readonly string[]): Promise<void> => until(async () => (await podsOf(server)).join() === expected.join(), `the pods are ${expected.join(', ')}`, patience);
  const status = async (name: string): Promise<Json> => ((await server.send('GET', `/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/${name}`))['status'] ?? {}) as Json;
  const synced = async (fleet: TestFleet): Promise<void> => {
    const head = (await fleet.git('rev-parse', 'main')).trim();
    await until(async () => {
      const { sync, operationState } = (await status('dory-test-processors')) as { sync?: { status: string; revision: string }; operationState?: { phase: string } };
      return sync?.status === 'Synced' && sync.revision === head && operationState?.phase === 'Succeeded';
    }, `Argo CD has synced ${head}`, patience);
  };

  test.each(['flat', '64', '64x16'] as const)('its API server takes what we generate, field by field: %s', async (layout) => {
    const props: ArgocdProps = {
      cluster: 'strict', repoUrl: git.url, revision: 'refs/heads/main', namespace: 'argocd', project: 'dory-strict', destination: 'https://kubernetes.default.svc', namespaces: ['default', 'plant-*'],
    };
    for (const [name, text] of argocdFiles(props, { layout, systemFiles: systemFiles(defaultSystemProps, ['default']) })) {
      const file = join(folder, name);
      await writeFile(file, text);
      await server.kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file);
      await writeFile(file, text.replaceAll('sourceRepos:', 'sourceRepo:').replaceAll('prune:', 'prunes:'));
      await expect(server.kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file)).rejects.toThrow(/unknown field|not declared in schema/);
    }
  });

  test('removes what is gone from Git, to the last one', { timeout: 180_000 }, async () => {
    const { fleet } = await world({});
    await fleet.pool.query("update processors set status = 'terminated'");
    await fleet.pool.query("insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'test', 'test', '2100-01-01')");
    await fleet.beat('edge-1', 'edge-2');
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['remove', 'remove', 'remove']);
    await podsAre([]);
    await synced(fleet);
  });

  test('puts back what somebody changed, and leaves alone what the server adds to a claim', { timeout: 180_000 }, async () => {
    // Nobody provides volumes here.
    const { fleet } = await world({}, `update processor_template_versions set runtime_config_template = '{"env_vars": {"DORY_STATE_BACKEND": "pvc"}}'`, ['c1 1 - Pending', 'c2 1 - Pending', 'c3 1 - Pending']);
    const name = (await server.kubectl('get', 'statefulsets', '-l', 'managed-by=dory-orchestrator', '-o', 'jsonpath={.items[0].metadata.name}')).trim();
    await server.kubectl('scale', 'statefulset', name, '--replicas=0');
    await until(async () => (await server.kubectl('get', 'statefulset', name, '-o', 'jsonpath={.spec.replicas}')) === '1', 'it is put back', patience);
    await synced(fleet);
  });

  test('a sync that fails is told, tried again, and told to be over', { timeout: 180_000 }, async () => {
    const { fleet, its, metrics } = await world({});
    await fleet.pool.query("update processors set k8s_namespace = 'not-there' where id::text like '%c3'");
    await fleet.beat('edge-1', 'edge-2');
    await fleet.once();
    const recorded = async (): Promise<unknown> => {
      await its.record();
      return (await fleet.pool.query<{ failing: boolean }>("select failing from dory.argocd_applications where name = 'dory-test-processors'")).rows[0]?.failing;
    };
    await until(async () => (await recorded()) === true, 'it is known to fail', patience);
    const { rows } = await fleet.pool.query<{ evidence: Json }>("select evidence from dory.events where kind = 'argocd-sync-failed'");
    expect(rows).toEqual([{ evidence: expect.objectContaining({ application: 'dory-test-processors', commit: (await fleet.git('rev-parse', 'main')).trim(), message: expect.stringContaining('not-there') as string }) as Json }]);
    expect((await metrics.argocdSyncFailures.get()).values[0]?.value).toBe(1);
    await server.send('POST', '/api/v1/namespaces', { metadata: { name: 'not-there' } });
    await until(async () => (await recorded()) === false, 'it is known to be over', patience);
    await synced(fleet);
  });

  test('a node that is silent, and whose kubelet answers: its pods are stopped first, and run elsewhere when they are gone', { timeout: 240_000 }, async () => {
    const cluster = watchedCluster(kubeconfig);
    closes.push(() => cluster.close());
    cluster.start();
    expect(await cluster.synced(seconds(20))).toBe(true);
    const flags = { 'heartbeats-interval': '2s', 'failover-stability-window': '0s', 'failover-heartbeat-stale': '10s', 'failover-heartbeat-gap': '5s', 'failover-intake-fresh': '9s' };
    const { fleet } = await world(flags, '', atHome, cluster);
    const nextChanges = async (): Promise<readonly string[]> => {
      let kinds: readonly string[] = [];
      await until(async () => {
        await fleet.beat('edge-2');
        kinds = (await fleet.once()).planned.changes.map(({ kind, processorId }) => `${kind} ${processorId.slice(-2)}`);
        return kinds.length > 0;
      }, 'a cycle changes something', patience);
      return kinds;
    };
    await fleet.age(3_600_000, 'edge-1');
    expect(await nextChanges()).toEqual(['stop c1', 'stop c2']);
    const moved = [...(await nextChanges())];
    // One may be seen to be gone before the other.
    if (moved.length === 1) moved.push(...(await nextChanges()));
    expect(moved.sort()).toEqual(['move c1', 'move c2']);
    await podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    await synced(fleet);
  });

  test.each(['refresh', 'webhook'])('told by %s, it brings a failover to the cluster at once, and it is seen to', { timeout: 180_000 }, async (notify) => {
    const { fleet, its, metrics } = await world({ 'argocd-notify': notify, 'argocd-webhook-url': running.webhookUrl, 'argocd-webhook-secret-file': secretFile });
    await fleet.age(3_600_000, 'edge-1');
    await fleet.beat('edge-2');
    const before = performance.now();
    const { publication } = await fleet.once();
    expect(publication?.kind).toBe('pushed');
    await podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    tell(`${notify}: ${String(Math.round(performance.now() - before))} ms`);
    await synced(fleet);
    await its.record();
    const { rows } = await fleet.pool.query("select name, sync, commit_sha, failing from dory.argocd_applications where name = 'dory-test-processors'");
    expect(rows).toEqual([{ name: 'dory-test-processors', sync: 'Synced', commit_sha: (await fleet.git('rev-parse', 'main')).trim(), failing: false }]);
    expect((await metrics.argocdSyncSeconds.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value).toBe(1);
  });
});

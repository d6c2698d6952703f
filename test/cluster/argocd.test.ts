import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { argocdFiles, type ArgocdProps } from '../../charts-ts/argocd/index.ts';
import { defaultSystemProps, systemFiles, systemProps } from '../../charts-ts/system/index.ts';
import { sendWebhook } from '../../src/apply/argocd-webhook.ts';
import type { NodeName } from '../../src/model/ids.ts';
import { seconds } from '../../src/model/time.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { startArgocd, installArgocd, type RunningArgocd } from '../support/argocd.ts';
import { argocdPrograms } from '../support/argocd-build.ts';
import { argocdWorld, atHome, patience, type ArgocdWorld, type ArgocdWorldOptions } from '../support/argocd-world.ts';
import { addNode, installAccess, ownKubeconfig, setKubelet, watchedCluster } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane, type Json } from '../support/control-plane.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const controlPlane = inject('controlPlane');
const tell = (text: string): void => { process.stderr.write(`${text}\n`); };
const argocd = typeof controlPlane === 'string' ? controlPlane : await argocdPrograms(process.env, tell);
if (typeof argocd === 'string') tell(`Tests with Argo CD itself are skipped: ${argocd}.`);

/** A node that became ready a moment ago has to be silent for all of the threshold; a minute is long for a test. */
const quick = { 'heartbeats-interval': '2s', 'failover-stability-window': '0s', 'failover-heartbeat-stale': '10s', 'failover-heartbeat-gap': '5s', 'failover-intake-fresh': '9s' };

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
    const options = { programs: argocd, cluster: server };
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

  const world = async (options: ArgocdWorldOptions): Promise<ArgocdWorld> => {
    const opened = await argocdWorld({ cluster: server, kubeconfig, home: server }, options);
    closes.push(opened.close);
    return opened;
  };
  const folderFor = async (): Promise<string> => {
    const temporary = await temporaryFolder();
    closes.push(() => temporary.remove());
    return temporary.path;
  };
  /** The cluster as the program watches it, from now on. */
  const watching = async (): Promise<Cluster> => {
    const cluster = watchedCluster(kubeconfig);
    closes.push(() => cluster.close());
    cluster.start();
    expect(await cluster.synced(seconds(60))).toBe(true);
    return cluster;
  };

  test.each(['flat', '64', '64x16'] as const)('its API server takes what we generate, field by field: %s', async (layout) => {
    const folder = await folderFor();
    const props: ArgocdProps = {
      cluster: 'strict', repoUrl: 'https://git.example.com/fleet.git', revision: 'refs/heads/main', namespace: 'argocd', project: 'dory-strict', destination: 'https://kubernetes.default.svc', namespaces: ['default', 'plant-*'],
    };
    for (const [name, text] of argocdFiles(props, { layout, systemFiles: systemFiles(defaultSystemProps, ['default']) })) {
      const file = join(folder, name);
      await writeFile(file, text);
      await server.kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file);
      await writeFile(file, text.replaceAll('sourceRepos:', 'sourceRepo:').replaceAll('prune:', 'prunes:'));
      await expect(server.kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file)).rejects.toThrow(/unknown field|not declared in schema/);
    }
  });

  /** As `user@host:path` and as a URL, with ports and without, as the hosts of Git do it. */
  const addresses = [
    'https://git.example.com/org/fleet.git', 'https://git.example.com/org/fleet', 'http://git.example.com:3000/org/fleet.git', 'ssh://git@git.example.com:2222/org/fleet.git', 'git@git.example.com:org/fleet.git',
    'https://gitlab.example.com/group/sub/fleet.git', 'ssh://git@bitbucket.example.com:7999/proj/fleet.git', 'https://bitbucket.example.com/scm/proj/fleet.git', 'https://dev.azure.com/org/my%20project/_git/fleet',
    'git@ssh.dev.azure.com:v3/org/project/fleet', 'ssh://git@git.example.com/~ada/fleet.git',
  ];
  test('a webhook of ours concerns the Application of this repository, branch and folder, by whatever address it names it, and no other', async () => {
    // Its controller leaves these alone, so what its server asks for stays to be seen.
    const of = (name: string, source: Json): Json => ({
      apiVersion: 'argoproj.io/v1alpha1', kind: 'Application',
      metadata: { name, annotations: { 'argocd.argoproj.io/skip-reconcile': 'true', 'argocd.argoproj.io/manifest-generate-paths': '.' } },
      spec: { project: 'default', destination: { server: 'https://kubernetes.default.svc', namespace: 'default' }, source: { targetRevision: 'refs/heads/main', path: 'clusters/n/processors/0a', ...source } },
    });
    const path = '/apis/argoproj.io/v1alpha1/namespaces/argocd/applications';
    closes.push(() => server.send('DELETE', path));
    const others = { branch: { targetRevision: 'refs/heads/other' }, folder: { path: 'clusters/n/processors/0b' } };
    for (const [n, repoURL] of addresses.entries()) await server.send('POST', path, of(`at-${String(n)}`, { repoURL }));
    for (const [name, source] of Object.entries(others)) await server.send('POST', path, of(name, { repoURL: addresses[0], ...source }));
    const asked = async (): Promise<readonly string[]> => {
      const { items } = (await server.send('GET', path)) as unknown as { items: { metadata: { name: string; annotations: Record<string, string> } }[] };
      return items.filter(({ metadata }) => metadata.annotations['argocd.argoproj.io/refresh'] !== undefined).map(({ metadata }) => metadata.name);
    };
    const about = { url: running.webhookUrl, branch: 'main', caFile: running.caFile };
    const secret = (): Promise<string> => Promise.resolve('a-shared-secret');
    const push = { before: 'a'.repeat(40), commit: 'b'.repeat(40), paths: ['clusters/n/processors/0a/x.yaml'] };
    for (const [n, repoUrl] of addresses.entries()) {
      // Its server has a copy of the Applications too.
      await until(async () => {
        await sendWebhook({ ...about, secret, repoUrl }, push);
        return (await asked()).includes(`at-${String(n)}`);
      }, `Argo CD knows ${repoUrl} again`, patience);
    }
    expect((await asked()).filter((name) => name in others)).toEqual([]);
    const code = (sent: Promise<void>): Promise<unknown> => sent.then(() => 'sent', (error: unknown) => (error as { readonly code?: unknown }).code);
    expect(await code(sendWebhook({ ...about, secret: () => Promise.resolve('another'), repoUrl: 'https://git.example.com/fleet.git' }, push))).toBe('argocd-refused');
    expect(await code(sendWebhook({ ...about, secret, repoUrl: 'https://git.example.com/fleet.git', caFile: null }, push))).toBe('argocd-unreachable');
  });

  test('removes what is gone from Git, to the last one', { timeout: 180_000 }, async () => {
    const { fleet, podsAre, synced } = await world({ flags: {} });
    await fleet.pool.query("update processors set status = 'terminated'");
    await fleet.pool.query("insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'test', 'test', '2100-01-01')");
    await fleet.beat('edge-1', 'edge-2');
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['remove', 'remove', 'remove']);
    await podsAre([]);
    await synced();
  });

  test('puts back what somebody changed, and leaves alone what the server adds to a claim', { timeout: 180_000 }, async () => {
    // Nobody provides volumes here.
    const { synced } = await world({
      flags: {}, change: `update processor_template_versions set runtime_config_template = '{"env_vars": {"DORY_STATE_BACKEND": "pvc"}}'`, pods: ['c1 1 - Pending', 'c2 1 - Pending', 'c3 1 - Pending'],
    });
    const name = (await server.kubectl('get', 'statefulsets', '-l', 'managed-by=dory-orchestrator', '-o', 'jsonpath={.items[0].metadata.name}')).trim();
    await server.kubectl('scale', 'statefulset', name, '--replicas=0');
    await until(async () => (await server.kubectl('get', 'statefulset', name, '-o', 'jsonpath={.spec.replicas}')) === '1', 'it is put back', patience);
    await synced();
  });

  test('a sync that fails is told with its words, tried again, and told to be over', { timeout: 180_000 }, async () => {
    const { fleet, its, metrics, synced, shown } = await world({ flags: {} });
    await fleet.pool.query("update processors set k8s_namespace = 'not-there' where id::text like '%c3'");
    await fleet.beat('edge-1', 'edge-2');
    await fleet.once();
    const failing = async (): Promise<unknown> => {
      await its.record();
      return (await fleet.pool.query<{ failing: boolean }>("select failing from dory.argocd_applications where name = 'dory-test-processors'")).rows[0]?.failing;
    };
    await until(async () => (await failing()) === true, 'it is known to fail', patience);
    const { rows } = await fleet.pool.query<{ evidence: Json }>("select evidence from dory.events where kind = 'argocd-sync-failed'");
    expect(rows).toEqual([{ evidence: expect.objectContaining({ application: 'dory-test-processors', commit: (await fleet.git('rev-parse', 'main')).trim(), message: expect.stringContaining('not-there') as string }) as Json }]);
    expect((await metrics.argocdSyncFailures.get()).values[0]?.value).toBe(1);
    expect((await shown()).problems.filter(({ message }) => message?.includes('not-there') === true).map(({ application }) => application)).toEqual(['dory-test-processors']);
    await server.send('POST', '/api/v1/namespaces', { metadata: { name: 'not-there' } });
    await until(async () => (await failing()) === false, 'it is known to be over', patience);
    await synced();
  });

  const nextChanges = async ({ fleet }: ArgocdWorld): Promise<readonly string[]> => {
    let kinds: readonly string[] = [];
    await until(async () => {
      await fleet.beat('edge-2');
      kinds = (await fleet.once()).planned.changes.map(({ kind, processorId, reason }) => `${kind} ${processorId.slice(-2)} ${reason}`);
      return kinds.length > 0;
    }, 'a cycle changes something', patience);
    return kinds;
  };

  test('a node that is silent, and whose kubelet answers: its pods are stopped first, and run elsewhere when they are gone', { timeout: 240_000 }, async () => {
    const its = await world({ flags: quick, watched: await watching() });
    const { fleet, podsAre, synced } = its;
    await fleet.age(3_600_000, 'edge-1');
    expect(await nextChanges(its)).toEqual(['stop c1 node-silent', 'stop c2 node-silent']);
    const moved = [...(await nextChanges(its))];
    // One may be seen to be gone before the other.
    if (moved.length === 1) moved.push(...(await nextChanges(its)));
    expect(moved.sort()).toEqual(['move c1 node-silent', 'move c2 node-silent']);
    await podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    await synced();
  });

  /** Each with what comes of telling it. */
  const ways: readonly (readonly [string, () => Promise<Readonly<Record<string, string>>>, string])[] = [
    ['refresh', () => Promise.resolve({ 'argocd-notify': 'refresh' }), 'told'],
    ['webhook', () => Promise.resolve(webhook()), 'told'],
    ['a webhook with the wrong secret', async () => {
      const file = join(await folderFor(), 'wrong');
      await writeFile(file, 'wrong');
      return { ...webhook(), 'argocd-webhook-secret-file': file };
    }, 'fell-back'],
    ['a webhook that nobody takes', () => Promise.resolve({ ...webhook(), 'argocd-webhook-url': 'http://127.0.0.1:9/api/webhook' }), 'fell-back'],
    ['a webhook that goes astray', async () => {
      const http = createServer((_, response) => { response.end(); });
      await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
      closes.push(() => new Promise((resolve) => { http.closeAllConnections(); http.close(resolve); }));
      return { ...webhook(), 'argocd-webhook-url': `http://127.0.0.1:${String((http.address() as AddressInfo).port)}/api/webhook` };
    }, 'fell-back'],
  ];
  const webhook = (): Readonly<Record<string, string>> => ({ 'argocd-notify': 'webhook', 'argocd-webhook-url': running.webhookUrl, 'argocd-webhook-secret-file': running.secretFile, 'argocd-webhook-ca-file': running.caFile });

  test.each(ways)('told by %s, it brings the failover of a dead node to the cluster at once, and it is seen to', { timeout: 240_000 }, async (name, flagsOf, result) => {
    const cluster = await watching();
    const its = await world({ flags: { ...quick, ...(await flagsOf()) }, watched: cluster });
    const { fleet, metrics, podsAre, synced, shown } = its;
    closes.push(() => setKubelet(server, 'edge-1', true));
    await setKubelet(server, 'edge-1', false);
    await until(() => cluster.freshest('edge-1' as NodeName)?.ready === 'unknown', 'Kubernetes missed its lease', patience);
    await fleet.age(3_600_000, 'edge-1');
    expect(await nextChanges(its)).toEqual(['move c1 node-dead', 'move c2 node-dead']);
    const pushed = performance.now();
    // What the dead node had is to go, and holds up nobody.
    await podsAre(['c1 1 edge-1 Terminating', 'c1 2 pool-1 Running', 'c2 1 edge-1 Terminating', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    tell(`${name}: ${String(Math.round(performance.now() - pushed))} ms from the commit to running pods`);
    await synced();
    const commit = (await fleet.git('rev-parse', 'main')).trim();
    await until(async () => (await metrics.argocdSyncSeconds.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value === 1, 'the commit is seen to have arrived', patience);
    const { problems, untold, missing, applications } = await shown();
    expect({ problems: problems.filter(({ application }) => application === 'dory-test-processors'), missing, applications }).toEqual({ problems: [], missing: [], applications: 2 });
    expect(untold).toEqual(result === 'told' ? null : expect.objectContaining({ commit, fellBack: true }));
    const { rows } = await fleet.pool.query("select sync, commit_sha, failing from dory.argocd_applications where name = 'dory-test-processors'");
    expect(rows).toEqual([{ sync: 'Synced', commit_sha: commit, failing: false }]);
    expect((await metrics.argocdNotifications.get()).values.map(({ labels }) => labels.result)).toContain(result);
  });

  test('what a person does to an Application is shown, with what makes it as it was', { timeout: 180_000 }, async () => {
    const { fleet, synced, shown, podsAre } = await world({ flags: {} });
    const name = 'dory-test-processors';
    const patch = (body: Json): Promise<unknown> => server.send('PATCH', `/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/${name}`, body);
    const problem = async (): Promise<string | null> => (await shown()).problems.find(({ application }) => application === name)?.message ?? null;
    const apply = async (): Promise<void> => {
      const file = join(await folderFor(), 'applications.yaml');
      await writeFile(file, await fleet.git('show', 'main:clusters/test/argocd/applications.yaml'));
      await server.kubectl('apply', '-f', file);
    };
    await synced();
    await patch({ spec: { syncPolicy: { automated: null } } });
    await until(async () => (await problem())?.startsWith('automatic sync is switched off') === true, 'it is shown', patience);
    await apply();
    await patch({ spec: { syncPolicy: { automated: { prune: false } } } });
    await until(async () => (await problem())?.startsWith('prune is switched off') === true, 'it is shown', patience);
    await apply();
    await until(async () => (await problem()) === null, 'it is as it was', patience);
    await server.kubectl('-n', 'argocd', 'delete', 'application', name);
    await until(async () => (await shown()).missing.length === 1, 'it is missed', patience);
    // No finalizer: what runs stays.
    await podsAre(atHome);
    expect(await shown()).toMatchObject({ missing: [{ path: 'clusters/test/processors' }], mend: 'kubectl apply -f clusters/test/argocd/' });
    await apply();
    await until(async () => (await shown()).missing.length === 0, 'it is there again', patience);
    await patch({ spec: { source: { path: 'clusters/test/nowhere' } } });
    await until(async () => (await problem())?.startsWith('ComparisonError: ') === true, "Argo CD's words are shown", patience);
  });
});

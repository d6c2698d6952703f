import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { systemFiles, defaultSystemProps, systemProps } from '../../charts-ts/system/index.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { startArgocd, installArgocd, type RunningArgocd } from '../support/argocd.ts';
import { argocdPrograms } from '../support/argocd-build.ts';
import { argocdWorld, patience, type ArgocdWorld } from '../support/argocd-world.ts';
import { addNode, installAccess, ownKubeconfig, smallNodes } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { until } from '../support/until.ts';

const controlPlane = inject('controlPlane');
const tell = (text: string): void => { process.stderr.write(`${text}\n`); };
const argocd = typeof controlPlane === 'string' ? controlPlane : await argocdPrograms(process.env, tell);

/** Of the administrator, or of an account with its rights. */
interface Kubeconfig {
  readonly clusters: readonly [{ readonly cluster: { readonly server: string; readonly 'certificate-authority-data': string } }];
  readonly users: readonly [{ readonly user: { readonly token: string } }];
}

describe.skipIf(typeof argocd === 'string')('with Argo CD in another cluster, and 64 folders', () => {
  /** Where Argo CD runs, and where pods do. */
  let home: ControlPlane;
  let cluster: ControlPlane;
  let running: RunningArgocd;
  let world: ArgocdWorld;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof controlPlane === 'string' || typeof argocd === 'string') return;
    [home, cluster] = await Promise.all([startControlPlane({ programs: controlPlane }), startControlPlane({ programs: controlPlane, with: ['controllers', 'scheduler', 'nodes'] })]);
    closes.push(() => home.stop(), () => cluster.stop());
    await installArgocd({ programs: argocd, cluster: home });
    // As anywhere else it knows clusters by their Secrets.
    const { clusters: [{ cluster: api }], users: [{ user }] } = parse(await readFile(cluster.kubeconfig, 'utf8')) as Kubeconfig;
    const config = JSON.stringify({ bearerToken: user.token, tlsClientConfig: { caData: api['certificate-authority-data'] } });
    await home.send('POST', '/api/v1/namespaces/argocd/secrets', { metadata: { name: 'north-1', labels: { 'argocd.argoproj.io/secret-type': 'cluster' } }, stringData: { name: 'north-1', server: api.server, config } });
    await installAccess(cluster);
    const kubeconfig = await ownKubeconfig(cluster);
    // There, nothing but the Role that `system/` has for it, and its account.
    await home.send('POST', '/api/v1/namespaces', { metadata: { name: 'dory-system' } });
    const access = (systemFiles(systemProps({ apply: 'argocd' }, defaultSystemProps.shared), []).get('orchestrator-access.yaml') ?? '').split('\n---\n').filter((text) => /^kind: ServiceAccount$|name: dory-orchestrator-argocd$/m.test(text));
    expect(access).toHaveLength(3);
    const file = join(home.folder, 'access.yaml');
    await writeFile(file, access.join('\n---\n'));
    await home.kubectl('apply', '-f', file);
    for (const [name, labels] of Object.entries(smallNodes)) await addNode(cluster, name, labels);
    running = await startArgocd({ programs: argocd, cluster: home });
    closes.push(running.stop);
    const flags = { layout: '64', 'argocd-kubeconfig': await ownKubeconfig(home), 'argocd-destination': 'north-1', 'argocd-namespaces': 'default,plant-*' };
    world = await argocdWorld({ cluster, kubeconfig, home }, { flags });
    closes.push(world.close);
    await until(async () => {
      const { synced, problems } = await world.shown();
      return synced === 65 && problems.length === 0;
    }, 'all folders are synced', 2 * patience);
  }, 5 * patience);
  afterAll(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  /** Which rows of Applications are another version now. */
  const rows = async (): Promise<ReadonlyMap<string, string>> => new Map((await world.fleet.pool.query<{ name: string; version: string }>('select name, xmin::text as version from dory.argocd_applications')).rows.map(({ name, version }) => [name, version]));
  const folders = async (before: string): Promise<readonly string[]> => {
    const paths = (await world.fleet.git('diff', '--name-only', before, 'main', '--', 'clusters/test/processors')).trim().split('\n');
    return [...new Set(paths.map((path) => `dory-test-processors-${path.split('/')[3] ?? ''}`))].sort();
  };
  const head = async (): Promise<string> => (await world.fleet.git('rev-parse', 'main')).trim();

  test('its Applications are told and read with the rights of the Role alone; what a failover costs follows what it changes', async () => {
    const { fleet, shown, podsAre, metrics } = world;
    expect(await shown()).toMatchObject({ applications: 65, missing: [], untold: null });
    const [before, known] = [await head(), await rows()];
    await fleet.age(3_600_000, 'edge-1');
    await fleet.beat('edge-2');
    const begun = performance.now();
    expect((await fleet.once()).publication?.kind).toBe('pushed');
    await podsAre(['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    tell(`64 folders, Argo CD elsewhere: ${String(Math.round(performance.now() - begun))} ms from the decision to running pods`);
    await until(async () => (await metrics.argocdSyncSeconds.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value === 1, 'the commit is seen to have arrived', patience);
    await until(async () => (await shown()).problems.length === 0, 'nothing is left to do', patience);
    const changed = [...(await rows())].filter(([name, version]) => known.get(name) !== version).map(([name]) => name).sort();
    expect(changed).toEqual(await folders(before));
    expect(changed.length).toBeLessThan(4);
  });

  test('another instance finds what is stored, and leaves it as it is', async () => {
    // Argo CD says Progressing until it has seen that what was moved is ready.
    const underWay = "select from dory.argocd_applications where sync <> 'Synced' or health = 'Progressing' or phase = 'Running'";
    await until(async () => (await world.shown()).problems.length === 0 && (await world.fleet.pool.query(underWay)).rowCount === 0, 'all of them are at rest', patience);
    const known = await rows();
    const metrics = createMetrics();
    const another = await world.instance(metrics);
    await until(async () => {
      // Before it has listed them it does nothing.
      await another.record();
      return (await metrics.argocdApplications.get()).values.reduce((sum, { value }) => sum + value, 0) === 65;
    }, 'it has listed them', patience);
    await another.record();
    expect([...(await rows())].sort()).toEqual([...known].sort());
  });

  test('while its controller is away nothing comes, and that is shown as what lags', async () => {
    const { fleet, shown } = world;
    await running.stopController();
    const before = await head();
    await fleet.pool.query("update processors set status = 'terminated' where id::text like '%c3'");
    await fleet.beat('edge-2');
    await fleet.once();
    expect(await head()).not.toBe(before);
    const [lagging = '', ...others] = await folders(before);
    expect(others).toEqual([]);
    const commit = (await head()).slice(0, 12);
    expect((await shown()).problems).toEqual([{ application: lagging, sync: 'Synced', health: 'Healthy', message: expect.stringContaining(`commit ${commit} is not on the cluster`) as string, mend: null }]);
    expect(await shown()).toMatchObject({ applications: 65, synced: 64 });
    await world.its.idle();
    expect((await shown()).untold).toMatchObject({ fellBack: false, why: expect.stringContaining('has not looked at the commit') as string });
  });
});

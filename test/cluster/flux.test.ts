import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startService } from '../../src/cli/demo/service.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { addNode, podsAre } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane, type Json } from '../support/control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../support/fleet.ts';
import { fluxPrograms } from '../support/flux-build.ts';
import { freePorts } from '../support/ports.ts';
import { testDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const controlPlane = inject('controlPlane');
const tell = (text: string): void => { process.stderr.write(`${text}\n`); };
const flux = typeof controlPlane === 'string' ? controlPlane : await fluxPrograms(process.env, tell);
if (typeof flux === 'string') tell(`Tests with Flux itself are skipped: ${flux}.`);

/** The guide's example, for a cluster of this name. */
async function example(cluster: string): Promise<readonly Json[]> {
  const guide = await readFile(join(packageRoot(), 'charts-ts', 'argocd', 'README.md'), 'utf8');
  const [, yaml = ''] = /^## Flux$[^]*?```yaml\n([^]*?)```/m.exec(guide) ?? [];
  return parseAllDocuments(yaml.replaceAll('north', cluster)).map((document) => document.toJS() as Json);
}

/** Its kustomize-controller is real; what its source-controller does is played: an archive of the repository, and a GitRepository that names it. */
describe.skipIf(typeof flux === 'string')('with Flux', () => {
  let server: ControlPlane;
  let fleet: TestFleet;
  let folder: string;
  let url: string;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof controlPlane === 'string' || typeof flux === 'string') return;
    server = await startControlPlane({ programs: controlPlane, with: ['controllers', 'scheduler', 'nodes'] });
    closes.push(() => server.stop());
    const temporary = await temporaryFolder();
    closes.push(() => temporary.remove());
    folder = temporary.path;
    for (const file of flux.crds) await server.kubectl('apply', '--server-side', '-f', file);
    await server.kubectl('wait', '--for=condition=Established', 'crd', '--all');
    for (const name of ['flux-system', 'dory-system']) await server.send('POST', '/api/v1/namespaces', { metadata: { name } });
    for (const [name, labels] of [['pool-1', { 'workload-type': 'application' }], ['edge-1', { 'node-type': 'edge' }], ['edge-2', { 'node-type': 'edge' }]] as const) await addNode(server, name, labels);
    const database = await testDatabase();
    closes.push(() => database.close());
    await seedSmallFleet(database.pool);
    fleet = await testFleet({ ...database, folder, flags: { apply: 'argocd', 'argocd-repo-url': 'https://git.example.com/fleet.git', 'argocd-notify': 'none', layout: '64' } });
    closes.push(() => fleet.close());
    url = await serveArchive();
    await startController(flux.kustomizeController);
  });
  afterAll(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const archive = (): string => join(folder, 'archive.tar.gz');
  const serveArchive = async (): Promise<string> => {
    const http = createServer((_, response) => { readFile(archive()).then((bytes) => response.end(bytes), () => response.writeHead(404).end()); });
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
    closes.push(() => new Promise((resolve) => { http.closeAllConnections(); http.close(resolve); }));
    return `http://127.0.0.1:${String((http.address() as AddressInfo).port)}/archive.tar.gz`;
  };
  const startController = async (program: string): Promise<void> => {
    const [health] = await freePorts(1);
    const env = [`KUBECONFIG=${server.kubeconfig}`, 'RUNTIME_NAMESPACE=flux-system', `TMPDIR=${folder}`, `HOME=${folder}`];
    const service = startService('/usr/bin/env', [...env, program, '--metrics-addr=0', `--health-addr=127.0.0.1:${String(health)}`], join(folder, 'kustomize-controller.log'));
    closes.push(() => service.stop());
    await until(() => Promise.race([fetch(`http://127.0.0.1:${String(health)}/readyz`).then(({ ok }) => ok, () => false), service.failed]), 'the kustomize-controller is ready');
  };
  /** What its source-controller does with a new commit. */
  const fetched = async (): Promise<void> => {
    await fleet.git('archive', '--format=tar.gz', '-o', archive(), 'main');
    const bytes = await readFile(archive());
    const commit = (await fleet.git('rev-parse', 'main')).trim();
    const now = new Date().toISOString();
    await server.send('PATCH', '/apis/source.toolkit.fluxcd.io/v1/namespaces/flux-system/gitrepositories/dory/status', { status: {
      observedGeneration: 1,
      artifact: { url, path: 'archive.tar.gz', revision: `main@sha1:${commit}`, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, size: bytes.length, lastUpdateTime: now },
      conditions: [{ type: 'Ready', status: 'True', reason: 'Succeeded', message: 'stored', lastTransitionTime: now, observedGeneration: 1 }],
    } });
  };
  const applied = async (name: string): Promise<void> => {
    const commit = (await fleet.git('rev-parse', 'main')).trim();
    await until(async () => ((await server.send('GET', `/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/${name}`))['status'] as { lastAppliedRevision?: string } | undefined)?.lastAppliedRevision?.endsWith(commit) === true, `${name} has applied ${commit}`, 60_000);
  };

  test('its kinds take the guide\'s example, field by field; and it brings commits to the cluster, and takes back what is gone', { timeout: 180_000 }, async () => {
    const objects = (await example('test')).filter(({ kind }) => kind !== 'Receiver');
    expect(objects.map(({ kind }) => kind)).toEqual(['GitRepository', 'Kustomization', 'Kustomization']);
    const file = join(folder, 'flux.yaml');
    const write = (text: string): Promise<void> => writeFile(file, text);
    const text = objects.map((object) => stringify(object)).join('---\n');
    await write(text.replaceAll('prune:', 'prunes:').replaceAll('branch:', 'branches:'));
    await expect(server.kubectl('apply', '--server-side', '--dry-run=server', '--validate=strict', '-f', file)).rejects.toThrow(/not declared in schema|unknown field/);
    await write(text);
    await server.kubectl('apply', '--server-side', '--validate=strict', '-f', file);

    await fleet.once();
    await fetched();
    await podsAre(server, ['c1 1 edge-1 Running', 'c2 1 edge-1 Running', 'c3 1 pool-1 Running']);
    for (const name of ['processors', 'system']) await applied(`dory-test-${name}`);

    await fleet.age(3_600_000, 'edge-1');
    await fleet.beat('edge-2');
    expect((await fleet.once()).publication?.kind).toBe('pushed');
    const begun = performance.now();
    await fetched();
    await podsAre(server, ['c1 2 pool-1 Running', 'c2 2 pool-1 Running', 'c3 1 pool-1 Running']);
    tell(`Flux: ${String(Math.round(performance.now() - begun))} ms from the fetched commit to running pods`);
    await applied('dory-test-processors');

    await fleet.pool.query("update processors set status = 'terminated'");
    await fleet.pool.query("insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'test', 'test', '2100-01-01')");
    await fleet.beat('edge-1', 'edge-2');
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['remove', 'remove', 'remove']);
    await fetched();
    await podsAre(server, []);
    await applied('dory-test-processors');
  });
});

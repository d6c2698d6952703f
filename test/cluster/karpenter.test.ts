import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { join } from 'node:path';
import { writeFile } from 'node:fs/promises';
import { defaultSystemProps, systemFiles } from '../../charts-ts/system/index.ts';
import { whyNoNode } from '../../src/apply/karpenter.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient, type KubeClient } from '../../src/platform/kube/client.ts';
import { startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const id = '00000000-0000-4000-8000-0000000000c3';
const condition = (type: string, status: string, reason: string, message: string) => ({ type, status, reason, message, lastTransitionTime: '2026-01-01T00:00:00Z' });

describe.skipIf(typeof programs === 'string')("Karpenter's real definitions, with the rights of our own ServiceAccount", () => {
  let server: OwnControlPlane;
  let client: KubeClient;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({ programs, with: ['controllers'] });
    client = createKubeClient(createAccess({ kind: 'file', path: server.own }));
  });
  afterAll(async () => {
    client.close();
    await server.stop();
  });

  test('a cluster without Karpenter says nothing; with it, pods that wait are explained', async () => {
    const pod = (selector: Readonly<Record<string, string>>) => ({
      metadata: { generateName: 'camera-', labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id } },
      spec: { nodeSelector: selector, containers: [{ name: 'main', image: 'example.com/camera', resources: { requests: { cpu: '500m' } } }] },
    });
    const why = (processorId: string | null = null): Promise<readonly string[]> => whyNoNode(client, processorId);
    // Of an edge node: none of Karpenter's business.
    await server.send('POST', '/api/v1/namespaces/default/pods', pod({ 'node-type': 'edge' }));
    expect(await why()).toEqual([]);
    await server.send('POST', '/api/v1/namespaces/default/pods', pod({ 'workload-type': 'application' }));
    expect(await why()).toEqual([]);

    for (const name of ['karpenter.sh_nodepools.yaml', 'karpenter.sh_nodeclaims.yaml', 'karpenter.k8s.aws_ec2nodeclasses.yaml']) {
      await server.kubectl('apply', '--server-side', '-f', join(packageRoot(), 'config', 'crds', name));
    }
    await server.kubectl('wait', '--for=condition=Established', 'crd', '--all');
    await until(async () => (await why()).length > 0, 'the pool is missing');
    expect(await why()).toEqual(['no NodePool gives nodes that are labelled workload-type=application']);

    const file = join(server.folder, 'karpenter.yaml');
    await writeFile(file, systemFiles(defaultSystemProps, []).get('karpenter.yaml') ?? '');
    await server.kubectl('apply', '-f', file);
    expect(await why()).toEqual([]);
    const pool = '/apis/karpenter.sh/v1/nodepools/dory-app-pool';
    await server.send('PATCH', `${pool}/status`, { status: { resources: { cpu: '100', memory: '200Gi' }, conditions: [condition('Ready', 'True', 'Ready', '')] } });
    expect(await why(id)).toEqual(['NodePool dory-app-pool: limit cpu 100 reached (100 in use)']);
    expect(await why('00000000-0000-4000-8000-0000000000c1')).toEqual([]);

    await server.send('PATCH', `${pool}/status`, { status: { resources: { cpu: '8' }, conditions: [condition('NodeClassReady', 'False', 'SubnetsReady', 'no subnet matches'), condition('Ready', 'False', 'UnhealthyDependents', 'NodeClassReady=False')] } });
    expect(await why()).toEqual(['NodePool dory-app-pool is not ready: NodeClassReady: SubnetsReady: no subnet matches']);
    await server.send('PATCH', `${pool}/status`, { status: { conditions: [condition('Ready', 'True', 'Ready', '')] } });
    const { spec } = (await server.send('GET', pool)) as { spec: { template: { spec: Record<string, unknown> } } };
    const claim = { apiVersion: 'karpenter.sh/v1', kind: 'NodeClaim', metadata: { name: 'dory-app-pool-x7', labels: { 'karpenter.sh/nodepool': 'dory-app-pool' } }, spec: spec.template.spec };
    await server.send('POST', '/apis/karpenter.sh/v1/nodeclaims', claim);
    await server.send('PATCH', '/apis/karpenter.sh/v1/nodeclaims/dory-app-pool-x7/status', { status: { conditions: [condition('Launched', 'Unknown', 'LaunchFailed', 'no t3.medium in us-east-2a')] } });
    expect(await why()).toEqual(['NodeClaim dory-app-pool-x7 is not launched yet: LaunchFailed: no t3.medium in us-east-2a']);
  });
});

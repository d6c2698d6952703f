import type { EnvVar, ProcessorSpec, Workload } from '../../../src/model/fleet.ts';
import type { Digest, Epoch, NodeId, NodeName, ProcessorId, RevisionId, SensorId, TemplateId } from '../../../src/model/ids.ts';
import type { ManifestInput, Placement } from '../../../src/model/placement.ts';
import { instant } from '../../../src/model/time.ts';
import { digestOf } from '../../../src/platform/digest.ts';
import { summarize } from '../../../src/render/change.ts';
import type { RenderDelta } from '../../../src/render/render.ts';
import type { RenderSettings } from '../../../src/render/settings.ts';

/** One ordinary row, from which tests differ in what they are about. */
export const processorId = '018f2c3e-0000-7000-8000-000000000001' as ProcessorId;

export const settings: RenderSettings = {
  cluster: 'example',
  owner: '11111111-1111-4111-8111-111111111111',
  layout: 'flat',
  imagePullSecret: 'ecr-registry-secret',
  orchestratorUrl: 'http://dory-orchestrator-metrics.dory-system.svc.cluster.local:8080',
  supportFiles: (namespaces) => new Map(namespaces.map((namespace) => [`processor-access-${namespace}.yaml`, `# ${namespace}\n`])),
  argocdFiles: null,
};

export function exampleWorkload(differences: Partial<Workload> = {}): Workload {
  const fields: Omit<Workload, 'digest'> = {
    templateId: '22222222-2222-4222-8222-222222222222' as TemplateId, slug: 'people-counter', name: 'People counter', version: '1.4.0',
    image: `registry.example/people-counter@sha256:${'0a'.repeat(32)}`, imagePullPolicy: 'Always', command: [], args: [], port: 8080,
    resources: { cpuRequest: '500m', memoryRequest: '512Mi', cpuLimit: '2000m', memoryLimit: '2Gi', gpuLimit: null },
    probes: { livenessPath: '/healthz', readinessPath: '/ready', port: 8080, initialDelaySec: 60, periodSec: 10, timeoutSec: 3, failureThreshold: 3 },
    env: [{ name: 'DORY_LOG_LEVEL', value: 'info' }, { name: 'MODEL_TOKEN', secret: { name: 'dory-env-22222222-2222-4222-8222-222222222222', key: 'MODEL_TOKEN' } }],
    shutdownTimeoutSec: 30, stateBackend: 'configmap', architectures: [],
    security: { runAsNonRoot: true, runAsUser: null, runAsGroup: null, fsGroup: null, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: false, addCapabilities: [] },
    ...differences,
  };
  return { digest: digestOf(fields), ...fields };
}

const sensorEnv: readonly EnvVar[] = [
  { name: 'SENSOR_PASSWORD', secret: { name: 'dory-sensor-33333333-3333-4333-8333-333333333333', key: 'SENSOR_PASSWORD' } },
  { name: 'SENSOR_URL', value: 'rtsp://10.0.0.7:554/stream' },
];

export function exampleInput(
  { workload = exampleWorkload(), spec = {}, placement = {} }: { workload?: Workload; spec?: Partial<ProcessorSpec>; placement?: Partial<Placement> } = {},
): ManifestInput {
  const id = spec.id ?? processorId;
  const sensor = { id: '33333333-3333-4333-8333-333333333333' as SensorId, type: 'camera', env: sensorEnv };
  return {
    workload,
    spec: { id, workload: workload.digest, namespace: 'default', home: { kind: 'managed' }, sensor, digest: 'spec' as Digest, ...spec },
    placement: {
      processorId: id, epoch: 3 as Epoch, target: { kind: 'edge', nodeId: '44444444-4444-4444-8444-444444444444' as NodeId, nodeName: 'edge-17' as NodeName },
      phase: 'active', reason: 'first-placement', since: instant(Date.UTC(2026, 10, 21, 4, 5, 6)), specDigest: 'spec' as Digest, revision: 17 as RevisionId,
      ...placement,
    },
  };
}

export function exampleDelta(changed: readonly ManifestInput[], removed: readonly ProcessorId[] = [], revision = 17): RenderDelta {
  const head = { revision: revision as RevisionId, trigger: 'first-placement', decidedAt: instant(Date.UTC(2026, 10, 21)) };
  return { revision: head.revision, changed, removed, change: summarize(head, []) };
}

import type { EnvVar, ProcessorSpec, SensorSpec, Workload } from '../../src/model/fleet.ts';
import type { Epoch, NodeId, NodeName, ProcessorId, RevisionId, SensorId, TemplateId } from '../../src/model/ids.ts';
import { byText } from '../../src/model/ids.ts';
import type { ManifestInput, Placement } from '../../src/model/placement.ts';
import { instant } from '../../src/model/time.ts';
import type { Layout } from '../../src/model/tree.ts';
import { blobName, digestOf, digestText } from '../../src/platform/digest.ts';
import { summarize } from '../../src/render/change.ts';
import { renderWithCdk8s } from '../../src/render/props.ts';
import { emptyRenderState, render, type RenderDelta, type RenderState } from '../../src/render/render.ts';
import type { RenderSettings } from '../../src/render/settings.ts';
import { atLeast, atMost, check, count, median, plain, type BenchRow, type BenchSize } from './measure.ts';

/** As many variables as the fleet had on which 0.7 ms a processor was measured. */
const templateVariables = 14;
const sensorVariables = 6;
const templates = 8;
const perNode = 40;

function settings(layout: Layout): RenderSettings {
  return {
    cluster: 'bench', owner: 'bench', layout,
    imagePullSecret: 'ecr-registry-secret', orchestratorUrl: 'http://dory-orchestrator-metrics.dory-system.svc.cluster.local:8080',
    supportFiles: () => new Map(),
    argocdFiles: null,
  };
}

/** A fleet of `size` processors: 8 templates, 40 processors a node, 20 variables each, one of them a credential. */
export function benchFleet(size: number): readonly ManifestInput[] {
  const workloads = Array.from({ length: templates }, (_, i) => benchWorkload(i));
  return Array.from({ length: size }, (_, i) => benchInput(i, workloads[i % templates]!));
}

function benchWorkload(i: number): Workload {
  const env: EnvVar[] = Array.from({ length: templateVariables }, (_, n) => ({ name: `SETTING_${String(n)}`, value: n % 3 === 0 ? String(n) : `value-${String(n)}/of template ${String(i)}` }));
  const fields: Omit<Workload, 'digest'> = {
    templateId: uuid('template', i) as TemplateId, slug: `vision-${String(i)}`, name: `Vision ${String(i)}`, version: `1.${String(i)}.0`,
    image: `registry.example/vision-${String(i)}@sha256:${'0a'.repeat(32)}`, imagePullPolicy: 'Always', command: ['python', '-m', 'app'], args: [], port: 8080,
    resources: { cpuRequest: '500m', memoryRequest: '512Mi', cpuLimit: '2000m', memoryLimit: '2Gi', gpuLimit: null },
    probes: { livenessPath: '/healthz', readinessPath: '/ready', port: 8080, initialDelaySec: 60, periodSec: 10, timeoutSec: 3, failureThreshold: 3 },
    env: env.sort((a, b) => byText(a.name, b.name)), shutdownTimeoutSec: 30, stateBackend: 'configmap', architectures: ['amd64'],
    security: { runAsNonRoot: true, runAsUser: null, runAsGroup: null, fsGroup: null, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: false, addCapabilities: [] },
  };
  return { digest: digestOf(fields), ...fields };
}

function benchInput(i: number, workload: Workload): ManifestInput {
  const id = uuid('processor', i) as ProcessorId;
  const node = Math.floor(i / perNode);
  const sensor = benchSensor(i);
  const spec: ProcessorSpec = { id, workload: workload.digest, namespace: 'default', home: { kind: 'managed' }, sensor, digest: digestText(id) };
  const placement: Placement = {
    processorId: id, epoch: 1 as Epoch, phase: 'active', reason: 'first-placement', since: instant(1.7e12), specDigest: spec.digest, revision: 1 as RevisionId,
    target: { kind: 'edge', nodeId: uuid('node', node) as NodeId, nodeName: `edge-${String(node)}` as NodeName },
  };
  return { spec, workload, placement };
}

function benchSensor(i: number): SensorSpec {
  const id = uuid('sensor', i) as SensorId;
  const plain = Array.from({ length: sensorVariables - 2 }, (_, n): EnvVar => ({ name: `SENSOR_SETTING_${String(n)}`, value: `${String(i)} of ${String(n)}` }));
  const env: readonly EnvVar[] = [
    { name: 'SENSOR_PASSWORD', secret: { name: `dory-sensor-${id}`, key: 'SENSOR_PASSWORD' } },
    ...plain,
    { name: 'SENSOR_URL', value: `rtsp://10.0.0.${String(i % 250)}:554/stream` },
  ];
  return { id, type: 'camera', env };
}

function uuid(kind: string, i: number): string {
  const hex = digestText(`${kind} ${String(i)}`);
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-');
}

function delta(changed: readonly ManifestInput[], revision: number): RenderDelta {
  const head = { revision: revision as RevisionId, trigger: 'heartbeat-stale', decidedAt: instant(1.7e12) };
  const moves = changed.map(({ spec, placement }) => ({ processorId: spec.id, kind: 'move' as const, reason: placement.reason, before: { target: { kind: 'managed' as const } }, after: placement }));
  return { revision: head.revision, changed, removed: [], change: summarize(head, moves) };
}

/** The first `count` rows as a failover of their nodes leaves them. */
function movedAway(inputs: readonly ManifestInput[], count: number, revision: number): readonly ManifestInput[] {
  return inputs.slice(0, count).map((input) => ({
    ...input,
    placement: { ...input.placement, epoch: revision as Epoch, target: { kind: 'managed' }, reason: 'heartbeat-stale', revision: revision as RevisionId },
  }));
}

function milliseconds(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}

export function benchRender(size: BenchSize): Promise<readonly BenchRow[]> {
  return Promise.resolve([...fullRender(size), ...increments(size)]);
}

/** A first render, and the same manifests printed by cdk8s one by one, in turns: both see the same machine. */
function fullRender({ fleet, rounds }: BenchSize): readonly BenchRow[] {
  const inputs = benchFleet(fleet / 5);
  const its = settings('64');
  const ours: number[] = [];
  const naive: number[] = [];
  for (let i = 0; i < rounds; i += 1) {
    ours.push(milliseconds(() => void render(emptyRenderState(its), delta(inputs, 1))));
    naive.push(milliseconds(() => { for (const input of inputs) renderWithCdk8s(input, its); }));
  }
  checkSample(inputs, its);
  const of = count(inputs.length);
  return [
    atMost(`render ${of} from nothing`, median(ours), 'ms', 500),
    plain('  by cdk8s, one by one', median(naive), 'ms'),
    atLeast('  that many times faster', median(naive) / median(ours), '×', 14),
  ];
}

/** Faster, and still the same bytes. */
function checkSample(inputs: readonly ManifestInput[], its: RenderSettings): void {
  const { files } = render(emptyRenderState(its), delta(inputs, 1));
  const written = new Set(files.map(({ blob }) => blob));
  const sample = inputs.filter((_, i) => i % Math.ceil(inputs.length / 50) === 0);
  check(sample.every((input) => written.has(blobName(Buffer.from(renderWithCdk8s(input, its))))), 'a manifest is not as cdk8s prints it');
}

/** A first render of a large fleet, then increments. */
function increments({ fleet, rounds }: BenchSize): readonly BenchRow[] {
  const inputs = benchFleet(fleet);
  const its = settings('64x16');
  const moves = fleet / 500;
  let state: RenderState = emptyRenderState(its);
  const full = Array.from({ length: rounds }, () => milliseconds(() => ({ state } = render(emptyRenderState(its), delta(inputs, 1)))));
  const next = Array.from({ length: rounds * 4 + 1 }, (_, i) => {
    const changed = movedAway(inputs, moves, i + 2);
    return milliseconds(() => ({ state } = render(state, delta(changed, i + 2))));
  });
  // The first increment prints new shapes; every failover of another template does.
  const [first = Number.NaN, ...others] = next;
  return [
    atMost(`render ${count(fleet)} from nothing`, median(full), 'ms', 2500),
    atMost(`render after ${count(moves)} of ${count(fleet)} moved`, median(others), 'ms', 50),
    plain('  the first time: shapes that nothing had before are printed by cdk8s', first, 'ms'),
  ];
}

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { Workload } from '../../../src/model/fleet.ts';
import type { ManifestInput } from '../../../src/model/placement.ts';
import { renderWithCdk8s } from '../../../src/render/props.ts';
import { exampleInput, exampleWorkload, settings } from './example.ts';

interface Env { name: string; value?: string; valueFrom?: unknown }
interface Manifest {
  metadata: { name: string };
  spec: {
    replicas: number;
    selector: { matchLabels: Record<string, string> };
    volumeClaimTemplates?: unknown;
    template: {
      metadata: { labels: Record<string, string> };
      spec: Record<string, unknown> & { containers: [Record<string, unknown> & { env: Env[]; resources: { limits: Record<string, string> } }] };
    };
  };
}

const read = (input: ManifestInput, its: Partial<typeof settings> = {}): Manifest => parse(renderWithCdk8s(input, { ...settings, ...its })) as Manifest;
const pod = (differences: Partial<Workload>, placement: Partial<ManifestInput['placement']> = {}) =>
  read(exampleInput({ workload: exampleWorkload(differences), placement })).spec.template.spec;
const envOf = (input: ManifestInput, its: Partial<typeof settings> = {}) =>
  new Map(read(input, its).spec.template.spec.containers[0].env.map(({ name, value }) => [name, value]));

test('an edge placement reads like edge-placement.yaml', () => {
  const golden = readFileSync(new URL('edge-placement.yaml', import.meta.url), 'utf8');
  expect(renderWithCdk8s(exampleInput(), settings)).toBe(golden);
});

describe('a placement', () => {
  test('that is being left has no pod, and is otherwise the same object', () => {
    const active = read(exampleInput());
    const stopping = read(exampleInput({ placement: { phase: 'stopping' } }));
    expect(stopping).toEqual({ ...active, spec: { ...active.spec, replicas: 0 } });
    expect(active.spec.replicas).toBe(1);
  });

  test('of the next epoch is another object that selects other pods', () => {
    const [third, fourth] = [read(exampleInput()), read(exampleInput({ placement: { epoch: 4 as never } }))];
    expect(fourth.metadata.name).not.toBe(third.metadata.name);
    expect(fourth.spec.selector.matchLabels).not.toEqual(third.spec.selector.matchLabels);
    expect(third.spec.template.metadata.labels).toMatchObject(third.spec.selector.matchLabels);
  });

  test('keeps its pod when only the revision changes', () => {
    const [one, other] = [17, 18].map((revision) => read(exampleInput({ placement: { revision: revision as never } })));
    expect(other?.spec).toEqual(one?.spec);
  });

  test('on the managed pool goes where Karpenter provisions, and does not outlast the node', () => {
    const managed = pod({}, { target: { kind: 'managed' } });
    expect(managed['nodeSelector']).toEqual({ 'workload-type': 'application' });
    expect(managed['tolerations']).toBeUndefined();
  });

  test('on an edge node stays until Dory moves it', () => {
    const edge = pod({});
    expect(edge['nodeSelector']).toEqual({ 'kubernetes.io/hostname': 'edge-17', 'node-type': 'edge' });
    const endless = (edge['tolerations'] as { key: string; effect: string; tolerationSeconds?: number }[]).filter(({ effect }) => effect === 'NoExecute');
    expect(endless.map(({ key }) => key)).toEqual(['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']);
    expect(endless.every(({ tolerationSeconds }) => tolerationSeconds === undefined)).toBe(true);
  });
});

describe('the environment', () => {
  test('says who the pod is, whatever template or sensor say', () => {
    const impostor = [{ name: 'DORY_PLACEMENT_EPOCH', value: '99' }, { name: 'PROCESSOR_ID', value: 'other' }];
    const env = envOf(exampleInput({ workload: exampleWorkload({ env: impostor }), spec: { sensor: { id: 's' as never, type: '', env: impostor } } }));
    expect(env.get('PROCESSOR_ID')).toBe('018f2c3e-0000-7000-8000-000000000001');
    expect(env.get('DORY_PLACEMENT_EPOCH')).toBe('3');
  });

  test("takes the sensor's setting before the template's", () => {
    const workload = exampleWorkload({ env: [{ name: 'SENSOR_URL', value: 'template' }] });
    expect(envOf(exampleInput({ workload })).get('SENSOR_URL')).toBe('rtsp://10.0.0.7:554/stream');
    expect(envOf(exampleInput({ workload, spec: { sensor: null } })).get('SENSOR_URL')).toBe('template');
  });

  test('names the orchestrator, unless the template does', () => {
    const workload = exampleWorkload({ env: [{ name: 'DORY_ORCHESTRATOR_URL', value: 'http://mine' }] });
    expect(envOf(exampleInput({ workload })).get('DORY_ORCHESTRATOR_URL')).toBe('http://mine');
    expect(envOf(exampleInput()).get('DORY_ORCHESTRATOR_URL')).toBe(settings.orchestratorUrl);
    expect(envOf(exampleInput(), { orchestratorUrl: null }).has('DORY_ORCHESTRATOR_URL')).toBe(false);
  });

  test.each([['a$b$', 'a$b$'], ['$(HOME)', '$$(HOME)'], ['$$', '$$$'], ['$$(A)', '$$$$(A)']])('passes the setting %j of a sensor on as it is', (value, printed) => {
    const sensor = { id: 's' as never, type: '', env: [{ name: 'SENSOR_X', value }] };
    expect(envOf(exampleInput({ spec: { sensor } })).get('SENSOR_X')).toBe(printed);
  });

  test("leaves a template's references to Kubernetes", () => {
    expect(envOf(exampleInput({ workload: exampleWorkload({ env: [{ name: 'X', value: '$(NODE_NAME)-$$' }] }) })).get('X')).toBe('$(NODE_NAME)-$$');
  });
});

describe('a template', () => {
  test('that asks for a GPU gets one, and may run where GPUs are', () => {
    const { containers: [container], tolerations } = pod({ resources: { ...exampleWorkload().resources, gpuLimit: '2' } }, { target: { kind: 'managed' } });
    expect(container.resources.limits['nvidia.com/gpu']).toBe('2');
    expect(tolerations).toEqual([{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }]);
  });

  test('is given its time to stop, and a little more', () => {
    expect(pod({ shutdownTimeoutSec: 120 })['terminationGracePeriodSeconds']).toBe(125);
  });

  test('that keeps its state on a volume has one of its own, where it wants it', () => {
    const workload = exampleWorkload({ stateBackend: 'pvc', env: [{ name: 'DORY_STATE_PVC_MOUNT', value: '/state' }] });
    const { spec } = read(exampleInput({ workload }));
    expect(spec.volumeClaimTemplates).toHaveLength(1);
    expect(spec.template.spec.containers[0]['volumeMounts']).toEqual([{ name: 'state', mountPath: '/state' }]);
    expect(pod({ stateBackend: 'pvc' }).containers[0]['volumeMounts']).toEqual([{ name: 'state', mountPath: '/data' }]);
    expect(read(exampleInput()).spec.volumeClaimTemplates).toBeUndefined();
  });

  test('with a read-only root file system can still write to /tmp, once', () => {
    const security = { ...exampleWorkload().security, readOnlyRootFilesystem: true };
    expect(pod({ security }).containers[0]['volumeMounts']).toEqual([{ name: 'tmp', mountPath: '/tmp' }]);
    const onTmp = { security, stateBackend: 'pvc', env: [{ name: 'DORY_STATE_PVC_MOUNT', value: '/tmp' }] } as const;
    expect(pod(onTmp).containers[0]['volumeMounts']).toEqual([{ name: 'state', mountPath: '/tmp' }]);
    expect(pod(onTmp)['volumes']).toBeUndefined();
  });

  test('relaxes its security context field by field', () => {
    const { securityContext, containers: [container] } = pod({
      security: { runAsNonRoot: false, runAsUser: 0, runAsGroup: 1, fsGroup: 2, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true, addCapabilities: ['SYS_ADMIN'] },
    });
    expect(securityContext).toEqual({ runAsNonRoot: false, runAsUser: 0, runAsGroup: 1, fsGroup: 2, seccompProfile: { type: 'RuntimeDefault' } });
    // Kubernetes refuses this capability without it.
    expect(container['securityContext']).toEqual({ allowPrivilegeEscalation: true, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'], add: ['SYS_ADMIN'] } });
  });

  test('names its command, arguments and pull policy', () => {
    expect(pod({ command: ['python'], args: ['-m', 'x'], imagePullPolicy: 'Never' }).containers[0]).toMatchObject({ command: ['python'], args: ['-m', 'x'], imagePullPolicy: 'Never' });
    const plain = pod({}).containers[0];
    expect('command' in plain || 'args' in plain).toBe(false);
  });

  test('needs no pull secret where there is none', () => {
    expect(read(exampleInput(), { imagePullSecret: null }).spec.template.spec['imagePullSecrets']).toBeUndefined();
  });
});

test('the longest name still leaves room for what Kubernetes appends', () => {
  const workload = exampleWorkload({ slug: `${'a'.repeat(29)}-${'b'.repeat(33)}` });
  const { name } = read(exampleInput({ workload, placement: { epoch: 9_999_999 as never } })).metadata;
  expect(name).toMatch(/^a{29}-[0-9a-f]{12}-e9999999$/);
  expect(name.length).toBeLessThanOrEqual(52);
});

import { describe, expect, test } from 'vitest';
import type { EnvVar, Workload } from '../../../src/model/fleet.ts';
import { Failure } from '../../../src/model/failure.ts';
import type { ManifestInput } from '../../../src/model/placement.ts';
import { emptyRenderState, render } from '../../../src/render/render.ts';
import { exampleDelta, exampleInput, exampleWorkload, processorId, settings } from './example.ts';

function refusal(input: ManifestInput): Failure | null {
  try {
    render(emptyRenderState(settings), exampleDelta([input]));
    return null;
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
}

const { resources, probes, security } = exampleWorkload();
const variable = (value: string): readonly EnvVar[] => [{ name: 'X', value }];
const token = `ghp_${'a1B2'.repeat(9)}`;

const templates: readonly (readonly [string, Partial<Workload>])[] = [
  ['slug', { slug: 'Not_A_Label' }],
  ['image', { image: 'two words' }],
  ['version', { version: '\u2028' }],
  ['container.port', { port: 0 }],
  ['health_probes.port', { probes: { ...probes, port: 70_000 } }],
  ['health_probes.liveness_path', { probes: { ...probes, livenessPath: 'healthz' } }],
  ['health_probes', { probes: { ...probes, periodSec: 0 } }],
  ['DORY_SHUTDOWN_TIMEOUT_SEC', { shutdownTimeoutSec: -1 }],
  ['DORY_STATE_PVC_MOUNT', { stateBackend: 'pvc', env: [{ name: 'DORY_STATE_PVC_MOUNT', value: 'data' }] }],
  ['resources', { resources: { ...resources, cpuRequest: '5OOm' } }],
  ['resources.cpu_request', { resources: { ...resources, cpuRequest: '3' } }],
  ['resources.memory_request', { resources: { ...resources, memoryRequest: '3Gi' } }],
  ['resources.gpu_limit', { resources: { ...resources, gpuLimit: '0.5' } }],
  ['security_context', { security: { ...security, runAsUser: -1 } }],
  ['security_context.add_capabilities', { security: { ...security, addCapabilities: ['net admin'] } }],
  ['container.command or args', { args: ['--url=amqp://user:hunter2@host'] }],
  ['env_vars: name of a variable', { env: [{ name: 'A B', value: '' }] }],
  ['env_vars.X', { env: variable('a\u0085b') }],
  ['env_vars.X', { env: variable('x'.repeat(131_073)) }],
  ['env_vars.X', { env: [{ name: 'X', secret: { name: 'Not A Name', key: 'X' } }] }],
  ['env_vars.X (comes twice)', { env: [...variable('1'), ...variable('2')] }],
];

describe('a row that should have been quarantined is refused by name and field', () => {
  test.each(templates)('%s of its template', (field, differences) => {
    const failure = refusal(exampleInput({ workload: exampleWorkload(differences) }));
    expect(failure?.code).toBe('render-invalid');
    expect(failure?.message).toContain(`${processorId}: ${field} `);
  });

  test.each<readonly [string, ManifestInput]>([
    ['k8s_namespace', exampleInput({ spec: { namespace: 'No' } })],
    ['placement.processorId', exampleInput({ placement: { processorId: 'other' as never } })],
    ['node', exampleInput({ placement: { target: { kind: 'edge', nodeId: 'n' as never, nodeName: 'a b' as never } } })],
    ['epoch', exampleInput({ placement: { epoch: 0 as never } })],
    ['metadata.name', exampleInput({ workload: exampleWorkload({ slug: 'a'.repeat(40) }), placement: { epoch: 10_000_000 as never } })],
    ['revision', exampleInput({ placement: { revision: 0 as never } })],
    ['sensor.X', exampleInput({ spec: { sensor: { id: 's' as never, type: '', env: variable('\ufeff') } } })],
  ])('%s of its own', (field, input) => {
    expect(refusal(input)?.message).toContain(`${processorId}: ${field} `);
  });

  test('and an ordinary one is not', () => {
    expect(refusal(exampleInput())).toBeNull();
  });
});

test.each([
  '-----BEGIN RSA PRIVATE KEY-----', 'postgres://dory:hunter2@db/x', 'AKIAABCDEFGHIJKLMNOP', token, `eyJhbGciOiJI.eyJzdWIiOiIx.${'x'.repeat(8)}`,
])('no credential passes, and none is shown: %s', (secret) => {
  for (const input of [
    exampleInput({ workload: exampleWorkload({ env: variable(secret) }) }),
    exampleInput({ workload: exampleWorkload({ args: [secret] }) }),
    exampleInput({ spec: { sensor: { id: 's' as never, type: '', env: variable(`x ${secret}`) } } }),
  ]) {
    const failure = refusal(input);
    expect(failure?.code).toBe('render-invalid');
    expect(`${String(failure?.message)} ${String(failure?.mend)}`).not.toContain(secret);
  }
});

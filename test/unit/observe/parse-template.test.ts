import { describe, expect, test } from 'vitest';
import type { Workload } from '../../../src/model/fleet.ts';
import { parseTemplate } from '../../../src/observe/parse-template.ts';
import type { VersionRow } from '../../../src/observe/rows.ts';
import { digestOf } from '../../../src/platform/digest.ts';

const template = { hash: '', id: '00000000-0000-4000-8000-000000000001', slug: 'counter', name: 'Counter' };
const sha = `sha256:${'ab'.repeat(32)}`;

function version(runtimeConfig: unknown, fields: Partial<VersionRow> = {}): VersionRow {
  return { hash: '', templateId: template.id, imageUri: 'registry.example.com:5000/a/counter:1.2', digest: null, version: '1.2', runtimeConfig: runtimeConfig === undefined ? null : JSON.stringify(runtimeConfig), buildConfig: null, ...fields };
}

function workloadOf(row: VersionRow): Workload {
  const result = parseTemplate(template, [row]);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.workload;
}

/** `code field` of each problem. */
function problemsOf(...rows: VersionRow[]): readonly string[] {
  const result = parseTemplate(template, rows);
  return result.ok ? [] : result.problems.map(({ code, field }) => `${code} ${field}`);
}

test('what is absent has the defaults of the running system', () => {
  const { digest, ...fields } = workloadOf(version(undefined));
  expect(fields).toEqual({
    templateId: template.id, slug: 'counter', name: 'Counter', version: '1.2', image: 'registry.example.com:5000/a/counter:1.2',
    imagePullPolicy: 'Always', command: [], args: [], port: 8080,
    resources: { cpuRequest: '500m', memoryRequest: '512Mi', cpuLimit: '2000m', memoryLimit: '2Gi', gpuLimit: null },
    probes: { livenessPath: '/healthz', readinessPath: '/ready', port: 8080, initialDelaySec: 60, periodSec: 10, timeoutSec: 3, failureThreshold: 3 },
    env: [], shutdownTimeoutSec: 30, stateBackend: 'configmap', architectures: [],
    security: { runAsNonRoot: true, runAsUser: null, runAsGroup: null, fsGroup: null, allowPrivilegeEscalation: false, privileged: false, readOnlyRootFilesystem: true, addCapabilities: [] },
  });
  expect(digest).toBe(digestOf(fields));
});

test('every field of the template arrives', () => {
  const workload = workloadOf(version({
    resources: { cpu_request: '250m', memory_request: '1Gi', cpu_limit: 2, memory_limit: '4Gi', gpu_required: true, gpu_limit: 2 },
    container: {
      port: 9000, command: ['python'], args: ['-m', 'app'], image_pull_policy: 'IfNotPresent',
      security_context: { run_as_non_root: false, run_as_user: 0, run_as_group: 7, fs_group: 8, allow_privilege_escalation: true, privileged: true, read_only_root_filesystem: false, add_capabilities: ['SYS_PTRACE', 'NET_ADMIN'] },
    },
    health_probes: { initial_delay_sec: 0, period_sec: 5, timeout_sec: 2, failure_threshold: 4 },
    env_vars: { UNKNOWN: 'passes', DORY_HEALTH_PORT: '9100', DORY_HEALTH_PATH: '/h', DORY_READY_PATH: '/r', DORY_STATE_BACKEND: 'pvc', DORY_SHUTDOWN_TIMEOUT_SEC: '45', API_TOKEN: 'abc' },
    architectures: ['arm64', 'amd64'],
    something_new: { is: 'ignored' },
  }));
  expect(workload).toMatchObject({
    imagePullPolicy: 'IfNotPresent', command: ['python'], args: ['-m', 'app'], port: 9000,
    resources: { cpuRequest: '250m', memoryRequest: '1Gi', cpuLimit: '2', memoryLimit: '4Gi', gpuLimit: '2' },
    probes: { livenessPath: '/h', readinessPath: '/r', port: 9100, initialDelaySec: 0, periodSec: 5, timeoutSec: 2, failureThreshold: 4 },
    shutdownTimeoutSec: 45, stateBackend: 'pvc', architectures: ['amd64', 'arm64'],
    security: { runAsNonRoot: false, runAsUser: 0, runAsGroup: 7, fsGroup: 8, allowPrivilegeEscalation: true, privileged: true, readOnlyRootFilesystem: false, addCapabilities: ['NET_ADMIN', 'SYS_PTRACE'] },
  });
  expect(workload.env.map(({ name }) => name)).toEqual(['API_TOKEN', 'DORY_HEALTH_PATH', 'DORY_HEALTH_PORT', 'DORY_READY_PATH', 'DORY_SHUTDOWN_TIMEOUT_SEC', 'DORY_STATE_BACKEND', 'UNKNOWN']);
  expect(workload.env[0]).toEqual({ name: 'API_TOKEN', secret: { name: `dory-env-${template.id}`, key: 'API_TOKEN' } });
});

test.each([
  ['a/b:1', null, 'a/b:1'],
  ['a/b:1', sha, `a/b@${sha}`],
  ['a/b', sha, `a/b@${sha}`],
  ['host:5000/b', sha, `host:5000/b@${sha}`],
  [`a/b:1@sha256:${'cd'.repeat(32)}`, sha, `a/b@${sha}`],
  ['a/b:1', ' ', 'a/b:1'],
])('image %s with digest %s is %s', (imageUri, digest, image) => {
  expect(workloadOf(version({}, { imageUri, digest })).image).toBe(image);
});

test.each([
  [{ platform: 'linux/arm64/v8' }, ['arm64']],
  [{ platforms: ['linux/arm64', 'linux/amd64'] }, ['amd64', 'arm64']],
  [{ platform: 'linux/amd64,linux/arm64' }, ['amd64', 'arm64']],
  [{ platform: 7 }, []],
  [{ platform: 'toaster' }, []],
  ['broken', []],
])('built for %j runs on %j', (buildConfig, architectures) => {
  expect(workloadOf(version({}, { buildConfig: JSON.stringify(buildConfig) })).architectures).toEqual(architectures);
});

test.each([
  [{ gpu_required: true }, '1'],
  [{ gpu_limit: '2' }, '2'],
  [{ gpu_limit: 0 }, null],
  [{ gpu_required: false, gpu_limit: '2' }, null],
])('resources %j ask for %s GPUs', (resources, gpuLimit) => {
  expect(workloadOf(version({ resources })).resources.gpuLimit).toBe(gpuLimit);
});

test('a template that was encoded twice is read', () => {
  expect(workloadOf(version(JSON.stringify({ container: { port: 9 } }))).port).toBe(9);
});

describe('problems', () => {
  const at = (path: string): string => `runtime_config_template.${path}`;
  test.each([
    [{ resources: { cpu_request: '5OOm' } }, ['invalid-quantity ' + at('resources.cpu_request')]],
    [{ resources: { memory_limit: '-1Gi' } }, ['invalid-quantity ' + at('resources.memory_limit')]],
    [{ resources: { cpu_limit: '100m' } }, ['invalid-quantity ' + at('resources.cpu_request')]],
    [{ resources: { gpu_required: true, gpu_limit: '1.5' } }, ['invalid-quantity ' + at('resources.gpu_limit')]],
    [{ resources: { gpu_required: 'yes' } }, ['invalid-value ' + at('resources.gpu_required')]],
    [{ resources: [] }, ['invalid-value ' + at('resources')]],
    [{ container: { port: 0 } }, ['invalid-value ' + at('container.port')]],
    [{ container: { port: '8080' } }, ['invalid-value ' + at('container.port')]],
    [{ container: { command: 'python' } }, ['invalid-value ' + at('container.command')]],
    [{ container: { args: ['a', 1] } }, ['invalid-value ' + at('container.args')]],
    [{ container: { args: ['--password=hunter2'] } }, ['invalid-value ' + at('container.args[0]')]],
    [{ container: { args: ['--password', 'hunter2'] } }, ['invalid-value ' + at('container.args[1]')]],
    [{ container: { args: ['--password', '$(PASSWORD)', '--token-file', '/t'] } }, []],
    [{ container: { image_pull_policy: 'always' } }, ['invalid-value ' + at('container.image_pull_policy')]],
    [{ container: { security_context: { run_as_user: 0 } } }, ['invalid-value ' + at('container.security_context.run_as_user')]],
    [{ container: { security_context: { privileged: true } } }, ['invalid-value ' + at('container.security_context.privileged')]],
    [{ container: { security_context: { add_capabilities: ['net-admin'] } } }, ['invalid-value ' + at('container.security_context.add_capabilities')]],
    [{ health_probes: { period_sec: 0 } }, ['invalid-value ' + at('health_probes.period_sec')]],
    [{ health_probes: { timeout_sec: 1.5 } }, ['invalid-value ' + at('health_probes.timeout_sec')]],
    [{ env_vars: { A: 1, B: true, C: null, D: {} } }, ['A', 'B', 'C', 'D'].map((name) => 'invalid-value ' + at(`env_vars.${name}`))],
    [{ env_vars: { '1A': 'x', 'a b': 'x' } }, ['invalid-name ' + at('env_vars["1A"]'), 'invalid-name ' + at('env_vars["a b"]')]],
    [{ env_vars: { A: 'x\0y' } }, ['invalid-value ' + at('env_vars.A')]],
    [{ env_vars: { DORY_HEALTH_PORT: '70000' } }, ['invalid-value ' + at('env_vars.DORY_HEALTH_PORT')]],
    [{ env_vars: { DORY_HEALTH_PATH: 'healthz' } }, ['invalid-value ' + at('env_vars.DORY_HEALTH_PATH')]],
    [{ env_vars: { DORY_READY_PATH: '/ready?token=abc' } }, ['invalid-value ' + at('env_vars.DORY_READY_PATH')]],
    [{ env_vars: { DORY_STATE_BACKEND: 'redis' } }, ['invalid-value ' + at('env_vars.DORY_STATE_BACKEND')]],
    [{ env_vars: { DORY_STATE_BACKEND: 'pvc', DORY_STATE_PVC_MOUNT: 'data' } }, ['invalid-value ' + at('env_vars.DORY_STATE_PVC_MOUNT')]],
    [{ env_vars: { DORY_SHUTDOWN_TIMEOUT_SEC: '0' } }, ['invalid-value ' + at('env_vars.DORY_SHUTDOWN_TIMEOUT_SEC')]],
    [{ architectures: ['x86_64'] }, ['invalid-value ' + at('architectures')]],
    [['a'], ['invalid-value runtime_config_template']],
    ['{"a":', ['invalid-json runtime_config_template']],
  ])('%j', (config, expected) => {
    expect(problemsOf(version(config))).toEqual(expected);
  });

  test('all of them are told at once', () => {
    const row = version({ resources: { cpu_request: '5OOm' }, container: { port: 0 }, env_vars: { A: 1 } }, { imageUri: 'not an image', digest: 'sha256:xyz' });
    expect(problemsOf(row)).toHaveLength(5);
  });

  test('a version must be active, and only one', () => {
    expect(problemsOf()).toEqual(['missing-version processor_template_versions.is_active']);
    expect(problemsOf(version({}), version({}))).toEqual(['ambiguous-version processor_template_versions.is_active']);
  });

  test.each(['Upper', 'with space', '', '-a', 'a'.repeat(64), null])('slug %j is no DNS label', (slug) => {
    const result = parseTemplate({ ...template, slug }, [version({})]);
    expect(result.ok ? [] : result.problems.map(({ code }) => code)).toEqual(['invalid-name']);
  });

  test('a value is shown, unless it could be a credential', () => {
    const value = (config: unknown, fields: Partial<VersionRow> = {}): string | null | undefined => {
      const result = parseTemplate(template, [version(config, fields)]);
      return result.ok ? undefined : result.problems[0]?.value;
    };
    expect(value({ resources: { cpu_request: '5OOm' } })).toBe('5OOm');
    expect(value({ env_vars: { RATE: 5 } })).toBe('5');
    expect(value({ env_vars: { PIN_CODE: 1234 } })).toBeNull();
    expect(value({ env_vars: { DORY_READY_PATH: '/ready?token=abc' } })).toBeNull();
    expect(value({}, { imageUri: 'https://user:hunter2@example.com/image' })).toBeNull();
  });

  test('a key that could be a credential is told by its place', () => {
    expect(problemsOf(version({ env_vars: { A: 'x', 'password=hunter2': 'x' } }))).toEqual(['invalid-name runtime_config_template.env_vars[1]']);
  });
});

import fc from 'fast-check';
import type { EnvVar, ProcessorSpec, SecurityContext, SensorSpec, Workload } from '../../src/model/fleet.ts';
import type { Epoch, NodeId, NodeName, ProcessorId, RevisionId, SensorId, TemplateId } from '../../src/model/ids.ts';
import { byText } from '../../src/model/ids.ts';
import { isDnsLabel, isEnvName, isManifestText, isNodeName } from '../../src/model/kubernetes-names.ts';
import type { ManifestInput, Placement, Target } from '../../src/model/placement.ts';
import { reasonCodes } from '../../src/model/reasons.ts';
import { instant } from '../../src/model/time.ts';
import { digestOf } from '../../src/platform/digest.ts';

/** Rows as `observe` lets them through, with the texts in them as hostile as those rules allow. */

/** What a YAML printer can get wrong: words and numbers of YAML 1.1, indicators, line breaks, indents, long lines. */
const awkward = [
  '', ' ', '\n', 'y', 'No', 'on', 'TRUE', 'null', '~', '<<', '=', '1', '007', '0x1F', '1e3', '1_000', '.5', '-0', '+1', '190:20:30', '.nan', '-.inf',
  '2001-12-14', '2001-12-14t21:59:43.10-05:00', '- a', '-', '?', '? a', ': a', 'a: b', 'a:', 'a #b', '#a', '&a', '*a', '!a', '|', '>', '%a', '@a', '`a',
  '---', '--- a', '...', '{a}', '[a]', 'a, b', '"', "'", '"\'', '\\', '\\n', 'a\nb', '\na', 'a\n', 'a\n\n', '  a\nb', 'a \nb', '\ta', 'a\t', '\n  a\n b\n\n',
  'a'.repeat(200), 'word '.repeat(60), 'line\n'.repeat(30), '\r', 'a\r\nb', '\u0001', '\u001b[0m', 'ä', '日本語', '🚀', '$(POD_NAME)', '$$', '$$(A)', '$',
  'dory-mark', 'dory-mark-0-name', ' dory-mark-value', 'http://host:8080/a?b=c#d', '${x}', '{{x}}', 'a'.repeat(2000), '%YAML', 'a\n---\nb', '\u00a0',
];

export function manifestText(): fc.Arbitrary<string> {
  return fc
    .oneof(fc.constantFrom(...awkward), fc.string(), fc.string({ unit: 'binary' }), fc.stringMatching(/^[ \n\t:#'"a-]{0,20}$/))
    // A password in a URL: `observe` makes a reference of it.
    .filter((text) => isManifestText(text) && !/:\/\/.*:.*@/.test(text));
}

function dnsLabel(): fc.Arbitrary<string> {
  return fc.oneof(fc.constantFrom('y', 'no', 'on', 'null', 'true', '1', '0', '007', '1e3', '0x1', '2001-12-14', 'default', 'a'.repeat(63), `${'b'.repeat(29)}-c`), fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/)).filter(isDnsLabel);
}

function envName(): fc.Arbitrary<string> {
  return fc
    .oneof(fc.constantFrom('PROCESSOR_ID', 'NODE_NAME', 'DORY_ORCHESTRATOR_URL', 'y', 'NO', 'null', '_1', '-a', '.a', 'A', 'B', 'C'), fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,12}$/))
    .filter((name) => isEnvName(name) && isManifestText(name));
}

function envVars(secretName: string, maxLength: number): fc.Arbitrary<readonly EnvVar[]> {
  const variable = fc.oneof(
    { weight: 4, arbitrary: fc.record({ name: envName(), value: manifestText() }) },
    { weight: 1, arbitrary: envName().map((name) => ({ name, secret: { name: secretName, key: name } })) },
  );
  return fc
    .uniqueArray(variable, { selector: ({ name }) => name, maxLength })
    .map((env) => env.sort((a, b) => byText(a.name, b.name)));
}

function security(): fc.Arbitrary<SecurityContext> {
  const id = fc.option(fc.nat(70_000));
  return fc.record({
    runAsNonRoot: fc.boolean(), runAsUser: id, runAsGroup: id, fsGroup: id,
    allowPrivilegeEscalation: fc.boolean(), privileged: fc.boolean(), readOnlyRootFilesystem: fc.boolean(),
    addCapabilities: fc.uniqueArray(fc.constantFrom('NET_ADMIN', 'SYS_ADMIN', 'SYS_TIME')),
  });
}

export function workload(): fc.Arbitrary<Workload> {
  const digest = fc.constantFrom('', ':latest', ':1.2', `@sha256:${'0a'.repeat(32)}`);
  const fields = fc.record({
    templateId: fc.uuid().map((id) => id as TemplateId),
    slug: dnsLabel(),
    name: fc.string(),
    version: manifestText().filter((text) => text.length <= 255),
    image: fc.tuple(fc.constantFrom('nginx', 'registry.example/team/app', 'localhost:5000/a_b'), digest).map((parts) => parts.join('')),
    imagePullPolicy: fc.constantFrom('Always' as const, 'IfNotPresent' as const, 'Never' as const),
    command: fc.array(manifestText(), { maxLength: 3 }),
    args: fc.array(manifestText(), { maxLength: 3 }),
    port: fc.integer({ min: 1, max: 65_535 }),
    resources: fc.record({
      cpuRequest: fc.constantFrom('500m', '0', '1'), memoryRequest: fc.constantFrom('512Mi', '1e3', '12345'),
      cpuLimit: fc.constantFrom('2000m', '2', '1.5'), memoryLimit: fc.constantFrom('2Gi', '1e9'), gpuLimit: fc.option(fc.constantFrom('1', '2')),
    }),
    probes: fc.record({
      livenessPath: fc.constantFrom('/healthz', '/'), readinessPath: fc.constantFrom('/ready', '/r: #y'), port: fc.integer({ min: 1, max: 65_535 }),
      initialDelaySec: fc.nat(100), periodSec: fc.integer({ min: 1, max: 60 }), timeoutSec: fc.integer({ min: 1, max: 60 }), failureThreshold: fc.integer({ min: 1, max: 9 }),
    }),
    env: envVars('dory-env-template', 8),
    shutdownTimeoutSec: fc.nat(600),
    stateBackend: fc.constantFrom('configmap' as const, 's3' as const, 'local' as const, 'pvc' as const),
    architectures: fc.subarray(['amd64', 'arm64']),
    security: security(),
  });
  return fields.map((each) => ({ digest: digestOf(each), ...each }));
}

function sensor(): fc.Arbitrary<SensorSpec | null> {
  const specs = fc.uuid().chain((id) =>
    fc.record({ id: fc.constant(id as SensorId), type: manifestText(), env: envVars(`dory-sensor-${id}`, 6) }));
  return fc.option(specs);
}

function target(): fc.Arbitrary<Target> {
  const nodeName = fc.oneof(dnsLabel(), fc.constantFrom('edge-17', 'a.b.c', '1.5', '1e3.2', '10.0.0.1')).filter(isNodeName);
  return fc.oneof(
    fc.record({ kind: fc.constant('edge' as const), nodeId: fc.uuid().map((id) => id as NodeId), nodeName: nodeName.map((name) => name as NodeName) }),
    fc.constant({ kind: 'managed' as const }),
  );
}

/** One row, of one of `workloads`. */
export function manifestInput(workloads: readonly Workload[]): fc.Arbitrary<ManifestInput> {
  return fc
    .record({
      id: fc.uuid().map((id) => id as ProcessorId), workload: fc.constantFrom(...workloads), namespace: dnsLabel(), sensor: sensor(), target: target(),
      epoch: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(9_999_999)), phase: fc.constantFrom('active' as const, 'stopping' as const),
      versions: fc.constantFrom({}, {}, { secretVersions: 'env=2' }, { secretVersions: 'env=12,sensor=3' }),
      reason: fc.constantFrom(...reasonCodes), since: fc.integer({ min: 0, max: 4e12 }), revision: fc.integer({ min: 1, max: 1e9 }),
    })
    .map(({ id, workload: each, namespace, sensor: settings, target: where, epoch, phase, versions, reason, since, revision }) => {
      const fields = { id, workload: each.digest, namespace, sensor: settings, ...versions };
      const spec: ProcessorSpec = { ...fields, home: { kind: 'managed' }, digest: digestOf(fields) };
      const placement: Placement = {
        processorId: id, epoch: epoch as Epoch, target: where, phase, reason, since: instant(since), specDigest: spec.digest, revision: revision as RevisionId,
      };
      return { spec, workload: each, placement };
    });
}

/** Up to `maxLength` rows of up to three templates, no processor twice. */
export function fleet(maxLength = 12): fc.Arbitrary<readonly ManifestInput[]> {
  return fc
    .array(workload(), { minLength: 1, maxLength: 3 })
    .chain((workloads) => fc.uniqueArray(manifestInput(workloads), { selector: ({ spec }) => spec.id, maxLength }));
}

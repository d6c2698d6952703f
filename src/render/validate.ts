import { stateMount } from '../../charts-ts/processor/volumes.ts';
import { Failure } from '../model/failure.ts';
import type { EnvVar, Workload } from '../model/fleet.ts';
import type { ManifestInput } from '../model/placement.ts';
import {
  isCapability, isDataKey, isDeviceCount, isDnsLabel, isDnsSubdomain, isEnvName, isEnvValue, isImageReference, isManifestText, isNodeName, isVersion,
  isPort, isResourceQuantity, parseQuantity,
} from '../model/kubernetes-names.ts';
import { looksSecret } from './secrets.ts';

/**
 * The last check before a tree leaves `render`. `observe` has quarantined every row that fails one of these rules, so that
 * here a failure is a bug of ours, and stops the render rather than a cluster. Values that could be secret are not shown.
 */

/** A field as a person finds it, whether its value is good, and the value if it may be shown. */
type Rule = readonly [field: string, good: boolean, shown?: string];

/** The longest name whose pods' revision label (a hash of 10 behind it) is still a label: 63 - 11. */
const longestName = 52;

/** What a row itself brings to its manifest. Cheap: it runs for each processor that changed. */
export function checkPlacement({ spec, workload, placement }: ManifestInput, name: string): void {
  const { target, epoch, revision } = placement;
  check(spec.id, [
    ['placement.processorId', placement.processorId === spec.id, placement.processorId],
    ['slug', isDnsLabel(workload.slug), workload.slug],
    ['metadata.name', name.length <= longestName && isDnsLabel(name), name],
    ['k8s_namespace', isDnsLabel(spec.namespace), spec.namespace],
    ['epoch', Number.isSafeInteger(epoch) && epoch > 0, String(epoch)],
    ['revision', Number.isSafeInteger(revision) && revision > 0, String(revision)],
    ...(target.kind === 'edge' ? [['node', isNodeName(target.nodeName), target.nodeName] as const] : []),
  ]);
  if (spec.sensor !== null) checkEnv(spec.id, 'sensor', spec.sensor.env);
}

/** What a template brings to the manifests of its processors: once for each shape. `id` is one of them. */
export function checkWorkload(id: string, workload: Workload): void {
  const { probes, port, image, version } = workload;
  check(id, [
    ['image', isImageReference(image), image],
    ['version', isVersion(version), version],
    ['container.port', isPort(port), String(port)],
    ['health_probes.port', isPort(probes.port), String(probes.port)],
    ['health_probes.liveness_path', isProbePath(probes.livenessPath)],
    ['health_probes.readiness_path', isProbePath(probes.readinessPath)],
    ['health_probes', isPeriod(probes.periodSec, 1) && isPeriod(probes.timeoutSec, 1) && isPeriod(probes.initialDelaySec, 0) && isPeriod(probes.failureThreshold, 1)],
    ['DORY_SHUTDOWN_TIMEOUT_SEC', isPeriod(workload.shutdownTimeoutSec, 0), String(workload.shutdownTimeoutSec)],
    ['DORY_STATE_PVC_MOUNT', isMountPath(stateMount(workload))],
    ...resourceRules(workload),
    ...securityRules(workload),
    ...[...workload.command, ...workload.args].map((word): Rule => ['container.command or args', isManifestText(word) && !looksSecret(word)]),
  ]);
  checkEnv(id, 'env_vars', workload.env);
}

function resourceRules({ resources: { cpuRequest, cpuLimit, memoryRequest, memoryLimit, gpuLimit } }: Workload): readonly Rule[] {
  return [
    ...[cpuRequest, cpuLimit, memoryRequest, memoryLimit].map((text): Rule => ['resources', isResourceQuantity(text), text]),
    ['resources.cpu_request', fits(cpuRequest, cpuLimit), cpuRequest],
    ['resources.memory_request', fits(memoryRequest, memoryLimit), memoryRequest],
    ['resources.gpu_limit', gpuLimit === null || isDeviceCount(gpuLimit), String(gpuLimit)],
  ];
}

function securityRules({ security: { runAsUser, runAsGroup, fsGroup, addCapabilities } }: Workload): readonly Rule[] {
  const ids = [runAsUser, runAsGroup, fsGroup];
  return [
    ['security_context', ids.every((id) => id === null || isPeriod(id, 0))],
    ['security_context.add_capabilities', addCapabilities.every(isCapability), addCapabilities.join(', ')],
  ];
}

function checkEnv(id: string, where: string, env: readonly EnvVar[]): void {
  const names = new Set<string>();
  for (const variable of env) {
    const { name } = variable;
    if (!isEnvName(name) || !isManifestText(name)) refuse(id, `${where}: name of a variable`, name);
    if (names.has(name)) refuse(id, `${where}.${name} (comes twice)`);
    if (!('value' in variable ? isPlainValue(variable.value) : isDnsSubdomain(variable.secret.name) && isDataKey(variable.secret.key))) {
      refuse(id, `${where}.${name}`);
    }
    names.add(name);
  }
}

function isPlainValue(value: string): boolean {
  return isEnvValue(value) && !looksSecret(value);
}

function fits(request: string, limit: string): boolean {
  const [least, most] = [parseQuantity(request), parseQuantity(limit)];
  return least !== null && most !== null && least <= most;
}

/** Kubernetes' counts and seconds are 32 bits wide. */
function isPeriod(value: number, least: number): boolean {
  return Number.isInteger(value) && value >= least && value <= 2_147_483_647;
}

function isProbePath(path: string): boolean {
  return path.startsWith('/') && isManifestText(path) && !looksSecret(path);
}

function isMountPath(path: string | null): boolean {
  return path === null || (/^\/[^:]+$/.test(path) && isManifestText(path));
}

function check(id: string, rules: readonly Rule[]): void {
  for (const [field, good, shown] of rules) {
    if (!good) refuse(id, field, shown);
  }
}

function refuse(id: string, field: string, shown?: string): never {
  const value = shown === undefined ? '' : ` (${JSON.stringify(shown.slice(0, 80))})`;
  throw new Failure('render-invalid', `processor ${id}: ${field} can't be rendered${value}`, {
    mend: 'Correct the row. That it was not quarantined is a bug: please report it.',
  });
}

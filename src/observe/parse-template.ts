import type { EnvVar, Probes, Problem, Resources, SecurityContext, StateBackend, Workload } from '../model/fleet.ts';
import { byText, type TemplateId } from '../model/ids.ts';
import { isCapability, isDeviceCount, isDnsLabel, isImageReference, isManifestText, isPort, isResourceQuantity, isVersion, parseQuantity } from '../model/kubernetes-names.ts';
import { digestOf } from '../platform/digest.ts';
import { envVarMaker, parseEnv, readSetting, unwritable, type MakeEnvVar } from './parse-env.ts';
import { at, present, readChoice, readFlag, readInteger, readJson, readQuantity, readSection, readTexts, reject, report, type Section } from './parse-json.ts';
import type { TemplateRow, VersionRow } from './rows.ts';
import { isCredential, looksLikeCredential, shown } from './secrets.ts';

/** A template's active version, parsed; or all that speaks against it, which is then wrong with each of its processors. */
export type TemplateResult = { readonly ok: true; readonly workload: Workload } | { readonly ok: false; readonly problems: readonly Problem[] };

export function parseTemplate(template: TemplateRow, active: readonly VersionRow[]): TemplateResult {
  const problems: Problem[] = [];
  const identity = parseIdentity(template, problems);
  const version = onlyVersion(active, problems);
  if (version === null) return { ok: false, problems };
  const fields = { ...identity, version: parseVersion(version, problems), image: parseImage(version, problems), ...parseRuntime(template.id, version, problems) };
  return problems.length > 0 ? { ok: false, problems } : { ok: true, workload: { digest: digestOf(fields), ...fields } };
}

function parseIdentity({ id, slug, name }: TemplateRow, problems: Problem[]): Pick<Workload, 'templateId' | 'slug' | 'name'> {
  if (slug === null || !isDnsLabel(slug)) {
    problems.push({ code: 'invalid-name', field: 'processor_templates.slug', value: shown(slug ?? ''), mend: 'Make it a DNS label: lower-case letters, digits and -, at most 63.' });
  }
  return { templateId: id as TemplateId, slug: slug ?? '', name: name ?? '' };
}

function onlyVersion(active: readonly VersionRow[], problems: Problem[]): VersionRow | null {
  const [first, second] = active;
  const field = 'processor_template_versions.is_active';
  if (first === undefined) {
    problems.push({ code: 'missing-version', field, value: null, mend: 'Set is_active on the version that should run.' });
  } else if (second !== undefined) {
    const value = shown(active.map(({ version }) => version ?? '').sort(byText).join(', '));
    problems.push({ code: 'ambiguous-version', field, value, mend: 'Leave is_active on one version only.' });
  } else {
    return first;
  }
  return null;
}

function parseVersion({ version }: VersionRow, problems: Problem[]): string {
  const text = version ?? '';
  if (!isVersion(text)) {
    problems.push({ code: 'invalid-value', field: 'processor_template_versions.version', value: shown(text), mend: 'Write at most 255 characters, without control characters: 1.4.2.' });
  }
  return text;
}

function parseImage({ imageUri, digest }: VersionRow, problems: Problem[]): string {
  const image = imageUri ?? '';
  const pinned = digest?.trim() ?? '';
  const field = 'processor_template_versions';
  if (!isImageReference(image)) {
    problems.push({ code: 'invalid-value', field: `${field}.image_uri`, value: shown(image), mend: 'Write [registry/]repository[:tag], without spaces, scheme or credentials.' });
  }
  if (pinned === '') return image;
  if (!/^sha256:[0-9a-f]{64}$/.test(pinned)) {
    problems.push({ code: 'invalid-value', field: `${field}.digest`, value: shown(pinned), mend: 'Write sha256: and 64 hex digits, or leave it NULL.' });
  }
  return `${image.replace(/@.*$/, '').replace(/:[^:/]*$/, '')}@${pinned}`;
}

type RuntimeFields = Omit<Workload, 'digest' | 'templateId' | 'slug' | 'name' | 'version' | 'image'>;

function secretOf(templateId: string): string {
  return `dory-env-${templateId}`;
}

/** Makes the variables of a template once more, for who wants to know what `make` is given. */
export function remakeEnv(templateId: string, runtimeConfig: string | null, make: MakeEnvVar): void {
  parseEnv(readSection(readJson(runtimeConfig, 'runtime_config_template', []), 'env_vars'), secretOf(templateId), make);
}

function parseRuntime(templateId: string, version: VersionRow, problems: Problem[]): RuntimeFields {
  const root = readJson(version.runtimeConfig, 'runtime_config_template', problems);
  const container = readSection(root, 'container');
  const envSection = readSection(root, 'env_vars');
  const env = parseEnv(envSection, secretOf(templateId), envVarMaker());
  const port = readInteger(container, 'port', { min: 1, max: 65_535 }, 8080);
  // No field of a workload, but the manifest has a volume there.
  readSetting(envSection, env, 'DORY_STATE_PVC_MOUNT', aMount);
  return {
    imagePullPolicy: readChoice(container, 'image_pull_policy', ['Always', 'IfNotPresent', 'Never'], 'Always'),
    command: parseWords(container, 'command'),
    args: parseWords(container, 'args'),
    port,
    resources: parseResources(readSection(root, 'resources')),
    probes: parseProbes(readSection(root, 'health_probes'), envSection, env, port),
    env,
    shutdownTimeoutSec: Number(readSetting(envSection, env, 'DORY_SHUTDOWN_TIMEOUT_SEC', wholeSeconds) ?? 30),
    stateBackend: (readSetting(envSection, env, 'DORY_STATE_BACKEND', oneOfBackends) ?? 'configmap') as StateBackend,
    architectures: parseArchitectures(root, version.buildConfig),
    security: parseSecurity(readSection(container, 'security_context')),
  };
}

const backends: readonly StateBackend[] = ['configmap', 's3', 'local', 'pvc'];
const oneOfBackends = { valid: (text: string) => backends.some((each) => each === text), mend: `Choose one of ${backends.join(', ')}.` };
/** A day: a longer grace would block a move for longer than anybody waits. */
const longestShutdownSec = 86_400;
const wholeSeconds = {
  valid: (text: string) => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= longestShutdownSec,
  mend: `Write whole seconds from 1 to ${String(longestShutdownSec)}.`,
};
const aPath = { valid: (text: string) => /^\/[\x21-\x7e]*$/.test(text), mend: 'Write a path that begins with /.' };
const aMount = { valid: (text: string) => /^\/[^:\s]+$/.test(text) && isManifestText(text), mend: 'Write an absolute path without a colon.' };
const aPort = { valid: (text: string) => /^[1-9]\d{0,4}$/.test(text) && isPort(Number(text)), mend: 'Write a port from 1 to 65535.' };

/** Arguments can't be references to a Secret, so a credential among them has nowhere to go but into Git. */
function parseWords(container: Section, key: 'command' | 'args'): readonly string[] {
  const words = readTexts(container, key);
  words.forEach((word, i) => {
    const flag = words[i - 1] ?? '';
    if (!isManifestText(word)) report(container, 'invalid-value', `${at(container, key)}[${String(i)}]`, null, unwritable);
    if (!looksLikeCredential(word) && !(flag.startsWith('-') && isCredential(flag, word))) return;
    report(container, 'invalid-value', `${at(container, key)}[${String(i)}]`, null, 'Move the credential to env_vars and write $(NAME) here.');
  });
  return words;
}

function parseResources(section: Section): Resources {
  const resources = {
    cpuRequest: readQuantity(section, 'cpu_request', '500m'),
    memoryRequest: readQuantity(section, 'memory_request', '512Mi'),
    cpuLimit: readQuantity(section, 'cpu_limit', '2000m'),
    memoryLimit: readQuantity(section, 'memory_limit', '2Gi'),
    gpuLimit: parseGpu(section),
  };
  checkFits(section, 'cpu', resources.cpuRequest, resources.cpuLimit);
  checkFits(section, 'memory', resources.memoryRequest, resources.memoryLimit);
  return resources;
}

function checkFits(section: Section, what: 'cpu' | 'memory', request: string, limit: string): void {
  const [least, most] = [parseQuantity(request), parseQuantity(limit)];
  if (least === null || most === null || least <= most) return;
  report(section, 'invalid-quantity', at(section, `${what}_request`), request, `Lower it to ${what}_limit (${limit}), or raise ${what}_limit.`);
}

/** `gpu_limit` alone asks for GPUs too; `gpu_required: false` switches them off. */
function parseGpu(section: Section): string | null {
  const required = readFlag(section, 'gpu_required', null);
  const limit = readQuantity(section, 'gpu_limit', required === true ? '1' : '0', isResourceQuantity);
  if (required === false || (required === null && parseQuantity(limit) === 0n)) return null;
  if (!isDeviceCount(limit)) reject(section, 'gpu_limit', 'invalid-quantity', 'Write a whole number of GPUs, one or more.');
  return limit;
}

function parseProbes(section: Section, envSection: Section, env: readonly EnvVar[], port: number): Probes {
  const positive = { min: 1, max: 86_400 };
  return {
    livenessPath: readSetting(envSection, env, 'DORY_HEALTH_PATH', aPath) ?? '/healthz',
    readinessPath: readSetting(envSection, env, 'DORY_READY_PATH', aPath) ?? '/ready',
    port: Number(readSetting(envSection, env, 'DORY_HEALTH_PORT', aPort) ?? port),
    initialDelaySec: readInteger(section, 'initial_delay_sec', { ...positive, min: 0 }, 60),
    periodSec: readInteger(section, 'period_sec', positive, 10),
    timeoutSec: readInteger(section, 'timeout_sec', positive, 3),
    failureThreshold: readInteger(section, 'failure_threshold', positive, 3),
  };
}

/** As Kubernetes labels nodes (`kubernetes.io/arch`). */
const architectures = ['386', 'amd64', 'arm', 'arm64', 'ppc64le', 'riscv64', 's390x'];

/** From `architectures`; else from what the image was built for, where that can be read: `build_config` is not ours to judge. */
function parseArchitectures(root: Section, buildConfig: string | null): readonly string[] {
  const asked = present(root, 'architectures') === undefined ? null : readTexts(root, 'architectures');
  if (asked?.every((each) => architectures.includes(each)) === false) {
    reject(root, 'architectures', 'invalid-value', `Choose from ${architectures.join(', ')}.`);
  }
  return [...new Set(asked ?? builtFor(buildConfig))].sort(byText);
}

/** `linux/arm64/v8`, `linux/amd64,linux/arm64`, or a list of such. */
function builtFor(buildConfig: string | null): readonly string[] {
  const { fields } = readJson(buildConfig, 'build_config', []);
  const platforms = [fields['platform'], fields['platforms']].flat().filter((each) => typeof each === 'string');
  return platforms
    .flatMap((each) => each.split(','))
    .map((each) => each.trim().split('/')[1] ?? '')
    .filter((each) => architectures.includes(each));
}

function parseSecurity(section: Section): SecurityContext {
  const ids = { min: 0, max: 2_147_483_647 };
  const security = {
    runAsNonRoot: readFlag(section, 'run_as_non_root', true),
    runAsUser: readInteger(section, 'run_as_user', ids, null),
    runAsGroup: readInteger(section, 'run_as_group', ids, null),
    fsGroup: readInteger(section, 'fs_group', ids, null),
    allowPrivilegeEscalation: readFlag(section, 'allow_privilege_escalation', false),
    privileged: readFlag(section, 'privileged', false),
    readOnlyRootFilesystem: readFlag(section, 'read_only_root_filesystem', true),
    addCapabilities: [...readTexts(section, 'add_capabilities')].sort(byText),
  };
  if (!security.addCapabilities.every(isCapability)) {
    reject(section, 'add_capabilities', 'invalid-value', 'Write capabilities without CAP_, in capitals: NET_ADMIN.');
  }
  if (security.runAsUser === 0 && security.runAsNonRoot) {
    reject(section, 'run_as_user', 'invalid-value', 'Set run_as_non_root to false as well, or choose another user.');
  }
  if (security.privileged && !security.allowPrivilegeEscalation) {
    reject(section, 'privileged', 'invalid-value', 'Set allow_privilege_escalation to true as well: Kubernetes refuses one without the other.');
  }
  return security;
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { defaultSystemProps, processorSupportFiles, supportOf, systemFiles, systemProps, type SystemProps } from '../../../charts-ts/system/index.ts';
import { systemSchema } from '../../../charts-ts/system/props.ts';
import { Failure } from '../../../src/model/failure.ts';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { resolveSettings } from '../../../src/platform/settings.ts';
import { at, find, objectsOf, systemObjects, type KubernetesObject } from './objects.ts';

const { shared } = defaultSystemProps;
const withSection = (section: unknown): SystemProps => systemProps(section, shared);
const variants: readonly (readonly [string, SystemProps])[] = [
  ['the defaults', defaultSystemProps],
  ['three replicas', withSection({ replicas: 3 })],
  ['a claim', withSection({ data: { volume: 'claim', size: '5Gi', storageClass: 'gp3' } })],
  ['server-side apply', withSection({ apply: 'ssa' })],
  ['Argo CD', withSection({ apply: 'argocd' })],
  ['ssh and signed commits', withSection({ git: { url: 'ssh://git@git.example.com/fleet.git', credentials: 'ssh', signCommits: true } })],
  ['beacons', withSection({ beacon: { enabled: true, tokenFolder: '/etc/dory' } })],
  ["the operator's rules", withSection({ monitoring: { rules: 'prometheusRule', ruleLabels: { release: 'prometheus' } } })],
  ['a public repository', withSection({ git: { credentials: 'none' } })],
  ['Secrets that others write', systemProps({}, { ...shared, writeSecrets: false })],
  ['another account', systemProps({ accountId: '123456789012', region: 'eu-west-1', scrapeAnnotations: { 'prometheus.io/scrape': 'true' }, env: { DORY_HTTP_PORT: '8080' } }, { ...shared, cluster: 'north' })],
];
const pod = 'spec.template.spec';
const deployment = (props: SystemProps): KubernetesObject => find(systemObjects(props), 'Deployment', 'dory-orchestrator');

afterEach(() => {
  vi.unstubAllEnvs();
});

describe.each(variants)('with %s', (_, props) => {
  const objects = systemObjects(props, ['plant-a']);

  test('no two objects are the same one', () => {
    const names = objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? ''} ${metadata.name}`);
    expect(new Set(names).size).toBe(names.length);
  });

  test('selectors find the pods of their own workload, and Services a port of theirs', () => {
    const template = at(deployment(props), 'spec.template') as { metadata: { labels: object }; spec: object };
    expect(at(deployment(props), 'spec.selector.matchLabels')).toEqual(template.metadata.labels);
    const ports = at(template, 'spec.containers.0.ports') as { name: string }[];
    for (const service of objects.filter(({ kind }) => kind === 'Service')) {
      expect(at(service, 'spec.selector')).toEqual(template.metadata.labels);
      expect(ports.map(({ name }) => name)).toContain(at(service, 'spec.ports.0.targetPort'));
    }
    for (const budget of objects.filter(({ kind }) => kind === 'PodDisruptionBudget')) expect(at(budget, 'spec.selector.matchLabels')).toEqual(template.metadata.labels);
  });

  test('bindings bind roles and accounts that are there', () => {
    const has = (kind: unknown, name: unknown, namespace: unknown): boolean => objects.some((object) => object.kind === kind && object.metadata.name === name && object.metadata.namespace === namespace);
    for (const binding of objects.filter(({ kind }) => kind.endsWith('RoleBinding'))) {
      const namespace = at(binding, 'roleRef.kind') === 'Role' ? binding.metadata.namespace : undefined;
      expect(has(at(binding, 'roleRef.kind'), at(binding, 'roleRef.name'), namespace)).toBe(true);
      expect(has('ServiceAccount', at(binding, 'subjects.0.name'), at(binding, 'subjects.0.namespace'))).toBe(true);
    }
  });

  test('every volume is mounted, and every mount has its volume', () => {
    const spec = at(deployment(props), pod) as { volumes: { name: string }[]; containers: { volumeMounts: { name: string; mountPath: string }[] }[] };
    const mounts = spec.containers.flatMap(({ volumeMounts }) => volumeMounts);
    expect(mounts.map(({ name }) => name).sort()).toEqual(spec.volumes.map(({ name }) => name).sort());
    expect(new Set(mounts.map(({ mountPath }) => mountPath)).size).toBe(mounts.length);
  });

  test('no Secret is written, and no name is made up by cdk8s', () => {
    const text = [...systemFiles(props, ['plant-a']).values()].join('');
    expect(objects.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    expect(text).not.toMatch(/cdk8s|-c8[0-9a-f]{6}|[&*]a\d/);
  });

  test('the program reads from its settings file what it was rendered from', () => {
    const config = parse(at(find(objects, 'ConfigMap', 'dory-orchestrator-settings'), 'data.[dory.yaml]') as string) as Record<string, unknown>;
    const again = systemProps(config['system'] ?? {}, config as unknown as SystemProps['shared']);
    expect(systemFiles(again, ['plant-a'])).toEqual(systemFiles(props, ['plant-a']));
  });
});

// The program applies nothing yet: its setting `apply` has one value.
test.each(variants.filter(([, { apply }]) => apply === 'none'))('the program takes the settings file of %s', (_, props) => {
  const text = at(find(systemObjects(props), 'ConfigMap', 'dory-orchestrator-settings'), 'data.[dory.yaml]') as string;
  const defaults = readFileSync(join(packageRoot(), 'config/defaults.yaml'), 'utf8');
  const settings = resolveSettings({ env: { DORY_CONFIG: '/etc/dory/dory.yaml', ...props.env }, flags: {}, file: { name: 'dory.yaml', text }, defaults });
  expect(settings).toMatchObject({ cluster: props.shared.cluster, dataDir: '/var/lib/dory', git: { url: props.git.url, branch: props.git.branch } });
  expect(systemProps(settings.system, settings)).toEqual(props);
});

test('nothing of the system carries the label by which processors are found', () => {
  for (const { metadata } of systemObjects(defaultSystemProps)) expect(metadata.labels ?? {}).not.toHaveProperty('managed-by');
  expect(at(deployment(defaultSystemProps), 'spec.template.metadata.labels')).not.toHaveProperty('managed-by');
});

test('pods have the fields that we set, and no others', () => {
  const spec = at(deployment(defaultSystemProps), pod) as { containers: object[] };
  expect(Object.keys(spec).sort()).toEqual([
    'automountServiceAccountToken', 'containers', 'enableServiceLinks', 'imagePullSecrets', 'nodeSelector', 'securityContext', 'serviceAccountName',
    'terminationGracePeriodSeconds', 'tolerations', 'volumes',
  ]);
  expect(Object.keys(spec.containers[0] ?? {}).sort()).toEqual([
    'args', 'env', 'image', 'imagePullPolicy', 'livenessProbe', 'name', 'ports', 'readinessProbe', 'resources', 'securityContext', 'volumeMounts',
  ]);
});

test('bytes depend on neither the order of namespaces, nor their repetition, nor the environment', () => {
  const files = systemFiles(defaultSystemProps, ['plant-b', 'plant-a']);
  vi.stubEnv('CDK8S_DISABLE_SORT', 'true');
  vi.stubEnv('CDK8S_OUTDIR', '/nowhere');
  expect([...systemFiles(defaultSystemProps, ['plant-a', 'plant-b', 'plant-a', 'default'])]).toEqual([...files]);
});

test('each namespace in use gets the ServiceAccount, its Role and the pull secret; the default one always', () => {
  const objects = systemObjects(defaultSystemProps, ['plant-a']);
  for (const namespace of ['default', 'plant-a']) {
    for (const kind of ['ServiceAccount', 'Role', 'RoleBinding']) expect(find(objects, kind, 'dory-processor', namespace).metadata.namespace).toBe(namespace);
    expect(find(objects, 'Role', 'ecr-token-refresh', namespace)).toBeDefined();
  }
  const job = find(objects, 'CronJob', 'ecr-token-refresh');
  expect(at(job, 'spec.jobTemplate.spec.template.spec.containers.0.env')).toContainEqual({ name: 'NAMESPACES', value: 'default dory-system kube-system plant-a' });
  expect([...processorSupportFiles(['plant-a']).keys()]).toEqual(['processor-access-plant-a.yaml']);
});

test('a change of settings changes the pod template', () => {
  const fingerprint = (props: SystemProps): unknown => at(deployment(props), 'spec.template.metadata.annotations.[dory.io/settings]');
  const seen = [defaultSystemProps, withSection({ pollInterval: '15s' }), withSection({ git: { branch: 'fleet' } })].map(fingerprint);
  expect(new Set(seen).size).toBe(3);
});

describe('replicas', () => {
  test('one: Recreate, and no budget that could block a drain for ever', () => {
    expect(systemObjects(defaultSystemProps).filter(({ kind }) => kind === 'PodDisruptionBudget')).toEqual([]);
    expect(at(deployment(defaultSystemProps), `${pod}.topologySpreadConstraints`)).toBeUndefined();
  });

  test('several: one by one, spread over nodes, one away at a time', () => {
    const props = withSection({ replicas: 3 });
    expect(at(deployment(props), 'spec.replicas')).toBe(3);
    expect(at(deployment(props), 'spec.strategy')).toEqual({ type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } });
    expect(at(deployment(props), `${pod}.topologySpreadConstraints.0`)).toEqual({
      topologyKey: 'kubernetes.io/hostname', maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule', labelSelector: { matchLabels: { app: 'dory-orchestrator' } },
    });
    expect(at(find(systemObjects(props), 'PodDisruptionBudget', 'dory-orchestrator'), 'spec.maxUnavailable')).toBe(1);
  });
});

describe('the clone and the Git credentials', () => {
  const volume = (props: SystemProps, name: string): unknown => (at(deployment(props), `${pod}.volumes`) as { name: string }[]).find((each) => each.name === name);
  const gitSettings = (props: SystemProps): unknown => at(parse(at(find(systemObjects(props), 'ConfigMap', 'dory-orchestrator-settings'), 'data.[dory.yaml]') as string), 'git');

  test('an emptyDir with a bound, or a claim', () => {
    expect(volume(defaultSystemProps, 'data')).toEqual({ name: 'data', emptyDir: { sizeLimit: '2Gi' } });
    const claimed = withSection({ data: { volume: 'claim', size: '5Gi', storageClass: 'gp3' } });
    expect(volume(claimed, 'data')).toEqual({ name: 'data', persistentVolumeClaim: { claimName: 'dory-orchestrator' } });
    expect(at(find(systemObjects(claimed), 'PersistentVolumeClaim', 'dory-orchestrator'), 'spec')).toEqual({
      accessModes: ['ReadWriteOnce'], storageClassName: 'gp3', resources: { requests: { storage: '5Gi' } },
    });
  });

  test.each([
    ['token', { tokenFile: '/etc/dory-git/token' }],
    ['ssh', { sshKeyFile: '/etc/dory-git/ssh-privatekey', sshKnownHostsFile: '/etc/dory-git/known_hosts' }],
  ])('%s: by files of the mounted Secret', (credentials, files) => {
    const props = withSection({ git: { credentials } });
    expect(gitSettings(props)).toEqual({ url: '<GIT_URL>', branch: 'main', ...files });
    // 0440: readable by the pod's group, written by nobody.
    expect(volume(props, 'git')).toEqual({ name: 'git', secret: { secretName: 'dory-git-secret', defaultMode: 0o440 } });
  });

  test('none: nothing is mounted', () => {
    expect(volume(withSection({ git: { credentials: 'none' } }), 'git')).toBeUndefined();
  });
});

test('access beyond the running system is apart, each with its reason, and as wide as the way of applying takes', () => {
  const names = (props: SystemProps): string[] => systemObjects(props).filter(({ metadata }) => metadata.annotations?.['dory.io/why'] !== undefined).map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? '-'}/${metadata.name}`);
  const always = ['ClusterRole -/dory-orchestrator-beyond', 'Role kube-node-lease/dory-orchestrator-node-leases', 'Role dory-system/dory-orchestrator-predecessor'];
  const secrets = 'Role default/dory-orchestrator-secrets';
  expect(names(defaultSystemProps)).toEqual([...always, secrets]);
  expect(names(withSection({ apply: 'ssa' }))).toEqual([...always, secrets]);
  expect(names(withSection({ apply: 'argocd', argocdNamespace: 'gitops' }))).toEqual([...always, 'Role gitops/dory-orchestrator-argocd', secrets]);
  const readOnly = systemProps({}, { ...shared, writeSecrets: false });
  expect(names(readOnly)).toEqual(always);
  expect(processorSupportFiles(['default'], supportOf(readOnly)).get('processor-access-default.yaml')).not.toContain('secrets');
  const beyond = (props: SystemProps) => at(find(systemObjects(props), 'ClusterRole', 'dory-orchestrator-beyond'), 'rules') as { resources: string[]; verbs: string[] }[];
  const writes = (props: SystemProps): string[] => beyond(props).filter(({ verbs }) => verbs.includes('patch')).flatMap(({ resources }) => resources);
  expect(writes(defaultSystemProps)).toEqual([]);
  expect(writes(withSection({ apply: 'ssa' }))).toEqual(['statefulsets']);
  const rules = (props: SystemProps): unknown => at(find(systemObjects(props), 'ClusterRole', 'dory-orchestrator'), 'rules');
  expect(rules(withSection({ apply: 'ssa' }))).toEqual(rules(defaultSystemProps));
});

describe('settings', () => {
  const message = (section: unknown): string => {
    try {
      systemProps(section, shared);
    } catch (error) {
      if (error instanceof Failure && error.code === 'settings-invalid') return error.message;
      throw error;
    }
    return '';
  };

  test.each([
    [{ accountid: '1' }, 'accountid'],
    [{ replicas: 0 }, 'system.replicas'],
    [{ replicas: 2, data: { volume: 'claim' } }, 'system.data.volume'],
    [{ data: { size: '2 GB' } }, 'system.data.size'],
    [{ git: { url: 'https://me:secret@git.example.com/x' } }, 'system.git.url'],
    [{ env: { DORY_GIT_TOKEN: 'secret' } }, 'system.env'],
    [{ env: { HOME: '/root' } }, 'system.env'],
    [{ image: 'not an image' }, 'system.image'],
    [{ kubelet: { kubeReserved: { cpu: '5OOm' } } }, 'system.kubelet.kubeReserved.cpu'],
    [{ pollInterval: '10' }, 'system.pollInterval'],
  ])('%j is refused by name, and its value is not shown', (section, path) => {
    expect(message(section)).toContain(path);
    expect(message(section)).not.toContain('secret@');
  });

  test('all that is wrong is told at once', () => {
    expect(message({ replicas: 0, region: '' }).split('\n')).toHaveLength(3);
  });

  test('the README lists each of them, and no others', () => {
    const readme = readFileSync(join(packageRoot(), 'charts-ts/system/README.md'), 'utf8');
    const listed = [...readme.matchAll(/^\| `([^`]+)` \|/gm)].map((match) => match[1]);
    const paths = Object.entries(systemSchema.parse({})).flatMap(([key, value]) => (sections.has(key) ? Object.keys(value as object).map((inner) => `${key}.${inner}`) : [key]));
    expect(listed).toEqual(paths);
  });
  const sections = new Set(['git', 'data', 'kubelet', 'beacon', 'monitoring', 'ecrRefresh']);
});

test('what is committed under generated/ is what is rendered now', () => {
  const folder = join(packageRoot(), 'generated/clusters/example/system');
  const rendered = systemFiles(defaultSystemProps, ['harbor', 'wind', 'yard']);
  for (const [name, text] of rendered) expect(readFileSync(join(folder, name), 'utf8')).toBe(text);
  expect(objectsOf(rendered).length).toBeGreaterThan(20);
});

import { k8s } from 'cdk8s-plus-30';
import { configName, httpPort, onSystemNodes, orchestratorLabels, orchestratorName, registry, settingsName } from './names.ts';
import type { SystemProps } from './props.ts';
import { paths, settingsFile } from './settings-file.ts';

const nobody = 65534;
/** Owner and group may read, in octal; the group is `fsGroup`. */
const secretMode = 0o440;
/** The clone's pack files are written elsewhere; this is for askpass files and sockets of ssh. */
const tmpSize = '64Mi';
const stateSecret = { name: 'dory-state-secret', key: 'state-token' } as const;
/** What webhooks to Argo CD are signed with. */
const argocdSecret = { name: 'dory-argocd-secret', key: 'webhook-secret' } as const;

export function podTemplate(props: SystemProps): k8s.PodTemplateSpec {
  return {
    // Pods read their settings once: a change of them must be a change of the template.
    metadata: { labels: orchestratorLabels(), annotations: { 'dory.io/settings': fingerprint(props) } },
    spec: podSpec(props),
  };
}

function podSpec(props: SystemProps): k8s.PodSpec {
  return {
    serviceAccountName: orchestratorName,
    automountServiceAccountToken: true,
    imagePullSecrets: [{ name: props.shared.imagePullSecret }],
    // Kubernetes would put DORY_ORCHESTRATOR_… into the environment, where this program looks for its settings.
    enableServiceLinks: false,
    securityContext: { runAsNonRoot: true, runAsUser: nobody, fsGroup: nobody },
    ...onSystemNodes(),
    ...(props.replicas > 1 ? { topologySpreadConstraints: spread() } : {}),
    terminationGracePeriodSeconds: 90,
    containers: [container(props)],
    volumes: volumes(props),
  };
}

/** One to a node: two on one would fail together. Zones are a wish, since a small system group may have one only. */
function spread(): k8s.TopologySpreadConstraint[] {
  return [
    { topologyKey: 'kubernetes.io/hostname', maxSkew: 1, whenUnsatisfiable: 'DoNotSchedule', labelSelector: { matchLabels: orchestratorLabels() } },
    { topologyKey: 'topology.kubernetes.io/zone', maxSkew: 1, whenUnsatisfiable: 'ScheduleAnyway', labelSelector: { matchLabels: orchestratorLabels() } },
  ];
}

function container(props: SystemProps): k8s.Container {
  const quantity = (text: string): k8s.Quantity => k8s.Quantity.fromString(text);
  return {
    name: 'orchestrator',
    image: props.image ?? `${registry(props)}/dory-orchestrator:latest`,
    imagePullPolicy: 'Always',
    args: [
      '--config-db=$(DATABASE_URL)',
      '--namespace=$(NAMESPACE)',
      '--poll-interval=$(POLL_INTERVAL)',
      '--log-level=$(LOG_LEVEL)',
      '--enable-monitor',
    ],
    env: env(props),
    ports: [{ name: httpPort.name, containerPort: httpPort.number, protocol: 'TCP' }],
    resources: {
      requests: { cpu: quantity('100m'), memory: quantity('128Mi') },
      limits: { cpu: quantity('500m'), memory: quantity('512Mi') },
    },
    livenessProbe: probe('/livez', { initialDelaySeconds: 30, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 }),
    readinessProbe: probe('/readyz', { initialDelaySeconds: 10, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 3 }),
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      runAsUser: nobody,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts: [
      { name: 'data', mountPath: paths.data },
      { name: 'settings', mountPath: paths.settings, readOnly: true },
      { name: 'tmp', mountPath: '/tmp' },
      ...(needsGitSecret(props) ? [{ name: 'git', mountPath: paths.gitSecret, readOnly: true }] : []),
    ],
  };
}

/** First the running system's five, then ours. */
function env({ shared, apply, env: more }: SystemProps): k8s.EnvVar[] {
  const config = (key: string): k8s.EnvVar => ({ name: key, valueFrom: { configMapKeyRef: { name: configName, key } } });
  return [
    { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: shared.databaseSecret, key: shared.databaseSecretKey } } },
    config('NAMESPACE'),
    config('POLL_INTERVAL'),
    config('LOG_LEVEL'),
    { name: 'DORY_STATE_TOKEN', valueFrom: { secretKeyRef: { ...stateSecret, optional: true } } },
    ...(apply === 'argocd' ? [{ name: 'DORY_ARGOCD_WEBHOOK_SECRET', valueFrom: { secretKeyRef: { ...argocdSecret, optional: true } } }] : []),
    { name: 'DORY_CONFIG', value: paths.settingsFile },
    // git looks for a configuration of the user there.
    { name: 'HOME', value: '/tmp' },
    ...Object.entries(more).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => ({ name, value })),
  ];
}

function probe(path: string, times: Omit<k8s.Probe, 'httpGet'>): k8s.Probe {
  return { httpGet: { path, port: k8s.IntOrString.fromString(httpPort.name) }, ...times };
}

function volumes(props: SystemProps): k8s.Volume[] {
  const { data, git } = props;
  return [
    data.volume === 'claim'
      ? { name: 'data', persistentVolumeClaim: { claimName: orchestratorName } }
      : { name: 'data', emptyDir: { sizeLimit: k8s.Quantity.fromString(data.size) } },
    { name: 'settings', configMap: { name: settingsName } },
    { name: 'tmp', emptyDir: { sizeLimit: k8s.Quantity.fromString(tmpSize) } },
    ...(needsGitSecret(props) ? [{ name: 'git', secret: { secretName: git.secret, defaultMode: secretMode } }] : []),
  ];
}

function needsGitSecret({ git }: SystemProps): boolean {
  return git.credentials !== 'none' || git.signCommits;
}

export function dataClaim({ data }: SystemProps, metadata: k8s.ObjectMeta): k8s.KubePersistentVolumeClaimProps {
  return {
    metadata,
    spec: {
      accessModes: ['ReadWriteOnce'],
      ...(data.storageClass === null ? {} : { storageClassName: data.storageClass }),
      resources: { requests: { storage: k8s.Quantity.fromString(data.size) } },
    },
  };
}

/** FNV-1a of what the pod is configured with: enough to tell a change, and computed without a host. */
function fingerprint(props: SystemProps): string {
  const text = [props.processorNamespace, props.pollInterval, props.logLevel, settingsFile(props)].join('\n');
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193) >>> 0;
  return hash.toString(16).padStart(8, '0');
}

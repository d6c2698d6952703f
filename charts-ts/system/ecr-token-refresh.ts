import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { onSystemNodes, registry, tokenRefreshName, tokenRefreshNamespace } from './names.ts';
import type { SystemProps } from './props.ts';

const nobody = 65534;
const labels = (): { app: string } => ({ app: tokenRefreshName });

/** A token of the registry lives for 12 hours: half way, each namespace with pods gets a new one as its pull secret. */
export class EcrTokenRefreshChart extends Chart {
  /** `namespaces`: those of processors, sorted. */
  constructor(scope: Construct, id: string, props: SystemProps, namespaces: readonly string[]) {
    super(scope, id);
    const { roleArn } = props.ecrRefresh;
    const targets = [...new Set([...namespaces, tokenRefreshNamespace, props.namespace])].sort();
    const account = { name: tokenRefreshName, namespace: tokenRefreshNamespace };
    const annotations = roleArn === null ? {} : { annotations: { 'eks.amazonaws.com/role-arn': roleArn } };
    new k8s.KubeServiceAccount(this, 'account', { metadata: { ...account, labels: labels(), ...annotations } });
    for (const namespace of targets) this.addAccess(namespace, props);
    new k8s.KubeCronJob(this, 'job', { metadata: { ...account, labels: labels() }, spec: cronJob(props, targets) });
  }

  /** To that one Secret; but `create` can't be bound to a name, since the object has none yet. */
  private addAccess(namespace: string, { shared }: SystemProps): void {
    const metadata = (): k8s.ObjectMeta => ({ name: tokenRefreshName, namespace, labels: labels() });
    new k8s.KubeRole(this, `role-${namespace}`, {
      metadata: metadata(),
      rules: [
        { apiGroups: [''], resources: ['secrets'], verbs: ['create'] },
        { apiGroups: [''], resources: ['secrets'], resourceNames: [shared.imagePullSecret], verbs: ['get', 'patch'] },
      ],
    });
    new k8s.KubeRoleBinding(this, `binding-${namespace}`, {
      metadata: metadata(),
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: tokenRefreshName },
      subjects: [{ kind: 'ServiceAccount', name: tokenRefreshName, namespace: tokenRefreshNamespace }],
    });
  }
}

function cronJob(props: SystemProps, targets: readonly string[]): k8s.CronJobSpec {
  return {
    schedule: '0 */6 * * *',
    concurrencyPolicy: 'Forbid',
    successfulJobsHistoryLimit: 1,
    failedJobsHistoryLimit: 3,
    jobTemplate: {
      spec: {
        backoffLimit: 3,
        // Four tries of a minute each, and the waits between them.
        activeDeadlineSeconds: 600,
        template: { metadata: { labels: labels() }, spec: podSpec(props, targets) },
      },
    },
  };
}

function podSpec(props: SystemProps, targets: readonly string[]): k8s.PodSpec {
  return {
    serviceAccountName: tokenRefreshName,
    automountServiceAccountToken: true,
    restartPolicy: 'Never',
    ...onSystemNodes(),
    securityContext: { runAsNonRoot: true, runAsUser: nobody, runAsGroup: nobody, fsGroup: nobody, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'refresh',
        image: props.ecrRefresh.image,
        imagePullPolicy: 'IfNotPresent',
        command: ['/bin/sh', '-c', script],
        env: [
          { name: 'AWS_REGION', value: props.region },
          { name: 'REGISTRY', value: registry(props) },
          { name: 'SECRET', value: props.shared.imagePullSecret },
          { name: 'NAMESPACES', value: targets.join(' ') },
          { name: 'HOME', value: '/tmp' },
        ],
        resources: {
          requests: { cpu: k8s.Quantity.fromString('50m'), memory: k8s.Quantity.fromString('64Mi') },
          limits: { cpu: k8s.Quantity.fromString('500m'), memory: k8s.Quantity.fromString('256Mi') },
        },
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
        volumeMounts: [{ name: 'tmp', mountPath: '/tmp' }],
      },
    ],
    // In memory: the token never touches a disk.
    volumes: [{ name: 'tmp', emptyDir: { medium: 'Memory', sizeLimit: k8s.Quantity.fromString('16Mi') } }],
  };
}

/**
 * The token travels in a file, since everybody on the machine can read arguments. The Secret is written in place, so that no pod finds it
 * missing; one namespace that is not there does not keep the others from theirs, but fails the job.
 */
const script = `set -eu
umask 077
token=$(aws ecr get-login-password --region "$AWS_REGION")
auth=$(printf 'AWS:%s' "$token" | base64 | tr -d '\\n')
printf '{"auths":{"%s":{"username":"AWS","password":"%s","auth":"%s"}}}' "$REGISTRY" "$token" "$auth" > "$HOME/config.json"
failed=0
for namespace in $NAMESPACES; do
  kubectl create secret docker-registry "$SECRET" --namespace "$namespace" --from-file=.dockerconfigjson="$HOME/config.json" --dry-run=client --output=yaml > "$HOME/secret.yaml" &&
    kubectl apply --server-side --force-conflicts --field-manager=${tokenRefreshName} --filename="$HOME/secret.yaml" ||
    failed=1
done
exit "$failed"
`;

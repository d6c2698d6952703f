import { describe, expect, test } from 'vitest';
import { defaultSystemProps } from '../../../charts-ts/system/index.ts';
import { at, find, systemObjects } from './objects.ts';

/** Every value of the running system's deployment documents, transcribed from them, not from our charts. */

const objects = systemObjects(defaultSystemProps, ['default']);
type Row = readonly [path: string, value: unknown];

const check = (kind: string, name: string, namespace: string | undefined, rows: readonly Row[]): void => {
  describe(`${kind} ${name}`, () => {
    test.each(rows)('%s', (path, value) => {
      expect(at(find(objects, kind, name, namespace), path)).toEqual(value);
    });
  });
};

const pod = 'spec.template.spec';
const container = `${pod}.containers.0`;
const fromConfig = (key: string): unknown => ({ configMapKeyRef: { name: 'dory-orchestrator-config', key } });

check('Deployment', 'dory-orchestrator', 'dory-system', [
  ['apiVersion', 'apps/v1'],
  ['spec.replicas', 1],
  ['spec.strategy', { type: 'Recreate' }],
  [`${pod}.serviceAccountName`, 'dory-orchestrator'],
  [`${pod}.securityContext`, { runAsNonRoot: true, runAsUser: 65534, fsGroup: 65534 }],
  [`${pod}.nodeSelector`, { role: 'system' }],
  [`${pod}.tolerations`, [{ key: 'node-role', operator: 'Equal', value: 'system', effect: 'NoSchedule' }]],
  [`${pod}.containers.length`, 1],
  [`${container}.image`, '<ACCOUNT_ID>.dkr.ecr.us-east-2.amazonaws.com/dory-orchestrator:latest'],
  [`${container}.imagePullPolicy`, 'Always'],
  [`${container}.command`, undefined],
  [`${container}.securityContext`, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, runAsUser: 65534, capabilities: { drop: ['ALL'] } }],
  [`${container}.ports`, [{ name: 'metrics', containerPort: 8080, protocol: 'TCP' }]],
  [`${container}.resources`, { requests: { cpu: '100m', memory: '128Mi' }, limits: { cpu: '500m', memory: '512Mi' } }],
  [`${container}.livenessProbe`, { httpGet: { path: '/livez', port: 'metrics' }, initialDelaySeconds: 30, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 }],
  [`${container}.readinessProbe`, { httpGet: { path: '/readyz', port: 'metrics' }, initialDelaySeconds: 10, periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 3 }],
  [`${pod}.terminationGracePeriodSeconds`, 90],
  [`${container}.args`, ['--config-db=$(DATABASE_URL)', '--namespace=$(NAMESPACE)', '--poll-interval=$(POLL_INTERVAL)', '--log-level=$(LOG_LEVEL)', '--enable-monitor']],
  [`${container}.env.0`, { name: 'DATABASE_URL', valueFrom: { secretKeyRef: { name: 'dory-db-secret', key: 'database-url' } } }],
  [`${container}.env.1`, { name: 'NAMESPACE', valueFrom: fromConfig('NAMESPACE') }],
  [`${container}.env.2`, { name: 'POLL_INTERVAL', valueFrom: fromConfig('POLL_INTERVAL') }],
  [`${container}.env.3`, { name: 'LOG_LEVEL', valueFrom: fromConfig('LOG_LEVEL') }],
  [`${container}.env.4`, { name: 'DORY_STATE_TOKEN', valueFrom: { secretKeyRef: { name: 'dory-state-secret', key: 'state-token', optional: true } } }],
]);

check('Service', 'dory-orchestrator-metrics', 'dory-system', [
  ['spec.type', 'ClusterIP'],
  ['spec.ports.length', 1],
  ['spec.ports.0.port', 8080],
  ['spec.ports.0.targetPort', 'metrics'],
  ['metadata.annotations.[prometheus.io/scrape]', 'true'],
]);
check('Service', 'dory-orchestrator', 'dory-system', [
  ['spec.type', 'ClusterIP'],
  ['spec.ports.length', 1],
  ['spec.ports.0.port', 80],
  ['spec.ports.0.targetPort', 'metrics'],
]);

check('ConfigMap', 'dory-orchestrator-config', 'dory-system', [['data', { NAMESPACE: 'default', POLL_INTERVAL: '10s', LOG_LEVEL: 'info' }]]);

check('ServiceAccount', 'dory-orchestrator', 'dory-system', [['apiVersion', 'v1']]);
check('ClusterRole', 'dory-orchestrator', undefined, [
  [
    'rules',
    [
      [[''], ['namespaces'], ['get', 'list', 'watch']],
      [[''], ['pods'], ['get', 'list', 'watch', 'create', 'delete', 'patch', 'update']],
      [[''], ['pods/status', 'pods/log'], ['get']],
      [[''], ['pods/eviction'], ['create']],
      [[''], ['nodes'], ['get', 'list', 'watch', 'patch', 'update', 'delete']],
      [[''], ['nodes/status'], ['get', 'patch', 'update']],
      [[''], ['events'], ['create', 'patch']],
      [[''], ['configmaps'], ['get', 'list', 'watch', 'create', 'update']],
      [[''], ['secrets'], ['get', 'list', 'watch']],
      [['karpenter.sh'], ['nodepools', 'nodeclaims'], ['get', 'list', 'watch']],
      [['karpenter.k8s.aws'], ['ec2nodeclasses'], ['get', 'list', 'watch']],
    ].map(([apiGroups, resources, verbs]) => ({ apiGroups, resources, verbs })),
  ],
]);
check('ClusterRoleBinding', 'dory-orchestrator', undefined, [
  ['roleRef', { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'dory-orchestrator' }],
  ['subjects', [{ kind: 'ServiceAccount', name: 'dory-orchestrator', namespace: 'dory-system' }]],
]);

check('ServiceAccount', 'dory-processor', 'default', [['apiVersion', 'v1']]);
check('Role', 'dory-processor', 'default', [
  ['rules', [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] }]],
]);
check('RoleBinding', 'dory-processor', 'default', [
  ['roleRef', { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'dory-processor' }],
  ['subjects', [{ kind: 'ServiceAccount', name: 'dory-processor', namespace: 'default' }]],
]);

const isOneOf = (key: string, ...values: string[]): unknown => ({ key, operator: 'In', values });
check('NodePool', 'dory-app-pool', undefined, [
  ['apiVersion', 'karpenter.sh/v1'],
  ['spec.template.metadata.labels', { 'workload-type': 'application', 'managed-by': 'dory-orchestrator' }],
  ['spec.template.spec.taints', undefined],
  ['spec.template.spec.requirements', [
    isOneOf('kubernetes.io/arch', 'amd64'),
    isOneOf('kubernetes.io/os', 'linux'),
    isOneOf('karpenter.sh/capacity-type', 'on-demand'),
    isOneOf('node.kubernetes.io/instance-type', 't3.small', 't3.medium', 't3a.small', 't3a.medium'),
  ]],
  ['spec.template.spec.nodeClassRef', { group: 'karpenter.k8s.aws', kind: 'EC2NodeClass', name: 'dory-app-nodeclass' }],
  ['spec.limits', { cpu: 100, memory: '400Gi' }],
  ['spec.disruption', { consolidationPolicy: 'WhenEmpty', consolidateAfter: '3m', budgets: [{ nodes: '20%' }] }],
  ['spec.weight', 10],
]);
check('EC2NodeClass', 'dory-app-nodeclass', undefined, [
  ['apiVersion', 'karpenter.k8s.aws/v1'],
  ['spec.amiFamily', 'AL2023'],
  ['spec.amiSelectorTerms', [{ alias: 'al2023@latest' }]],
  ['spec.role', 'KarpenterNodeRole-dory-demo'],
  ['spec.subnetSelectorTerms', [{ tags: { 'karpenter.sh/discovery': 'dory-demo' } }]],
  ['spec.securityGroupSelectorTerms', [{ tags: { 'karpenter.sh/discovery': 'dory-demo' } }]],
  ['spec.blockDeviceMappings', [{ deviceName: '/dev/xvda', ebs: { volumeType: 'gp3', volumeSize: '30Gi', encrypted: true } }]],
  ['spec.metadataOptions.httpTokens', 'required'],
  ['spec.detailedMonitoring', true],
  ['spec.kubelet.kubeReserved.cpu', '70m'],
]);

check('CronJob', 'ecr-token-refresh', 'kube-system', [['spec.schedule', '0 */6 * * *']]);
test.each(['default', 'kube-system', 'dory-system'])('the token is refreshed in %s, by a Role for that one Secret', (namespace) => {
  const job = find(objects, 'CronJob', 'ecr-token-refresh', 'kube-system');
  expect(at(job, 'spec.jobTemplate.spec.template.spec.containers.0.env')).toContainEqual({ name: 'NAMESPACES', value: 'default dory-system kube-system' });
  expect(at(find(objects, 'Role', 'ecr-token-refresh', namespace), 'rules')).toEqual([
    { apiGroups: [''], resources: ['secrets'], verbs: ['create'] },
    { apiGroups: [''], resources: ['secrets'], resourceNames: ['ecr-registry-secret'], verbs: ['get', 'patch'] },
  ]);
  expect(at(find(objects, 'RoleBinding', 'ecr-token-refresh', namespace), 'subjects')).toEqual([{ kind: 'ServiceAccount', name: 'ecr-token-refresh', namespace: 'kube-system' }]);
});

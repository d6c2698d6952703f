import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { orchestratorLabels, orchestratorName, why } from './names.ts';
import type { SystemProps } from './props.ts';

const read = ['get', 'list', 'watch'];

/** What the program may do in the cluster. */
export class OrchestratorAccessChart extends Chart {
  constructor(scope: Construct, id: string, props: SystemProps) {
    super(scope, id);
    const account = { name: orchestratorName, namespace: props.namespace };
    new k8s.KubeServiceAccount(this, 'account', { metadata: { ...account, labels: orchestratorLabels() } });
    new k8s.KubeClusterRole(this, 'role', { metadata: { name: orchestratorName, labels: orchestratorLabels() }, rules: runningSystemRules() });
    new k8s.KubeClusterRoleBinding(this, 'binding', {
      metadata: { name: orchestratorName, labels: orchestratorLabels() },
      ...bound('ClusterRole', orchestratorName, account),
    });
    this.addWatchAccess(account);
    if (props.apply === 'ssa') this.addApplyAccess(account);
  }

  /** Beyond the running system's rules, which have nodes and pods. */
  private addWatchAccess(account: Account): void {
    const watchName = `${orchestratorName}-watch`;
    const watchReason = why('Beyond the running system: that an old pod is gone is believed only when its StatefulSet says so too.');
    new k8s.KubeClusterRole(this, 'watch-role', { metadata: { name: watchName, labels: orchestratorLabels(), annotations: watchReason }, rules: watchRules() });
    new k8s.KubeClusterRoleBinding(this, 'watch-binding', {
      metadata: { name: watchName, labels: orchestratorLabels() },
      ...bound('ClusterRole', watchName, account),
    });
    const leases = { name: `${orchestratorName}-node-leases`, namespace: 'kube-node-lease' };
    new k8s.KubeRole(this, 'lease-role', {
      metadata: { ...leases, labels: orchestratorLabels(), annotations: why('Beyond the running system: how long ago the kubelet of a node that is not ready renewed its lease is shown.') },
      rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get'] }],
    });
    new k8s.KubeRoleBinding(this, 'lease-binding', { metadata: { ...leases, labels: orchestratorLabels() }, ...bound('Role', leases.name, account) });
  }

  /** What applying takes. */
  private addApplyAccess(account: Account): void {
    const applyName = `${orchestratorName}-apply`;
    const applyReason = why('Beyond the running system: placements are StatefulSets, and their credentials go from the database to Secrets.');
    new k8s.KubeClusterRole(this, 'apply-role', { metadata: { name: applyName, labels: orchestratorLabels(), annotations: applyReason }, rules: applyRules() });
    new k8s.KubeClusterRoleBinding(this, 'apply-binding', {
      metadata: { name: applyName, labels: orchestratorLabels() },
      ...bound('ClusterRole', applyName, account),
    });
  }
}

interface Account {
  readonly name: string;
  readonly namespace: string;
}

function bound(kind: 'Role' | 'ClusterRole', name: string, account: Account): { roleRef: k8s.RoleRef; subjects: k8s.Subject[] } {
  return { roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind, name }, subjects: [{ kind: 'ServiceAccount', ...account }] };
}

/** Exactly the running system's. */
function runningSystemRules(): k8s.PolicyRule[] {
  const core = (resources: string[], verbs: string[]): k8s.PolicyRule => ({ apiGroups: [''], resources, verbs });
  return [
    core(['namespaces'], [...read]),
    core(['pods'], [...read, 'create', 'delete', 'patch', 'update']),
    core(['pods/status', 'pods/log'], ['get']),
    core(['pods/eviction'], ['create']),
    core(['nodes'], [...read, 'patch', 'update', 'delete']),
    core(['nodes/status'], ['get', 'patch', 'update']),
    core(['events'], ['create', 'patch']),
    core(['configmaps'], [...read, 'create', 'update']),
    core(['secrets'], [...read]),
    { apiGroups: ['karpenter.sh'], resources: ['nodepools', 'nodeclaims'], verbs: [...read] },
    { apiGroups: ['karpenter.k8s.aws'], resources: ['ec2nodeclasses'], verbs: [...read] },
  ];
}

function watchRules(): k8s.PolicyRule[] {
  return [{ apiGroups: ['apps'], resources: ['statefulsets'], verbs: ['list', 'watch'] }];
}

/** Server-side apply is a patch, and needs `create` for what is not there yet. Secrets and StatefulSets are watched by the rules above. */
function applyRules(): k8s.PolicyRule[] {
  return [
    { apiGroups: ['apps'], resources: ['statefulsets'], verbs: ['get', 'create', 'patch', 'delete'] },
    { apiGroups: [''], resources: ['secrets'], verbs: ['create', 'patch', 'delete'] },
  ];
}

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
    this.addAccessBeyond(account, props);
    for (const role of rolesOf(props)) this.addRole(account, role);
  }

  /** What the program needs in any namespace, beyond the running system's rules. */
  private addAccessBeyond(account: Account, { apply }: SystemProps): void {
    const name = `${orchestratorName}-beyond`;
    const reason = why('Beyond the running system: placements are StatefulSets.');
    new k8s.KubeClusterRole(this, 'beyond-role', { metadata: { name, labels: orchestratorLabels(), annotations: reason }, rules: [...rulesBeyond(), ...(apply === 'ssa' ? applyRules() : [])] });
    new k8s.KubeClusterRoleBinding(this, 'beyond-binding', { metadata: { name, labels: orchestratorLabels() }, ...bound('ClusterRole', name, account) });
  }

  private addRole(account: Account, { id, namespace, reason, rule }: NamespacedAccess): void {
    const name = { name: `${orchestratorName}-${id}`, namespace };
    new k8s.KubeRole(this, `${id}-role`, { metadata: { ...name, labels: orchestratorLabels(), annotations: why(reason) }, rules: [rule] });
    new k8s.KubeRoleBinding(this, `${id}-binding`, { metadata: { ...name, labels: orchestratorLabels() }, ...bound('Role', name.name, account) });
  }
}

/** What it needs in one namespace only. */
interface NamespacedAccess {
  readonly id: string;
  readonly namespace: string;
  readonly reason: string;
  readonly rule: k8s.PolicyRule;
}

function rolesOf({ namespace, apply, argocdNamespace }: SystemProps): readonly NamespacedAccess[] {
  return [
    {
      id: 'node-leases', namespace: 'kube-node-lease',
      reason: 'Beyond the running system: how long ago the kubelet of a node that is not ready renewed its lease is shown.',
      rule: { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get'] },
    },
    {
      id: 'predecessor', namespace,
      reason: 'Beyond the running system: nothing is taken over from the system before this one while its Deployment runs.',
      rule: { apiGroups: ['apps'], resources: ['deployments'], resourceNames: [orchestratorName], verbs: ['get'] },
    },
    ...(apply === 'argocd' ? [{
      id: 'argocd', namespace: argocdNamespace,
      reason: 'Beyond the running system: Applications are told of each push, and read back.',
      rule: { apiGroups: ['argoproj.io'], resources: ['applications'], verbs: ['list', 'watch', 'patch'] },
    }] : []),
  ];
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

/** In any mode. Secrets are read by the running system's rules, and written by a Role in each namespace of processors (`processor-access.ts`). */
function rulesBeyond(): k8s.PolicyRule[] {
  return [
    { apiGroups: ['apps'], resources: ['statefulsets'], verbs: ['list', 'watch'] },
    { apiGroups: [''], resources: ['events'], verbs: ['list'] },
  ];
}

/** Server-side apply is a patch, and needs `create` for what is not there yet. */
function applyRules(): k8s.PolicyRule[] {
  return [{ apiGroups: ['apps'], resources: ['statefulsets'], verbs: ['get', 'create', 'patch', 'delete'] }];
}

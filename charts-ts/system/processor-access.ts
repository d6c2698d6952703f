import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { orchestratorLabels, orchestratorName, processorAccount, why } from './names.ts';

export interface ProcessorSupport {
  /** The namespace of the orchestrator's ServiceAccount. */
  readonly orchestrator: string;
  /** Whether it writes credentials; else it needs no right to. */
  readonly writeSecrets: boolean;
}

/**
 * What is needed in a namespace where processors run: by the SDK, whose state lives in the ConfigMap `dory-state-{processor id}`, and
 * by the orchestrator, which writes their credentials there and nowhere else.
 */
export class ProcessorAccessChart extends Chart {
  constructor(scope: Construct, id: string, namespace: string, { orchestrator, writeSecrets }: ProcessorSupport) {
    super(scope, id);
    const account = { name: processorAccount, namespace };
    const metadata = (): k8s.ObjectMeta => ({ ...account, labels: orchestratorLabels() });
    new k8s.KubeServiceAccount(this, 'account', { metadata: metadata() });
    new k8s.KubeRole(this, 'role', {
      metadata: metadata(),
      rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete'] }],
    });
    new k8s.KubeRoleBinding(this, 'binding', {
      metadata: metadata(),
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: processorAccount },
      subjects: [{ kind: 'ServiceAccount', ...account }],
    });
    if (writeSecrets) this.addSecretsAccess(namespace, orchestrator);
  }

  /** To look at Secrets is among the running system's rules. Server-side apply is a patch, and needs `create` for what is not there yet. */
  private addSecretsAccess(namespace: string, orchestrator: string): void {
    const name = `${orchestratorName}-secrets`;
    new k8s.KubeRole(this, 'secrets-role', {
      metadata: { name, namespace, labels: orchestratorLabels(), annotations: why('Beyond the running system: credentials go from the database to Secrets, never through Git.') },
      rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['create', 'patch', 'delete'] }],
    });
    new k8s.KubeRoleBinding(this, 'secrets-binding', {
      metadata: { name, namespace, labels: orchestratorLabels() },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name: orchestratorName, namespace: orchestrator }],
    });
  }
}

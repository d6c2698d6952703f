import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { orchestratorLabels, processorAccount } from './names.ts';

/** What the SDK needs in a namespace where processors run: its state lives in the ConfigMap `dory-state-{processor id}`. */
export class ProcessorAccessChart extends Chart {
  constructor(scope: Construct, id: string, namespace: string) {
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
  }
}

import { ApiObject, Chart, Yaml } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { orchestratorLabels } from '../names.ts';
import type { SystemProps } from '../props.ts';
import { alertRules } from './alerts.ts';
import { dashboard } from './dashboard.ts';

/** What watches the watcher: a dashboard for Grafana's sidecar, and rules for Prometheus, as a file or for its operator. */
export class MonitoringChart extends Chart {
  constructor(scope: Construct, id: string, { namespace, monitoring }: SystemProps) {
    super(scope, id);
    if (monitoring.dashboard) {
      new k8s.KubeConfigMap(this, 'dashboard', {
        // What Grafana's sidecar looks for.
        metadata: { name: 'dory-dashboard', namespace, labels: { ...orchestratorLabels(), grafana_dashboard: '1' } },
        data: { 'dory.json': dashboard() },
      });
    }
    if (monitoring.rules === 'configMap') {
      new k8s.KubeConfigMap(this, 'rules', { metadata: { name: 'dory-alert-rules', namespace, labels: orchestratorLabels() }, data: { 'dory.rules.yaml': Yaml.stringify({ groups: alertRules }) } });
    }
    if (monitoring.rules === 'prometheusRule') {
      new ApiObject(this, 'rules', {
        apiVersion: 'monitoring.coreos.com/v1',
        kind: 'PrometheusRule',
        metadata: { name: 'dory', namespace, labels: { ...orchestratorLabels(), ...monitoring.ruleLabels } },
        spec: { groups: alertRules },
      });
    }
  }
}

import { Chart } from 'cdk8s';
import { k8s } from 'cdk8s-plus-30';
import type { Construct } from 'constructs';
import { configName, httpPort, metricsServiceName, orchestratorLabels, orchestratorName, settingsName } from './names.ts';
import { dataClaim, podTemplate } from './orchestrator-pod.ts';
import type { SystemProps } from './props.ts';
import { paths, settingsFile } from './settings-file.ts';

/** The program itself: its settings, its pods, the Services in front of them. */
export class OrchestratorChart extends Chart {
  constructor(scope: Construct, id: string, props: SystemProps) {
    super(scope, id);
    const { namespace } = props;
    const named = (name: string): k8s.ObjectMeta => ({ name, namespace, labels: orchestratorLabels() });

    new k8s.KubeConfigMap(this, 'config', {
      metadata: named(configName),
      data: { NAMESPACE: props.processorNamespace, POLL_INTERVAL: props.pollInterval, LOG_LEVEL: props.logLevel },
    });
    new k8s.KubeConfigMap(this, 'settings', {
      metadata: named(settingsName),
      data: { [paths.settingsFile.slice(paths.settings.length + 1)]: settingsFile(props) },
    });
    if (props.data.volume === 'claim') new k8s.KubePersistentVolumeClaim(this, 'data', dataClaim(props, named(orchestratorName)));
    new k8s.KubeDeployment(this, 'deployment', { metadata: named(orchestratorName), spec: deployment(props) });
    new k8s.KubeService(this, 'metrics', {
      metadata: { ...named(metricsServiceName), annotations: { ...props.scrapeAnnotations } },
      spec: service(httpPort.number),
    });
    new k8s.KubeService(this, 'service', { metadata: named(orchestratorName), spec: service(80) });
    if (props.replicas > 1) {
      new k8s.KubePodDisruptionBudget(this, 'budget', {
        metadata: named(orchestratorName),
        // A pod that is not ready protects nothing, and must not block the drain of its node.
        spec: { maxUnavailable: k8s.IntOrString.fromNumber(1), selector: { matchLabels: orchestratorLabels() }, unhealthyPodEvictionPolicy: 'AlwaysAllow' },
      });
    }
  }
}

function deployment(props: SystemProps): k8s.DeploymentSpec {
  return {
    replicas: props.replicas,
    strategy: strategy(props.replicas),
    selector: { matchLabels: orchestratorLabels() },
    template: podTemplate(props),
  };
}

/**
 * Alone: Recreate, as the running system. Several: one after the other, because what takes heartbeats must not be away all at once;
 * no surge, because a new pod would wait for a node that has none of them yet.
 */
function strategy(replicas: number): k8s.DeploymentStrategy {
  if (replicas === 1) return { type: 'Recreate' };
  return { type: 'RollingUpdate', rollingUpdate: { maxSurge: k8s.IntOrString.fromNumber(0), maxUnavailable: k8s.IntOrString.fromNumber(1) } };
}

function service(port: number): k8s.ServiceSpec {
  return {
    type: 'ClusterIP',
    selector: orchestratorLabels(),
    ports: [{ name: 'http', port, targetPort: k8s.IntOrString.fromString(httpPort.name), protocol: 'TCP' }],
  };
}

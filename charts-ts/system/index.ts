import { print } from '../print.ts';
import { BeaconChart } from './beacon.ts';
import { EcrTokenRefreshChart } from './ecr-token-refresh.ts';
import { KarpenterChart } from './karpenter.ts';
import { MonitoringChart } from './monitoring/chart.ts';
import { OrchestratorAccessChart } from './orchestrator-access.ts';
import { OrchestratorChart } from './orchestrator.ts';
import { ProcessorAccessChart, type ProcessorSupport } from './processor-access.ts';
import { defaultSystemProps, type SystemProps } from './props.ts';

export { defaultSystemProps, systemProps, type SystemProps } from './props.ts';

/**
 * The system's own manifests: file name below `system/` → YAML, as `cdk8s synth` writes it, sorted by name. `namespaces` are those in
 * which processors run, in any order; the default one is always among them. Pure: same values, same bytes.
 */
export function systemFiles(props: SystemProps, namespaces: readonly string[]): ReadonlyMap<string, string> {
  const used = [...new Set([props.processorNamespace, ...namespaces])].sort();
  const files: readonly (readonly [string, string])[] = [
    ...(props.beacon.enabled ? [['beacon.yaml', print((app) => new BeaconChart(app, 'system', props))] as const] : []),
    ['ecr-token-refresh.yaml', print((app) => new EcrTokenRefreshChart(app, 'system', props, used))],
    ['karpenter.yaml', print((app) => new KarpenterChart(app, 'system', props))],
    ...(props.monitoring.dashboard || props.monitoring.rules !== 'none' ? [['monitoring.yaml', print((app) => new MonitoringChart(app, 'system', props))] as const] : []),
    ['orchestrator-access.yaml', print((app) => new OrchestratorAccessChart(app, 'system', props))],
    ['orchestrator.yaml', print((app) => new OrchestratorChart(app, 'system', props))],
  ];
  return new Map([...files, ...processorSupportFiles(used, supportOf(props))]);
}

/** What the manifests beside processors depend on. */
export function supportOf({ namespace, shared }: SystemProps): ProcessorSupport {
  return { orchestrator: namespace, writeSecrets: shared.writeSecrets };
}

/**
 * Of those, what depends on nothing but the namespaces: the ServiceAccount of processors and its Role in each, and who may write their
 * credentials there. `namespaces` sorted, none twice.
 */
export function processorSupportFiles(namespaces: readonly string[], support = supportOf(defaultSystemProps)): ReadonlyMap<string, string> {
  return new Map(namespaces.map((namespace) => [`processor-access-${namespace}.yaml`, print((app) => new ProcessorAccessChart(app, 'system', namespace, support))]));
}

import type { SystemProps } from './props.ts';

/** Names that several objects of the system share. They are those of the running system. */
export const orchestratorName = 'dory-orchestrator';
export const metricsServiceName = 'dory-orchestrator-metrics';
/** The container's port by name and number; both Services point to the name. */
export const httpPort = { name: 'metrics', number: 8080 } as const;
export const configName = 'dory-orchestrator-config';
export const settingsName = 'dory-orchestrator-settings';
export const processorAccount = 'dory-processor';
export const tokenRefreshName = 'ecr-token-refresh';
export const tokenRefreshNamespace = 'kube-system';

/**
 * Of the orchestrator's own objects. Not `managed-by=dory-orchestrator`: by that label processors are found.
 * A function: each object gets a map of its own, or YAML would print one of them as an alias of the other.
 */
export const orchestratorLabels = (): { app: string } => ({ app: orchestratorName });

/** Says in the cluster, where generated YAML has no comments, why an object is there that the running system did not have. */
export const why = (text: string): { 'dory.io/why': string } => ({ 'dory.io/why': text });

export const registry = ({ accountId, region }: SystemProps): string => `${accountId}.dkr.ecr.${region}.amazonaws.com`;

/** System nodes are tainted; whatever belongs to the system selects and tolerates them. */
export const onSystemNodes = () => ({
  nodeSelector: { role: 'system' },
  tolerations: [{ key: 'node-role', operator: 'Equal', value: 'system', effect: 'NoSchedule' }],
});

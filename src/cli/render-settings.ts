import { processorSupportFiles } from '../../charts-ts/system/index.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { RenderSettings } from '../render/settings.ts';
import type { ChartSettings } from '../render/props.ts';

/** Where agents reach the orchestrator in its own cluster: the Service of the running system. */
const orchestratorUrl = 'http://dory-orchestrator-metrics.dory-system.svc.cluster.local:8080';

export function manifestSettings({ imagePullSecret }: Settings): ChartSettings {
  return { imagePullSecret, orchestratorUrl };
}

/** What a tree depends on beside the rows; owner and layout come from the database. */
export function renderSettings(settings: Settings): Omit<RenderSettings, 'owner' | 'layout'> {
  return { ...manifestSettings(settings), cluster: settings.cluster, supportFiles: processorSupportFiles };
}

import { argocdFiles } from '../../charts-ts/argocd/index.ts';
import { processorSupportFiles, supportOf, systemFiles, systemProps } from '../../charts-ts/system/index.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { RenderSettings } from '../render/settings.ts';
import type { ChartSettings } from '../render/props.ts';
import { argocdProps } from './argocd-settings.ts';

/** Where agents reach the orchestrator in its own cluster: the Service of the running system. */
const orchestratorUrl = 'http://dory-orchestrator-metrics.dory-system.svc.cluster.local:8080';

export function manifestSettings({ imagePullSecret }: Settings): ChartSettings {
  return { imagePullSecret, orchestratorUrl };
}

/** What a tree depends on beside the rows; owner and layout come from the database. */
export function renderSettings(settings: Settings): Omit<RenderSettings, 'owner' | 'layout'> {
  return { ...manifestSettings(settings), cluster: settings.cluster, supportFiles: lastAnswer(systemFilesOf(settings)), argocdFiles: argocdFilesOf(settings) };
}

function argocdFilesOf(settings: Settings): RenderSettings['argocdFiles'] {
  const props = argocdProps(settings);
  return props === null ? null : (layout, systemFiles) => argocdFiles(props, { layout, systemFiles });
}

/** What is left open in the settings, such as the account id. */
const placeholder = /<[A-Z][A-Z_]*>/;

/**
 * The system's own manifests, as soon as its settings leave no placeholder in them: a Deployment with one would replace the
 * orchestrator that runs by an image that does not exist. Until then what processors need in their namespaces, no more.
 */
function systemFilesOf(settings: Settings): RenderSettings['supportFiles'] {
  const props = systemProps(settings.system, settings);
  return (namespaces) => {
    const files = systemFiles(props, namespaces);
    return [...files.values()].some((text) => placeholder.test(text)) ? processorSupportFiles(namespaces, supportOf(props)) : files;
  };
}

/** Namespaces in use hardly ever change; printing takes some 20 ms each time. */
function lastAnswer(make: RenderSettings['supportFiles']): RenderSettings['supportFiles'] {
  let last: { readonly key: string; readonly files: ReadonlyMap<string, string> } | null = null;
  return (namespaces) => {
    const key = namespaces.join(' ');
    if (last?.key !== key) last = { key, files: make(namespaces) };
    return last.files;
  };
}

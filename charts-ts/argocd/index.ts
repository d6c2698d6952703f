import { Chart } from 'cdk8s';
import type { Construct } from 'constructs';
import { print } from '../print.ts';
import { application } from './application.ts';
import { contentsOf, project } from './project.ts';
import { processorFolders, systemFolder, type ArgocdContent, type ArgocdProps } from './props.ts';

export { clusterLabel, processorFolders, systemFolder, type ArgocdContent, type ArgocdProps } from './props.ts';

/**
 * What tells Argo CD to sync our folder: file name below `argocd/` → YAML, sorted by name. Pure: same values, same bytes. They depend on settings, the layout
 * and the kinds of the system's own objects, never on a processor: `README.md` says who applies them.
 */
export function argocdFiles(props: ArgocdProps, content: ArgocdContent): ReadonlyMap<string, string> {
  return new Map([
    ['applications.yaml', print((app) => new ApplicationsChart(app, 'argocd', props, content))],
    ['projects.yaml', print((app) => new ProjectsChart(app, 'argocd', props, content))],
  ]);
}

const systemProject = ({ project: name }: ArgocdProps): string => `${name}-system`;

class ProjectsChart extends Chart {
  constructor(scope: Construct, id: string, props: ArgocdProps, { systemFiles }: ArgocdContent) {
    super(scope, id);
    project(this, props, {
      name: props.project,
      description: 'Processors placed by Dory.',
      namespaces: props.namespaces,
      clusterKinds: [],
      namespacedKinds: [{ group: 'apps', kind: 'StatefulSet' }],
    });
    const { clusterKinds, namespacedKinds } = contentsOf(systemFiles.values());
    project(this, props, {
      name: systemProject(props),
      description: 'What Dory itself needs, and what its processors need in their namespaces.',
      namespaces: systemNamespaces(props, systemFiles),
      clusterKinds,
      namespacedKinds,
    });
  }
}

class ApplicationsChart extends Chart {
  constructor(scope: Construct, id: string, props: ArgocdProps, { layout, systemFiles }: ArgocdContent) {
    super(scope, id);
    for (const folder of processorFolders(props, layout)) {
      application(this, props, { ...folder, project: props.project, namespaces: props.namespaces, prune: true, ignoreDifferences: claimDefaults });
    }
    // Not pruned: settings that are incomplete for a while must not delete the orchestrator, nor the pool with its nodes.
    application(this, props, { ...systemFolder(props), project: systemProject(props), namespaces: systemNamespaces(props, systemFiles), prune: false });
  }
}

/** What processors need goes where processors may run; so the generated files stay as they are when a namespace comes into use. */
function systemNamespaces(props: ArgocdProps, systemFiles: ArgocdContent['systemFiles']): readonly string[] {
  if (props.namespaces.includes('*')) return ['*'];
  const { namespaces } = contentsOf([...systemFiles].filter(([name]) => !name.startsWith('processor-access-')).map(([, text]) => text));
  return [...new Set([...props.namespaces, ...namespaces])].sort();
}

/** What the API server adds to claims of a StatefulSet, and Argo CD would see as a difference for ever. */
const claimDefaults = [{
  group: 'apps',
  kind: 'StatefulSet',
  jqPathExpressions: ['.spec.volumeClaimTemplates[]?.apiVersion', '.spec.volumeClaimTemplates[]?.kind', '.spec.volumeClaimTemplates[]?.status', '.spec.volumeClaimTemplates[]?.spec.volumeMode'],
}];

import { ApiObject } from 'cdk8s';
import type { Construct } from 'constructs';
import { clusterLabel, type ApplicationFolder, type ArgocdProps } from './props.ts';

export const argocdApi = 'argoproj.io/v1alpha1';

interface ApplicationOptions extends ApplicationFolder {
  readonly project: string;
  /** Those that the project allows. */
  readonly namespaces: readonly string[];
  /** Whether what is gone from Git is deleted from the cluster. */
  readonly prune: boolean;
  readonly ignoreDifferences?: readonly Readonly<Record<string, unknown>>[];
}

/**
 * No finalizer: to delete an Application, by mistake too, leaves what runs where it is.
 * No waves, no hooks: a failover would wait for what is unhealthy.
 */
export function application(scope: Construct, props: ArgocdProps, { name, path, project, namespaces, prune, ignoreDifferences = [] }: ApplicationOptions): ApiObject {
  return new ApiObject(scope, name, {
    apiVersion: argocdApi,
    kind: 'Application',
    metadata: {
      name,
      namespace: props.namespace,
      labels: argocdLabels(props),
      // A commit that touches another folder is no news to this one.
      annotations: { 'argocd.argoproj.io/manifest-generate-paths': '.' },
    },
    spec: {
      project,
      source: { repoURL: props.repoUrl, targetRevision: props.revision, path, directory: { recurse: true } },
      destination: { ...destinationOf(props), ...namespaceAmong(namespaces) },
      syncPolicy: syncPolicy(prune),
      ...(ignoreDifferences.length > 0 ? { ignoreDifferences } : {}),
    },
  });
}

export const argocdLabels = ({ cluster }: ArgocdProps): Record<string, string> => ({ 'app.kubernetes.io/part-of': 'dory', [clusterLabel]: cluster });

export function destinationOf({ destination }: ArgocdProps): Record<string, string> {
  return destination.includes('://') ? { server: destination } : { name: destination };
}

/**
 * Objects name their own. But a project that does not allow any namespace whatever refuses an Application that names none: one that it allows, or,
 * where it only has patterns, one that fits the first and need not be there.
 */
function namespaceAmong(namespaces: readonly string[]): { readonly namespace?: string } {
  if (namespaces.includes('*')) return {};
  const plain = namespaces.filter((each) => !/[![]/.test(each));
  const namespace = plain.find((each) => !/[*?]/.test(each)) ?? plain[0]?.replace(/[*?]/g, 'x');
  return namespace === undefined ? {} : { namespace };
}

function syncPolicy(prune: boolean): Record<string, unknown> {
  return {
    automated: {
      prune,
      selfHeal: true,
      // The last processor of a folder can go too. Dory itself refuses to delete suspiciously much.
      allowEmpty: prune,
    },
    syncOptions: [
      'ServerSideApply=true',
      // Of a folder with 1,000 objects, only those that a commit changed.
      'ApplyOutOfSyncOnly=true',
      // A foreground deletion waits for the pod on the dead node, and the whole folder with it.
      'PrunePropagationPolicy=background',
      // What another Application has is not taken over in silence.
      'FailOnSharedResource=true',
    ],
    retry: {
      // Forever: a sync that gave up is not tried again until the next commit.
      limit: -1,
      backoff: { duration: '5s', factor: 2, maxDuration: '1m' },
      // With the newest commit, not with the one that failed.
      refresh: true,
    },
  };
}

import type { ArgocdProps } from '../../charts-ts/argocd/index.ts';
import type { Settings } from '../platform/settings-schema.ts';

/** What the generated Applications depend on; null where Argo CD does not apply what is committed. */
export function argocdProps({ apply, argocd, cluster, git }: Settings): ArgocdProps | null {
  const repoUrl = argocd.repoUrl ?? git.url;
  if (apply !== 'argocd' || repoUrl === null) return null;
  return {
    cluster,
    repoUrl,
    revision: argocd.revision ?? `refs/heads/${git.branch}`,
    namespace: argocd.namespace,
    project: argocd.project ?? `dory-${cluster}`,
    destination: argocd.destination,
    namespaces: argocd.namespaces,
  };
}

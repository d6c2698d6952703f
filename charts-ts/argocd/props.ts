import type { Layout } from '../../src/model/tree.ts';

/** Where Argo CD finds our folder, and where it puts what it finds. */
export interface ArgocdProps {
  /** `clusters/<cluster>/` is our folder. */
  readonly cluster: string;
  /** As Argo CD reaches it. */
  readonly repoUrl: string;
  /** A branch as `refs/heads/…`: a short name makes Argo CD look through all references each time. */
  readonly revision: string;
  /** Of Argo CD itself: AppProjects and Applications are made here. */
  readonly namespace: string;
  /** The AppProject of the processors; `<project>-system` is that of the system's own objects. */
  readonly project: string;
  /** The URL of an API server, or the name of a cluster, as Argo CD knows it. */
  readonly destination: string;
  /** Where processors may run: names, or patterns such as `plant-*`. */
  readonly namespaces: readonly string[];
}

/** What the repository holds beside the processors. */
export interface ArgocdContent {
  readonly layout: Layout;
  /** File name below `system/` → YAML. */
  readonly systemFiles: ReadonlyMap<string, string>;
}

/** An Application and the folder that it syncs. */
export interface ApplicationFolder {
  readonly name: string;
  /** From the root of the repository. */
  readonly path: string;
}

/** By this label Applications are found again, whoever changed their names. */
export const clusterLabel = 'dory.io/cluster';

/** So many Applications hold 16 to 1,000 processors each (`Layout`): one would take 10 MB of manifests, which is where Argo CD stops. */
const shards = 64;

/** An Application for each first folder of the processors: no processor ever changes its own. */
export function processorFolders({ cluster }: Pick<ArgocdProps, 'cluster'>, layout: Layout): readonly ApplicationFolder[] {
  const name = `dory-${cluster}-processors`;
  const path = `clusters/${cluster}/processors`;
  if (layout === 'flat') return [{ name, path }];
  return Array.from({ length: shards }, (_, shard) => shard.toString(16).padStart(2, '0')).map((shard) => ({ name: `${name}-${shard}`, path: `${path}/${shard}` }));
}

export function systemFolder({ cluster }: Pick<ArgocdProps, 'cluster'>): ApplicationFolder {
  return { name: `dory-${cluster}-system`, path: `clusters/${cluster}/system` };
}

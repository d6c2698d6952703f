import { ApiObject } from 'cdk8s';
import type { Construct } from 'constructs';
import { parseAllDocuments } from 'yaml';
import { argocdApi, argocdLabels, destinationOf } from './application.ts';
import type { ArgocdProps } from './props.ts';

interface GroupKind {
  readonly group: string;
  readonly kind: string;
}

interface ProjectOptions {
  readonly name: string;
  readonly description: string;
  /** Names, or patterns. */
  readonly namespaces: readonly string[];
  /** Of the whole cluster. */
  readonly clusterKinds: readonly GroupKind[];
  readonly namespacedKinds: readonly GroupKind[];
}

/** What one repository may put into one cluster, and no more. */
export function project(scope: Construct, props: ArgocdProps, { name, description, namespaces, clusterKinds, namespacedKinds }: ProjectOptions): ApiObject {
  return new ApiObject(scope, name, {
    apiVersion: argocdApi,
    kind: 'AppProject',
    metadata: { name, namespace: props.namespace, labels: argocdLabels(props) },
    spec: {
      description,
      sourceRepos: [props.repoUrl],
      destinations: namespaces.map((namespace) => ({ ...destinationOf(props), namespace })),
      clusterResourceWhitelist: clusterKinds,
      namespaceResourceWhitelist: namespacedKinds,
    },
  });
}

/** What files hold, as a project has to allow it: sorted, none twice. */
export interface Contents {
  readonly clusterKinds: readonly GroupKind[];
  readonly namespacedKinds: readonly GroupKind[];
  readonly namespaces: readonly string[];
}

interface ObjectHead {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly namespace?: string };
}

export function contentsOf(files: Iterable<string>): Contents {
  const heads = [...files].flatMap((text) => parseAllDocuments(text).map((document) => document.toJS() as ObjectHead));
  const kinds = (namespaced: boolean): GroupKind[] => sortedBy(heads.filter(({ metadata }) => (metadata.namespace !== undefined) === namespaced).map(groupKindOf), ({ group, kind }) => `${group}/${kind}`);
  return {
    clusterKinds: kinds(false),
    namespacedKinds: kinds(true),
    namespaces: sortedBy(heads.flatMap(({ metadata: { namespace } }) => (namespace === undefined ? [] : [namespace])), (namespace) => namespace),
  };
}

function groupKindOf({ apiVersion, kind }: ObjectHead): GroupKind {
  return { group: apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '', kind };
}

function sortedBy<T>(items: readonly T[], key: (item: T) => string): T[] {
  const unique = new Map(items.map((item) => [key(item), item]));
  return [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

import { parseAllDocuments } from 'yaml';
import { systemFiles, type SystemProps } from '../../../charts-ts/system/index.ts';

/** A Kubernetes object as parsed from YAML, read by path: `at(deployment, 'spec.template.spec.containers.0.image')`. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
}

export function objectsOf(files: ReadonlyMap<string, string>): readonly KubernetesObject[] {
  return [...files.values()].flatMap((text) => parseAllDocuments(text, { version: '1.1' }).map((document) => document.toJS() as KubernetesObject));
}

export const systemObjects = (props: SystemProps, namespaces: readonly string[] = []): readonly KubernetesObject[] =>
  objectsOf(systemFiles(props, namespaces));

export function find(objects: readonly KubernetesObject[], kind: string, name: string, namespace?: string): KubernetesObject {
  const found = objects.filter((object) => object.kind === kind && object.metadata.name === name && (namespace === undefined || object.metadata.namespace === namespace));
  if (found.length !== 1 || found[0] === undefined) throw new Error(`${String(found.length)} objects ${kind} ${name}`);
  return found[0];
}

/** The value at a dotted path; `undefined` where nothing is. A segment in brackets may hold dots: `labels.[a.b/c]`. */
export function at(value: unknown, path: string): unknown {
  const segments = path.match(/\[[^\]]+\]|[^.]+/g) ?? [];
  return segments.reduce<unknown>((inner, segment) => (inner as Record<string, unknown> | undefined)?.[segment.replace(/^\[|\]$/g, '')], value);
}

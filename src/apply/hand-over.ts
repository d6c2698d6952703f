import { byText } from '../model/ids.ts';
import type { KubeObject } from '../platform/kube/object.ts';
import { unionOf } from './fields.ts';
import { fieldManager, managersOf } from './live.ts';

export type JsonPatch = readonly ({ readonly op: 'replace' | 'test'; readonly path: string; readonly value: unknown } | { readonly op: 'remove'; readonly path: string })[];

export interface NewManager {
  readonly manager: string;
  readonly apiVersion: string;
}

/** In which `kubectl apply` without `--server-side` keeps what it applied, credentials included. */
const lastApplied = 'kubectl.kubernetes.io/last-applied-configuration';

/**
 * Fields of some managers become another one's, applied server-side, as kubectl and Flux do it: what its next apply does not
 * have any more is then removed, and nobody else holds on to it. Null if these managers own nothing. The resourceVersion in
 * it lets it fail if somebody wrote in between.
 */
export function handOver(object: KubeObject, from: (manager: string) => boolean, to: NewManager): JsonPatch | null {
  const raw = object.metadata['managedFields'];
  if (!Array.isArray(raw)) return null;
  const managers = managersOf(object);
  // What can't be read would be lost.
  if (managers.length !== raw.length) return null;
  const moved = managers.map(({ manager, operation, subresource }) => subresource === '' && ((manager === to.manager && operation === 'Apply') || from(manager)));
  if (!managers.some(({ manager, subresource }, n) => moved[n] === true && subresource === '' && from(manager))) return null;
  const taken = unionOf(managers.filter((_, n) => moved[n] === true).map(({ fields }) => fields));
  const rest = raw.filter((_: unknown, n) => moved[n] !== true) as readonly unknown[];
  const time = managers.filter((_, n) => moved[n] === true).map((each) => each.time ?? '').sort(byText).at(-1) ?? '';
  const entry = { manager: to.manager, operation: 'Apply', apiVersion: to.apiVersion, fieldsType: 'FieldsV1', fieldsV1: withoutLastApplied(taken), ...(time === '' ? {} : { time }) };
  return [
    { op: 'replace', path: '/metadata/managedFields', value: [entry, ...rest] },
    { op: 'replace', path: '/metadata/resourceVersion', value: object.metadata.resourceVersion },
    ...(object.metadata.annotations?.[lastApplied] === undefined ? [] : [{ op: 'remove', path: `/metadata/annotations/${lastApplied.replace('/', '~1')}` } as const]),
  ];
}

/** The way back: what is ours becomes somebody else's, and Dory has no claim left. */
export function giveBack(object: KubeObject, to: NewManager): JsonPatch | null {
  return handOver(object, (manager) => manager === fieldManager, to);
}

function withoutLastApplied(fields: ReturnType<typeof unionOf>): ReturnType<typeof unionOf> {
  const { 'f:metadata': metadata, ...rest } = fields;
  const { 'f:annotations': annotations, ...others } = metadata ?? {};
  if (metadata === undefined || annotations === undefined) return fields;
  const kept = Object.fromEntries(Object.entries(annotations).filter(([element]) => element !== `f:${lastApplied}`));
  return { ...rest, 'f:metadata': { ...others, 'f:annotations': kept } };
}

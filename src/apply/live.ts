import { byText, type Epoch, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { isMap, type KubeObject } from '../platform/kube/object.ts';
import { ownedDigest, ownedValues, unionOf, type FieldManager, type Fields } from './fields.ts';
import type { LiveObject } from './objects.ts';

/** Our field manager: in every request that writes, and in `managedFields` of what was written. */
export const fieldManager = 'dory-orchestrator';

/** The entries of `metadata.managedFields`. What is not as documented is left out: then we own nothing there, and say so. */
export function managersOf({ metadata }: KubeObject): readonly FieldManager[] {
  const entries: unknown = metadata['managedFields'];
  return Array.isArray(entries) ? entries.flatMap((entry: unknown) => managerOf(entry) ?? []) : [];
}

/** By hand, as all that is read of every object of the fleet. */
function managerOf(entry: unknown): FieldManager | null {
  if (!isMap(entry)) return null;
  const { manager, operation, subresource, time, fieldsV1: fields } = entry;
  if ((operation !== 'Apply' && operation !== 'Update') || !isFields(fields)) return null;
  return { manager: textOr(manager, ''), operation, subresource: textOr(subresource, ''), time: textOr(time, null), fields };
}

function textOr<T>(value: unknown, otherwise: T): string | T {
  return typeof value === 'string' ? value : otherwise;
}

function isFields(value: unknown): value is Fields {
  if (!isMap(value)) return false;
  for (const element in value) if (!isFields(value[element])) return false;
  return true;
}

/** What server-side apply made ours. */
export function isOurEntry({ manager, operation, subresource }: FieldManager): boolean {
  return manager === fieldManager && operation === 'Apply' && subresource === '';
}

/** The values of an object's fields that are ours; null where none is. */
export function ourValues(object: KubeObject, managers = managersOf(object)): unknown {
  const ours = managers.filter(isOurEntry);
  return ours.length === 0 ? null : ownedValues(object, unionOf(ours.map(({ fields }) => fields)));
}

/** What is kept of an object of the cluster: of its content, no more than a digest. `gvk`: items of a list don't name their kind. */
export function readLive(object: KubeObject, { apiVersion, kind }: { readonly apiVersion: string; readonly kind: string }): LiveObject {
  const { metadata } = object;
  const { labels = {}, annotations = {} } = metadata;
  const managers = managersOf(object);
  const values = ourValues(object, managers);
  return {
    ref: { apiVersion, kind, namespace: metadata.namespace ?? null, name: metadata.name },
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    processorId: (labels['processor-id'] ?? null) as ProcessorId | null,
    epoch: positive(annotations['dory.io/epoch']) as Epoch | null,
    revision: revisionOf(annotations, managers),
    owned: values === null ? null : ownedDigest(values),
    managers: [...new Set(managers.filter((entry) => !isOurEntry(entry)).map(({ manager }) => manager))].sort(byText),
    trackedBy: trackedBy(labels, annotations, managers),
    terminating: typeof metadata['deletionTimestamp'] === 'string',
  };
}

/** Where anything of it is ours, what somebody else wrote says nothing of what we applied. */
function revisionOf(annotations: Readonly<Record<string, string>>, managers: readonly FieldManager[]): RevisionId | null {
  const ours = managers.filter(isOurEntry);
  const counts = ours.length === 0 || ours.some(({ fields }) => fields['f:metadata']?.['f:annotations']?.['f:dory.io/revision'] !== undefined);
  return counts ? positive(annotations['dory.io/revision']) as RevisionId | null : null;
}

export function positive(text: string | undefined): number | null {
  const value = Number(text);
  return Number.isSafeInteger(value) && value > 0 ? value : null;
}

/** The annotation is Argo CD's own; its label is one that others set as well, so that its manager has to be there too. */
function trackedBy(labels: Readonly<Record<string, string>>, annotations: Readonly<Record<string, string>>, managers: readonly FieldManager[]): string | null {
  const tracking = annotations['argocd.argoproj.io/tracking-id'];
  if (tracking !== undefined) return tracking.split(':')[0] ?? '';
  const instance = labels['app.kubernetes.io/instance'] ?? labels['argocd.argoproj.io/instance'];
  return instance !== undefined && managers.some(({ manager }) => manager === argoManager) ? instance : null;
}

export const argoManager = 'argocd-controller';

import { z } from 'zod';

/** Any object, before its reader has looked at the rest of it. */
export interface KubeObject {
  readonly metadata: KubeMetadata;
  readonly [field: string]: unknown;
}

interface KubeMetadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly generation?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly [field: string]: unknown;
}

export const objectSchema = z.custom<KubeObject>(isKubeObject, 'it is no object of Kubernetes');

/** By hand: every object of the fleet comes by here, several times. */
export function isKubeObject(value: unknown): value is KubeObject {
  if (!isMap(value) || !isMap(value['metadata'])) return false;
  const { name, namespace, uid, resourceVersion, generation, labels, annotations } = value['metadata'];
  return typeof name === 'string' && typeof uid === 'string' && typeof resourceVersion === 'string'
    && isOptional(namespace, 'string') && isOptional(generation, 'number') && areTexts(labels) && areTexts(annotations);
}

function isOptional(value: unknown, type: 'string' | 'number'): boolean {
  return value === undefined || typeof value === type;
}

function areTexts(value: unknown): boolean {
  if (value === undefined) return true;
  if (!isMap(value)) return false;
  for (const key in value) if (typeof value[key] !== 'string') return false;
  return true;
}

export function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

import { createHmac } from 'node:crypto';
import { z } from 'zod';
import type { KubeObject } from '../platform/kube/watch.ts';
import type { Random } from '../platform/random.ts';
import { ourValues } from './live.ts';

/** Stands for a value in this process, and says nothing of it outside. */
export type Mark = string;
/** Marks the bytes of a value. */
export type Marker = (bytes: Buffer) => Mark;

/** With a key that nobody else has, and that ends with the process: a mark says nothing to anybody. */
export function markerOf(random: Random): Marker {
  const key = Buffer.from(random.hex(32), 'hex');
  return (bytes) => createHmac('sha256', key).update(bytes).digest('base64url').slice(0, 22);
}

/** A Secret of the cluster that bears our label, without its values. */
export interface LiveSecret {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** The annotation `dory.io/secret-version`; 0 without one. */
  readonly version: number;
  /** The keys that our field manager owns, with a mark of each value: what we wrote last, for who changes a value takes its field over. */
  readonly owned: ReadonlyMap<string, Mark>;
}

export const versionAnnotation = 'dory.io/secret-version';
/** The label by which members are found, as everywhere. */
export const ourLabel = { key: 'managed-by', value: 'dory-orchestrator' } as const;

const ourNames = /^dory-(?:env|sensor)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Only Secrets with names as `observe` gives them are ever removed. */
export function isOurSecret({ name }: Pick<LiveSecret, 'name'>): boolean {
  return ourNames.test(name);
}

export function bearsOurLabel({ metadata }: KubeObject): boolean {
  return metadata.labels?.[ourLabel.key] === ourLabel.value;
}

const ownedSchema = z.object({ data: z.record(z.string(), z.string()) });

export function readSecret(object: KubeObject, mark: Marker): LiveSecret {
  const { name, namespace = '', uid, resourceVersion, annotations = {} } = object.metadata;
  const owned = ownedSchema.safeParse(ourValues(object));
  const values = owned.success ? Object.entries(owned.data.data) : [];
  return { namespace, name, uid, resourceVersion, version: versionIn(annotations), owned: new Map(values.map(([key, value]) => [key, mark(Buffer.from(value, 'base64'))])) };
}

function versionIn(annotations: Readonly<Record<string, string>>): number {
  const text = annotations[versionAnnotation] ?? '';
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : 0;
}

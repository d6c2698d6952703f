import { createHmac } from 'node:crypto';
import { z } from 'zod';
import type { KubeObject } from '../platform/kube/object.ts';
import type { Random } from '../platform/random.ts';
import { isOurEntry, managersOf, ourValues } from './live.ts';

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
  /** Whether our field manager ever wrote it: by its label alone it may be anybody's. */
  readonly managed: boolean;
  /** The keys that our field manager owns, with a mark of each value: what we wrote last, for who changes a value takes its field over. */
  readonly owned: ReadonlyMap<string, Mark>;
}

export const versionAnnotation = 'dory.io/secret-version';
/** The label by which members are found, as everywhere. */
export const ourLabel = { key: 'managed-by', value: 'dory-orchestrator' } as const;

const ourNames = /^dory-(?:env|sensor)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Only what we wrote, under names as `observe` gives them, is ever removed. */
export function isOurSecret({ name, managed }: Pick<LiveSecret, 'name' | 'managed'>): boolean {
  return managed && ourNames.test(name);
}

export function bearsOurLabel({ metadata }: KubeObject): boolean {
  return metadata.labels?.[ourLabel.key] === ourLabel.value;
}

const dataSchema = z.object({ data: z.record(z.string(), z.string()) });

export function readSecret(object: KubeObject, mark: Marker): LiveSecret {
  const { name, namespace = '', uid, resourceVersion, annotations = {} } = object.metadata;
  const managers = managersOf(object);
  const owned = dataSchema.safeParse(ourValues(object, managers));
  const values = owned.success ? owned.data.data : {};
  return { namespace, name, uid, resourceVersion, version: versionIn(annotations), managed: managers.some(isOurEntry), owned: marksIn(values, mark) };
}

/** Of all its values, whoever wrote them. */
export function readValues(object: KubeObject, mark: Marker): ReadonlyMap<string, Mark> {
  const all = dataSchema.safeParse(object);
  return marksIn(all.success ? all.data.data : {}, mark);
}

function marksIn(values: Readonly<Record<string, string>>, mark: Marker): ReadonlyMap<string, Mark> {
  return new Map(Object.entries(values).map(([key, value]) => [key, mark(Buffer.from(value, 'base64'))]));
}

function versionIn(annotations: Readonly<Record<string, string>>): number {
  const text = annotations[versionAnnotation] ?? '';
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : 0;
}

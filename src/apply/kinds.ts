import { z } from 'zod';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeAnswer, KubeRequest } from '../platform/kube/write.ts';
import type { ObjectRef } from './objects.ts';

/** Where the API server keeps which kind of object: it is asked once for each group and version, and again for a kind that it did not have. */
export interface Kinds {
  locate(ref: ObjectRef, send: Send): Promise<Located>;
  /** What was known of this group and version no longer holds. */
  forget(apiVersion: string): void;
}

export type Send = (request: KubeRequest) => Promise<KubeAnswer>;

export type Located =
  /** `path` of the object, without a query; `all` of its kind, in every namespace. */
  | { readonly kind: 'found'; readonly path: string; readonly all: string; readonly namespaced: boolean }
  | { readonly kind: 'unknown' }
  /** The question itself failed. */
  | { readonly kind: 'trouble'; readonly answer: KubeAnswer };

interface Resource {
  readonly plural: string;
  readonly namespaced: boolean;
}

const listSchema = z.object({ resources: z.array(z.object({ name: z.string(), namespaced: z.boolean(), kind: z.string() })) });

/** A kind may come at any time; many objects of one that does not come are one question. */
const askAgainAfter = seconds(1);

export function createKinds(clock: Clock): Kinds {
  const known = new Map<string, { readonly at: Millis; readonly resources: ReadonlyMap<string, Resource> }>();
  const asking = new Map<string, Promise<KubeAnswer | null>>();
  /** @returns null once it is known */
  const ask = async (apiVersion: string, send: Send): Promise<KubeAnswer | null> => {
    const answer = await send({ method: 'GET', path: rootOf(apiVersion) });
    const resources = answer.kind === 'answered' ? resourcesOf(answer.status, answer.body) : null;
    if (resources === null) return answer;
    known.set(apiVersion, { at: clock.monotonic(), resources });
    return null;
  };
  const askOnce = (apiVersion: string, send: Send): Promise<KubeAnswer | null> => {
    const answer = asking.get(apiVersion) ?? ask(apiVersion, send).finally(() => { asking.delete(apiVersion); });
    asking.set(apiVersion, answer);
    return answer;
  };
  return {
    locate: async (ref, send) => {
      const before = known.get(ref.apiVersion);
      if (before?.resources.has(ref.kind) !== true && clock.monotonic() - (before?.at ?? Number.NEGATIVE_INFINITY) > askAgainAfter) {
        const trouble = await askOnce(ref.apiVersion, send);
        if (trouble !== null) return { kind: 'trouble', answer: trouble };
      }
      const resource = known.get(ref.apiVersion)?.resources.get(ref.kind);
      return resource === undefined ? { kind: 'unknown' } : { kind: 'found', path: pathOf(ref, resource), all: `${rootOf(ref.apiVersion)}/${resource.plural}`, namespaced: resource.namespaced };
    },
    forget: (apiVersion) => { known.delete(apiVersion); },
  };
}

/** Why an object can't be where it says it is; null if it can. */
export function misplaced({ kind, namespace }: ObjectRef, { namespaced }: Extract<Located, { kind: 'found' }>): string | null {
  if (namespaced === (namespace !== null)) return null;
  return namespaced ? `it names no namespace, and a ${kind} lies in one` : `it names the namespace ${String(namespace)}, and a ${kind} belongs to the whole cluster`;
}

function rootOf(apiVersion: string): string {
  return `${apiVersion.includes('/') ? '/apis' : '/api'}/${apiVersion}`;
}

/** Null if the answer says nothing about what there is. A group that the server does not know is no more than 404. */
function resourcesOf(status: number, body: unknown): ReadonlyMap<string, Resource> | null {
  if (status === 404) return new Map();
  const { success, data } = listSchema.safeParse(body);
  if (!success) return null;
  // `statefulsets/status` and the like are parts of one.
  return new Map(data.resources.filter(({ name }) => !name.includes('/')).map(({ name, namespaced, kind }) => [kind, { plural: name, namespaced }]));
}

function pathOf({ apiVersion, namespace, name }: ObjectRef, { plural, namespaced }: Resource): string {
  const folder = namespaced ? `/namespaces/${encodeURIComponent(namespace ?? '')}` : '';
  return `${rootOf(apiVersion)}${folder}/${plural}/${encodeURIComponent(name)}`;
}

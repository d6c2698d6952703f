import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { objectSchema, type KubeObject } from '../platform/kube/object.ts';
import type { KubeAnswer, KubeRequest, KubeWriter } from '../platform/kube/write.ts';
import type { KindRef } from './compare.ts';
import type { JsonPatch } from './hand-over.ts';
import { misplaced, type Kinds, type Located } from './kinds.ts';
import type { ObjectRef } from './objects.ts';

/** Single objects of the cluster, read and patched where a watch does not show enough. */
export interface ClusterObjects {
  /** Where all of a kind is listed; null: the cluster has no such kind. @throws Failure `kubernetes-unreachable` */
  listOf(kind: KindRef): Promise<string | null>;
  /** Null: there is none, or there can be none. @throws Failure `kubernetes-unreachable`, `kubernetes-refused` */
  read(ref: ObjectRef): Promise<KubeObject | null>;
  /** Whether a namespace has any of a kind with these labels. Throws as `read`. */
  hasAny(kind: KindRef, namespace: string, labelSelector: string): Promise<boolean>;
  /** False: somebody wrote in between, or it is gone. Throws as `read`. */
  patch(ref: ObjectRef, patch: JsonPatch): Promise<boolean>;
}

const listSchema = z.object({ items: z.array(z.unknown()) });

export function createClusterObjects(writer: KubeWriter, kinds: Kinds): ClusterObjects {
  const send = (request: KubeRequest): Promise<KubeAnswer> => writer.send(request);
  const locate = async (ref: ObjectRef): Promise<Extract<Located, { kind: 'found' }> | null> => {
    const located = await kinds.locate(ref, send);
    if (located.kind === 'trouble') throw troubleOf(located.answer, `GET ${ref.apiVersion}`);
    return located.kind === 'found' ? located : null;
  };
  return {
    listOf: async ({ apiVersion, kind }) => (await locate({ apiVersion, kind, namespace: null, name: 'any' }))?.all ?? null,
    read: async (ref) => {
      const located = await locate(ref);
      if (located === null || misplaced(ref, located) !== null) return null;
      const { path } = located;
      const answer = await send({ method: 'GET', path });
      if (answer.kind === 'answered' && answer.status === 404) return null;
      if (answer.kind === 'answered' && answer.status === 200) return objectSchema.parse(answer.body);
      throw troubleOf(answer, `GET ${path}`);
    },
    hasAny: async ({ apiVersion, kind }, namespace, labelSelector) => {
      const located = await locate({ apiVersion, kind, namespace, name: 'any' });
      if (located === null) return false;
      const path = `${located.path.slice(0, located.path.lastIndexOf('/'))}?${new URLSearchParams({ labelSelector, limit: '1' }).toString()}`;
      const answer = await send({ method: 'GET', path });
      if (answer.kind === 'answered' && answer.status === 200) return listSchema.parse(answer.body).items.length > 0;
      throw troubleOf(answer, `GET ${path}`);
    },
    patch: async (ref, patch) => {
      const path = (await locate(ref))?.path;
      if (path === undefined) return false;
      const answer = await send({ method: 'PATCH', path, body: { type: 'application/json-patch+json', text: JSON.stringify(patch) } });
      if (answer.kind === 'answered' && answer.status < 300) return true;
      if (answer.kind === 'answered' && [404, 409, 422].includes(answer.status)) return false;
      throw troubleOf(answer, `PATCH ${path}`);
    },
  };
}

function troubleOf(answer: KubeAnswer, what: string): Failure {
  if (answer.kind !== 'answered') return new Failure('kubernetes-unreachable', `Kubernetes can't be reached (${what}): ${answer.why}`);
  const refused = answer.status === 401 || answer.status === 403;
  return new Failure(refused ? 'kubernetes-refused' : 'kubernetes-unreachable', `Kubernetes answered ${what} with ${String(answer.status)}.`, refused
    ? { mend: 'The ClusterRoles of clusters/<cluster>/system/orchestrator-access.yaml allow what is needed; check that they are applied, and whose credentials these are.' }
    : {});
}

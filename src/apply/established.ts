import { z } from 'zod';
import type { Kinds, Send } from './kinds.ts';
import type { ObjectRef } from './objects.ts';

const crdSchema = z.object({
  spec: z.object({ group: z.string(), names: z.object({ kind: z.string() }), versions: z.array(z.object({ name: z.string(), served: z.boolean() })) }),
  status: z.object({ conditions: z.array(z.object({ type: z.string(), status: z.string(), message: z.string().catch('') })).catch([]) }).catch({ conditions: [] }),
});

/**
 * Whether a CustomResourceDefinition is of use: the server says so, and lists the kind that it defines.
 * @returns why it is not, for a person; null if it is
 */
export async function notEstablished(crd: ObjectRef, { kinds, send }: { readonly kinds: Kinds; readonly send: Send }): Promise<string | null> {
  const located = await kinds.locate(crd, send);
  const answer = located.kind === 'found' ? await send({ method: 'GET', path: located.path }) : null;
  const { success, data } = crdSchema.safeParse(answer?.kind === 'answered' ? answer.body : null);
  if (!success) return 'it can\'t be read';
  const { spec, status: { conditions } } = data;
  if (!conditions.some(({ type, status }) => type === 'Established' && status === 'True')) {
    return conditions.find(({ type, status }) => type === 'NamesAccepted' && status === 'False')?.message ?? 'the server has not looked at it yet';
  }
  for (const { name } of spec.versions.filter(({ served }) => served)) {
    const apiVersion = `${spec.group}/${name}`;
    kinds.forget(apiVersion);
    const kind = await kinds.locate({ apiVersion, kind: spec.names.kind, namespace: null, name: '' }, send);
    if (kind.kind !== 'found') return `${apiVersion} is not served yet`;
  }
  return null;
}

import { z } from 'zod';
import { seconds, type Millis } from '../model/time.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { secretKey, type SecretSurplus } from './secrets.ts';

/**
 * Credentials that nothing needs any more are removed, late: a manifest that refers to them may be on its way, and a pod that
 * can't find a key of its Secret does not start. So they were not needed for a while, no placement was rendered with them, and nothing
 * in their namespace refers to them.
 */
export interface SurplusMemory {
  /** Since when each was seen to be surplus, on the monotonic clock, by `surplusKey`. */
  readonly since: Map<string, Millis>;
  /** When so many may be removed again. */
  nextAt: Millis;
}

/** Longer than any GitOps tool takes to sync, and than a person to put back a row. */
export const surplusGrace = seconds(600);
/** At most so many at once, or a tenth of all: rows that vanish by mistake vanish together. */
const leastBudget = 10;
const budgetShare = 0.1;

const surplusKey = ({ live, keys }: SecretSurplus): string => [secretKey(live), live.uid, ...(keys ?? [])].join(' ');

/** Which of it has been surplus for long enough, within the budget; remembers the rest. */
export function ripe(memory: SurplusMemory, surplus: readonly SecretSurplus[], { now, all, needed }: { readonly now: Millis; readonly all: number; readonly needed: number }): readonly SecretSurplus[] {
  const keys = new Set(surplus.map(surplusKey));
  for (const key of [...memory.since.keys()]) if (!keys.has(key)) memory.since.delete(key);
  for (const key of keys) if (!memory.since.has(key)) memory.since.set(key, now);
  // Nothing at all is needed: that is a table that could not be read, or a fleet that was taken down. People remove what is left of it.
  if (needed === 0 || now < memory.nextAt) return [];
  const old = surplus.filter((each) => now - (memory.since.get(surplusKey(each)) ?? now) >= surplusGrace);
  return old.slice(0, Math.max(leastBudget, Math.floor(all * budgetShare)));
}

export interface Use {
  readonly name: string;
  /** Null: the whole Secret. */
  readonly key: string | null;
}

const listSchema = z.object({ metadata: z.object({ continue: z.string().optional() }), items: z.array(z.unknown()).nullable() });

/** What pods and StatefulSets of a namespace, whoever's they are, refer to, each once. @throws Failure `kubernetes-*` */
export async function usesIn(client: KubeClient, namespace: string): Promise<readonly Use[]> {
  const uses = new Map<string, Use>();
  for (const path of [`/api/v1/namespaces/${namespace}/pods`, `/apis/apps/v1/namespaces/${namespace}/statefulsets`]) {
    let token: string | undefined;
    do {
      const { metadata, items } = listSchema.parse((await client.get(path, { limit: '500', continue: token })).body);
      for (const item of items ?? []) collect(item, uses);
      token = metadata.continue === '' ? undefined : metadata.continue;
    } while (token !== undefined);
  }
  return [...uses.values()];
}

/** `secretKeyRef` and `secretRef` of containers, `secret` of volumes, wherever they stand. */
function collect(value: unknown, uses: Map<string, Use>): void {
  if (typeof value !== 'object' || value === null) return;
  for (const [field, inner] of Object.entries(value)) {
    if (field === 'secretKeyRef' || field === 'secretRef' || field === 'secret') {
      const { name, secretName, key } = (inner ?? {}) as { readonly name?: unknown; readonly secretName?: unknown; readonly key?: unknown };
      const used = typeof name === 'string' ? name : secretName;
      const part = typeof key === 'string' ? key : null;
      if (typeof used === 'string') uses.set(`${used} ${part ?? ''}`, { name: used, key: part });
    }
    collect(inner, uses);
  }
}

export function isUsed({ live, keys }: SecretSurplus, uses: readonly Use[]): boolean {
  return uses.some(({ name, key }) => name === live.name && (keys === null || key === null || keys.includes(key)));
}

export interface UseSources {
  /** @throws Failure `database-*` */
  readonly rendered: (names: readonly string[]) => Promise<readonly (Use & { readonly namespace: string })[]>;
  /** What the cluster has in a namespace. @throws Failure `kubernetes-*` */
  readonly inNamespace: (namespace: string) => Promise<readonly Use[]>;
}

/** Of these, what nothing refers to. All objects of a namespace are read for it, once for all that is in question there. */
export async function unusedOf(surplus: readonly SecretSurplus[], { rendered, inNamespace }: UseSources): Promise<readonly SecretSurplus[]> {
  const manifests = await rendered([...new Set(surplus.map(({ live }) => live.name))]);
  const left = surplus.filter((each) => !isUsed(each, manifests.filter(({ namespace }) => namespace === each.live.namespace)));
  const unused: SecretSurplus[] = [];
  for (const namespace of new Set(left.map(({ live }) => live.namespace))) {
    const uses = await inNamespace(namespace);
    unused.push(...left.filter((each) => each.live.namespace === namespace && !isUsed(each, uses)));
  }
  return unused;
}

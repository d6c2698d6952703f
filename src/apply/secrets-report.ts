import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { objectSchema } from '../platform/kube/object.ts';
import { inBatches } from '../platform/pg.ts';
import { bearsOurLabel, isOurSecret, ourLabel, readSecret, type LiveSecret, type Marker } from './secrets-live.ts';
import { compareSecret, secretKey, type NeededSecret, type SecretsView, type SecretState } from './secrets.ts';

/** One Secret, without anything of its values. */
export interface SecretReport {
  readonly namespace: string;
  readonly name: string;
  /** What manifests refer to, sorted. */
  readonly keys: readonly string[];
  /** Of those, what the database has no value for, sorted. */
  readonly withoutValue: readonly string[];
  /** Null where no cluster was asked. */
  readonly state: ReportedState | null;
  /** A value was replaced in the database, and its pods were not restarted with it. */
  readonly restartPending: boolean;
}

/**
 * `not-ours`: one of that name lacks our label. `newer`: another database wrote it. `unused`: ours, and nothing needs it any more.
 * The others as `SecretState`.
 */
type ReportedState = SecretState | 'not-ours' | 'newer' | 'unused';

const asksAtOnce = 16;

/** What is needed, and how it is; sorted by namespace, then name; at the end what is unused. @throws Failure `kubernetes-*` */
export async function reportSecrets(view: Omit<SecretsView, 'live'>, cluster: { readonly client: KubeClient; readonly mark: Marker } | null): Promise<readonly SecretReport[]> {
  const live = cluster === null ? null : await listSecrets(cluster);
  const reports: SecretReport[] = [];
  for (const batch of inBatches(view.needed, asksAtOnce)) {
    reports.push(...(await Promise.all(batch.map(async (secret): Promise<SecretReport> => {
      const withoutValue = secret.keys.filter((key) => view.marks.get(secret.name)?.has(key) !== true);
      const state = cluster === null || live === null ? null : await stateOf(view, secret, live, cluster.client);
      const { version, begun } = view.versions.get(secret.name) ?? { version: 1, begun: 1 };
      return { ...secret, withoutValue, state, restartPending: begun > version };
    }))));
  }
  const needed = new Set(view.needed.map(secretKey));
  const unused = [...(live?.values() ?? [])].filter((secret) => isOurSecret(secret) && !needed.has(secretKey(secret)));
  return [...reports, ...unused.map(({ namespace, name, owned }): SecretReport => ({ namespace, name, keys: [...owned.keys()].sort(), withoutValue: [], state: 'unused', restartPending: false }))];
}

const listSchema = z.object({ metadata: z.object({ continue: z.string().optional() }), items: z.array(z.unknown()).nullable() });

async function listSecrets({ client, mark }: { readonly client: KubeClient; readonly mark: Marker }): Promise<ReadonlyMap<string, LiveSecret>> {
  const live = new Map<string, LiveSecret>();
  let token: string | undefined;
  do {
    const { body } = await client.get('/api/v1/secrets', { labelSelector: `${ourLabel.key}=${ourLabel.value}`, limit: '500', continue: token });
    const { metadata, items } = listSchema.parse(body);
    for (const item of items ?? []) {
      const secret = readSecret(objectSchema.parse(item), mark);
      live.set(secretKey(secret), secret);
    }
    token = metadata.continue === '' ? undefined : metadata.continue;
  } while (token !== undefined);
  return live;
}

async function stateOf(view: Omit<SecretsView, 'live'>, secret: NeededSecret, live: ReadonlyMap<string, LiveSecret>, client: KubeClient): Promise<ReportedState> {
  const { state, live: found } = compareSecret({ marks: view.marks, live }, secret);
  if (found !== null) return found.version > (view.versions.get(secret.name)?.begun ?? 1) ? 'newer' : state;
  try {
    const { body } = await client.get(`/api/v1/namespaces/${secret.namespace}/secrets/${secret.name}`, {});
    return bearsOurLabel(objectSchema.parse(body)) ? state : 'not-ours';
  } catch (error) {
    if (error instanceof Failure && error.code === 'kubernetes-missing') return 'missing';
    throw error;
  }
}

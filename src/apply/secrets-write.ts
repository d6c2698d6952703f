import { z } from 'zod';
import type { Credentials } from '../model/credentials.ts';
import { Failure } from '../model/failure.ts';
import type { Digest } from '../model/ids.ts';
import { objectSchema, type KubeObject } from '../platform/kube/object.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import { inBatches } from '../platform/pg.ts';
import type { Action, Outcome } from './actions.ts';
import type { Executor, Pass } from './execute.ts';
import type { LiveObject, ObjectRef } from './objects.ts';
import { refusalOf } from './refusal.ts';
import { bearsOurLabel, ourLabel, versionAnnotation, type LiveSecret, type Mark } from './secrets-live.ts';
import type { SecretWrite } from './secrets.ts';

export interface SecretsWriter {
  readonly writer: KubeWriter;
  readonly executor: Executor;
  readonly pass: Pass;
}

/** A write, and what it takes: the values, and the keys of ours that end with it; others that are not needed any more stay for now. */
export interface FilledWrite extends SecretWrite {
  readonly values: Credentials;
  /** Of all the values: what failed with these is not tried again with these. */
  readonly mark: Mark;
  readonly drops: ReadonlySet<string>;
}

/** How a Secret ended; nothing of its content is in it. */
export type SecretOutcome = Exclude<Outcome, { live: unknown }> | { readonly kind: 'created' | 'configured' | 'unchanged' | 'pruned'; readonly ref: ObjectRef };

const refOfSecret = ({ namespace, name }: { readonly namespace: string; readonly name: string }): ObjectRef => ({ apiVersion: 'v1', kind: 'Secret', namespace, name });

/** As many requests as the executor begins with. */
const looksAtOnce = 16;

/** One outcome for each. A Secret of that name without our label is somebody else's, and stays as it is. */
export async function writeSecrets(to: SecretsWriter, writes: readonly FilledWrite[]): Promise<readonly SecretOutcome[]> {
  const outcomes: SecretOutcome[] = [];
  const actions: Action[] = [];
  for (const batch of inBatches(writes, looksAtOnce)) {
    const prepared = await Promise.all(batch.map(async (write) => ({ write, ready: await prepare(to.writer, write) })));
    for (const { write, ready } of prepared) {
      if ('kind' in ready) outcomes.push(ready);
      else actions.push(applying(write, ready.carried));
    }
  }
  const { outcomes: executed } = await to.executor.execute(actions, to.pass);
  return [...outcomes, ...executed.map(withoutLive)];
}

/** Only these very objects: the UID is a precondition. */
export async function deleteSecrets(to: SecretsWriter, secrets: readonly LiveSecret[]): Promise<readonly SecretOutcome[]> {
  const { outcomes } = await to.executor.execute(secrets.map((secret) => ({ kind: 'prune', live: liveObject(secret) })), to.pass);
  return outcomes.map(withoutLive);
}

function withoutLive(outcome: Outcome): SecretOutcome {
  return 'live' in outcome ? { kind: outcome.kind, ref: outcome.ref } : outcome;
}

/** Values in base64, as they stand in the cluster: keys of ours that pods on the way out may still refer to. */
type Carried = Readonly<Record<string, string>>;

/** Looks at what is there, where that matters: at whether it is somebody else's, and at values that are to stay. */
async function prepare(writer: KubeWriter, write: FilledWrite): Promise<{ readonly carried: Carried } | SecretOutcome> {
  const kept = [...(write.live?.owned.keys() ?? [])].filter((key) => !write.values.has(key) && !write.drops.has(key));
  if (write.live !== null && kept.length === 0) return { carried: {} };
  const found = await lookAt(writer, write);
  if (found === null) return { carried: {} };
  if ('kind' in found) return found;
  const { object, data } = found;
  if (!bearsOurLabel(object)) return skipped(write, 'not-ours', `it lacks the label ${ourLabel.key}=${ourLabel.value}; with it, its keys of these names are taken over`);
  // The watch is behind: the next look knows it.
  if (object.metadata.uid !== write.live?.uid) return skipped(write, 'partial-knowledge', 'it was created a moment ago');
  return { carried: Object.fromEntries(Object.entries(data).filter(([key]) => kept.includes(key))) };
}

const dataSchema = z.looseObject({ data: z.record(z.string(), z.string()).nullish() });

/** Null where there is none. */
async function lookAt(writer: KubeWriter, { namespace, name }: SecretWrite): Promise<{ readonly object: KubeObject; readonly data: Carried } | SecretOutcome | null> {
  const ref = refOfSecret({ namespace, name });
  const answer = await writer.send({ method: 'GET', path: `/api/v1/namespaces/${namespace}/secrets/${name}` });
  if (answer.kind !== 'answered') throw new Failure('kubernetes-unreachable', `Kubernetes can't be reached: ${answer.why}`);
  if (answer.status === 404) return null;
  const object = objectSchema.safeParse(answer.body);
  if (answer.status !== 200 || !object.success) {
    const { reason, detail, retry } = refusalOf(answer, 'apply', ref);
    return { kind: 'failed', ref, reason, detail, retry };
  }
  return { object: object.data, data: dataSchema.safeParse(answer.body).data?.data ?? {} };
}

function skipped(write: SecretWrite, reason: 'not-ours' | 'partial-knowledge', detail: string): SecretOutcome {
  return { kind: 'skipped', ref: refOfSecret(write), reason, detail };
}

function applying(write: FilledWrite, carried: Carried): Action {
  const { live } = write;
  return {
    kind: 'apply',
    // What is not there is not taken over should somebody else create it now; what is ours is ours whoever changed it.
    force: live !== null,
    why: live === null ? 'missing' : 'changed',
    live: live === null ? null : liveObject(live),
    desired: {
      ref: refOfSecret(write),
      path: '',
      yaml: secretManifest(write, carried),
      digest: write.mark as Digest,
      processorId: null,
      epoch: null,
    },
  };
}

/** JSON, which is YAML. */
export function secretManifest({ namespace, name, version, values, live }: Pick<FilledWrite, 'namespace' | 'name' | 'version' | 'values' | 'live'>, carried: Carried = {}): string {
  const own = [...values].map(([key, value]) => [key, Buffer.from(value.reveal(), 'utf8').toString('base64')] as const);
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name,
      namespace,
      ...(live === null ? {} : { uid: live.uid }),
      labels: { [ourLabel.key]: ourLabel.value },
      annotations: { [versionAnnotation]: String(version) },
    },
    type: 'Opaque',
    data: { ...carried, ...Object.fromEntries(own) },
  });
}

function liveObject(secret: LiveSecret): LiveObject {
  const { uid, resourceVersion } = secret;
  return { ref: refOfSecret(secret), uid, resourceVersion, processorId: null, epoch: null, revision: null, owned: null, managers: [], trackedBy: null, terminating: false };
}

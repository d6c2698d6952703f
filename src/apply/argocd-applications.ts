import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { millis, seconds } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { KubeObject } from '../platform/kube/object.ts';
import { createKubeCache, type KubeCache } from '../platform/kube/watch.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import type { CommitOrder } from './argocd-commits.ts';
import type { Push } from './argocd.ts';

/** An Application as Argo CD's controller shows it. */
export interface ApplicationState {
  readonly name: string;
  /** The folder that it syncs, from the root of the repository. */
  readonly path: string;
  /** The commit that it was compared with last. */
  readonly commit: string | null;
  /** `Synced`, `OutOfSync`, `Unknown`. */
  readonly sync: string;
  /** `Healthy`, `Progressing`, `Degraded`, `Suspended`, `Missing`, `Unknown`. */
  readonly health: string;
  /** Of the last sync; null before the first. */
  readonly operation: ApplicationSync | null;
  /** Why it can't be compared or synced, or not with all of its objects, such as `ComparisonError`; null: it can. */
  readonly problem: string | null;
  /** It syncs what is committed by itself. */
  readonly automatic: boolean;
  /** It deletes what is gone from Git. */
  readonly prunes: boolean;
}

interface ApplicationSync {
  /** `Running`, `Succeeded`, `Failed`, `Error`, `Terminating`. */
  readonly phase: string;
  /** An attempt failed, and none has succeeded since: while it is tried again its phase is `Running`. */
  readonly failing: boolean;
  /** What it brought to the cluster, or tried to. */
  readonly commit: string | null;
  readonly message: string;
}

export interface ApplicationsOptions {
  readonly client: KubeClient;
  readonly writer: KubeWriter;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly namespace: string;
  /** Only Applications with this label are looked at. */
  readonly label: string;
  readonly holds: CommitOrder['holds'];
  readonly onChange: (before: ApplicationState | null, after: ApplicationState | null) => void;
}

/** Applications as a copy that the cluster keeps up to date, and the one request that they take. */
export interface Applications {
  readonly cache: KubeCache<ApplicationState>;
  /**
   * Asks the controller to compare at once the Applications of whose folder something changed, until `over` is aborted.
   * @throws Failure `argocd-unreachable`, `argocd-refused`
   */
  refresh(push: Push, over: AbortSignal): Promise<void>;
  /**
   * Whether, a few seconds from now at the latest, all Applications concerned have looked at the commit, or at a newer one. True also where that can't be seen.
   *
   * The controller takes the request away when it has compared, whatever was asked meanwhile: of two pushes within the second, the second would be forgotten until its poll.
   */
  readonly looked: (push: Push, over: AbortSignal) => Promise<boolean>;
}

/** A comparison takes a second or two. */
const lookWithin = seconds(5);
const lookEvery = millis(50);
/** The watch gives a sign each `signEvery`: two that did not come, and what it shows may be old. */
const signEvery = seconds(6);
const unseenAfter = millis(2 * signEvery);

/** So many patches at once: 64 Applications are told in eight rounds of some 10 ms. */
const lanes = 8;

export function createApplications(options: ApplicationsOptions): Applications {
  const { client, clock, random, log, namespace, label, writer, holds } = options;
  const folder = `/apis/argoproj.io/v1alpha1/namespaces/${namespace}/applications`;
  const cache = createKubeCache<ApplicationState>({
    client, clock, random, log,
    path: folder,
    labelSelector: label,
    metadataOnly: false,
    read: readApplication,
    signEvery,
    onChange: options.onChange,
    onState: () => undefined,
  });
  const patch = { type: 'application/merge-patch+json', text: JSON.stringify({ metadata: { annotations: { 'argocd.argoproj.io/refresh': 'normal' } } }) } as const;
  const refreshOne = async (name: string): Promise<void> => {
    const answer = await writer.send({ method: 'PATCH', path: `${folder}/${name}`, body: patch });
    if (answer.kind !== 'answered') throw new Failure('argocd-unreachable', `The Application ${name} could not be told to refresh: ${answer.why}`);
    // One that is gone has nothing to refresh.
    if (answer.status < 300 || answer.status === 404) return;
    const code = answer.status >= 500 || answer.status === 429 ? 'argocd-unreachable' : 'argocd-refused';
    throw new Failure(code, `The Application ${name} could not be told to refresh: the server answered ${String(answer.status)}.`, {
      mend: `Allow to patch applications.argoproj.io in ${namespace}: the Role is in clusters/<cluster>/system/orchestrator-access.yaml.`,
    });
  };
  const isWatched = (): boolean => {
    const aliveAt = cache.aliveAt();
    return aliveAt !== null && clock.monotonic() - aliveAt < unseenAfter;
  };
  const looked: Applications['looked'] = async ({ commit, paths }, over) => {
    const end = clock.monotonic() + lookWithin;
    const has = (name: string): boolean => holds(cache.items.get(`${namespace}/${name}`)?.commit ?? null, commit);
    while (!concerned(cache.items.values(), paths).every(has)) {
      if (over.aborted || clock.monotonic() >= end) return !isWatched();
      await clock.sleep(lookEvery, over).catch(() => undefined);
    }
    return true;
  };
  return {
    cache,
    looked,
    refresh: async (push, over) => {
      if (cache.aliveAt() === null) throw new Failure('argocd-unreachable', `The Applications in ${namespace} are not known yet.`);
      const names = concerned(cache.items.values(), push.paths);
      const rest = names.values();
      await Promise.all(Array.from({ length: Math.min(lanes, names.length) }, async () => {
        for (const name of rest) {
          if (over.aborted) return;
          await refreshOne(name);
        }
      }));
      if (over.aborted) throw new Failure('argocd-unreachable', 'The program ends before all Applications were told to refresh.');
    },
  };
}

/** Those of whose folder something changed, by name. */
export function concerned(applications: Iterable<Pick<ApplicationState, 'name' | 'path'>>, paths: Push['paths']): readonly string[] {
  if (paths === null) return [...applications].map(({ name }) => name).sort();
  // A path lies below each of its folders: looked up, so that 50,000 paths and 64 folders are not compared each with each.
  const folders = new Set(paths.flatMap((path) => [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index))));
  return [...applications].filter(({ path }) => folders.has(path)).map(({ name }) => name).sort();
}

const operationSchema = z.object({
  phase: z.string(),
  message: z.string().catch(''),
  retryCount: z.number().catch(0),
  syncResult: z.object({ revision: z.string().optional() }).optional().catch(undefined),
});
const automatedSchema = z.object({ enabled: z.boolean().optional(), prune: z.boolean().optional() });
const applicationSchema = z.object({
  spec: z.object({
    source: z.object({ path: z.string() }).optional().catch(undefined),
    syncPolicy: z.object({ automated: automatedSchema.optional() }).optional().catch(undefined),
  }),
  status: z
    .object({
      sync: z.object({ status: z.string(), revision: z.string().optional() }).optional().catch(undefined),
      health: z.object({ status: z.string() }).optional().catch(undefined),
      operationState: operationSchema.optional().catch(undefined),
      conditions: z.array(z.object({ type: z.string(), message: z.string().catch('') })).optional().catch(undefined),
    })
    .prefault({}),
});

/** Of what a controller says about a failure: enough for a person. */
const longestText = 300;

/** With these, objects of ours are left out, or another Application has them too; other warnings are no reason why something does not run. */
const tellingWarnings: readonly string[] = ['ExcludedResourceWarning', 'SharedResourceWarning', 'RepeatedResourceWarning'];

export function readApplication(object: KubeObject): ApplicationState {
  const { spec: { source, syncPolicy }, status: { sync, health, operationState, conditions } } = applicationSchema.parse(object);
  return {
    name: object.metadata.name,
    path: source?.path ?? '',
    commit: given(sync?.revision),
    sync: sync?.status ?? 'Unknown',
    health: health?.status ?? 'Unknown',
    operation: operationState === undefined ? null : syncOf(operationState),
    problem: problemOf(conditions ?? []),
    ...policyOf(object, syncPolicy?.automated),
  };
}

function problemOf(conditions: readonly { readonly type: string; readonly message: string }[]): string | null {
  const problem = conditions.find(({ type }) => type.endsWith('Error')) ?? conditions.find(({ type }) => tellingWarnings.includes(type));
  return problem === undefined ? null : `${problem.type}: ${problem.message}`.slice(0, longestText);
}

function policyOf({ metadata: { annotations } }: KubeObject, automated: z.output<typeof automatedSchema> | undefined): Pick<ApplicationState, 'automatic' | 'prunes'> {
  const isReconciled = annotations?.['argocd.argoproj.io/skip-reconcile'] !== 'true';
  return { automatic: isReconciled && automated !== undefined && automated.enabled !== false, prunes: automated?.prune === true };
}

function syncOf({ phase, message, retryCount, syncResult }: z.output<typeof operationSchema>): ApplicationSync {
  return {
    phase,
    failing: phase === 'Failed' || phase === 'Error' || (phase === 'Running' && retryCount > 0),
    commit: given(syncResult?.revision),
    // When it tries again next changes with each attempt, and is no news.
    message: message.replace(/\s*Retrying attempt #\d+ at .*$/s, '').slice(0, longestText),
  };
}

function given(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

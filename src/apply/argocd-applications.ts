import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { millis, seconds } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { createKubeCache, type KubeCache, type KubeObject } from '../platform/kube/watch.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
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
  /** Why it can't be compared or synced, such as `ComparisonError`; null: it can. */
  readonly problem: string | null;
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
  readonly onChange: (before: ApplicationState | null, after: ApplicationState | null) => void;
}

/** Applications as a copy that the cluster keeps up to date, and the one request that they take. */
export interface Applications {
  readonly cache: KubeCache<ApplicationState>;
  /**
   * Asks the controller to compare at once the Applications of whose folder something changed.
   * @throws Failure `argocd-unreachable`, `argocd-refused`
   */
  refresh(push: Push): Promise<void>;
  /**
   * To be called before it is told of a push; what is answered tells, after that, whether all Applications concerned have looked at the commit, or at a newer one.
   *
   * Its controller takes the request away when it has compared, whatever was asked meanwhile: of two pushes within the second, the second would be forgotten until its poll.
   */
  readonly expect: (push: Push) => (over: AbortSignal) => Promise<boolean>;
}

/** A comparison takes a second or two. */
const lookWithin = seconds(5);
const lookEvery = millis(50);
/** Commits of ours that are known to be older than the newest: more than can be under way. */
const mostKnown = 200;

/** So many patches at once: 64 Applications are told in eight rounds of some 10 ms. */
const lanes = 8;

export function createApplications(options: ApplicationsOptions): Applications {
  const { client, clock, random, log, namespace, label, writer } = options;
  const folder = `/apis/argoproj.io/v1alpha1/namespaces/${namespace}/applications`;
  const cache = createKubeCache<ApplicationState>({
    client, clock, random, log,
    path: folder,
    labelSelector: label,
    metadataOnly: false,
    read: readApplication,
    signEvery: seconds(6),
    onChange: options.onChange,
    onState: () => undefined,
  });
  const known = new Set<string>();
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
  const expect: Applications['expect'] = (push) => {
    const names = concerned(cache.items.values(), push.paths);
    const shown = (name: string): string | null => cache.items.get(`${namespace}/${name}`)?.commit ?? null;
    for (const commit of [push.before, ...names.map(shown), push.commit]) if (commit !== null) known.add(commit);
    for (const commit of [...known].slice(0, -mostKnown)) known.delete(commit);
    const older = new Set([...known].filter((commit) => commit !== push.commit));
    const isSeen = (name: string): boolean => {
      const commit = shown(name);
      // A commit that we never heard of is somebody's newer one.
      return commit !== null && !older.has(commit);
    };
    return async (over) => {
      const end = clock.monotonic() + lookWithin;
      while (!names.every(isSeen)) {
        if (over.aborted || clock.monotonic() >= end) return false;
        await clock.sleep(lookEvery, over).catch(() => undefined);
      }
      return true;
    };
  };
  return {
    cache,
    expect,
    refresh: async (push) => {
      if (cache.aliveAt() === null) throw new Failure('argocd-unreachable', `The Applications in ${namespace} are not known yet.`);
      const names = concerned(cache.items.values(), push.paths);
      const rest = names.values();
      await Promise.all(Array.from({ length: Math.min(lanes, names.length) }, async () => {
        for (const name of rest) await refreshOne(name);
      }));
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
const applicationSchema = z.object({
  spec: z.object({ source: z.object({ path: z.string() }).optional().catch(undefined) }),
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

export function readApplication(object: KubeObject): ApplicationState {
  const { spec, status: { sync, health, operationState, conditions } } = applicationSchema.parse(object);
  // Warnings are no reason why something does not run.
  const problem = conditions?.find(({ type }) => type.endsWith('Error'));
  return {
    name: object.metadata.name,
    path: spec.source?.path ?? '',
    commit: given(sync?.revision),
    sync: sync?.status ?? 'Unknown',
    health: health?.status ?? 'Unknown',
    operation: operationState === undefined ? null : syncOf(operationState),
    problem: problem === undefined ? null : `${problem.type}: ${problem.message}`.slice(0, longestText),
  };
}

function syncOf({ phase, message, retryCount, syncResult }: z.output<typeof operationSchema>): ApplicationSync {
  return {
    phase,
    failing: phase === 'Failed' || phase === 'Error' || (phase === 'Running' && retryCount > 0),
    commit: given(syncResult?.revision),
    message: message.slice(0, longestText),
  };
}

function given(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text;
}

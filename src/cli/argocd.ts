import { readFile } from 'node:fs/promises';
import { clusterLabel } from '../../charts-ts/argocd/index.ts';
import { concerned, createApplications, type Applications, type ApplicationState } from '../apply/argocd-applications.ts';
import { createCommitOrder } from '../apply/argocd-commits.ts';
import { createProgress } from '../apply/argocd-progress.ts';
import { recordArgocd, recordedApplications, type Telling } from '../apply/argocd-record.ts';
import { sendWebhook } from '../apply/argocd-webhook.ts';
import { createNotifier, type Notifier, type NotifierOptions, type NotifyResult, type Push } from '../apply/argocd.ts';
import { Failure } from '../model/failure.ts';
import { createAccess, type KubeSource } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { Runtime } from './runtime.ts';

/** Argo CD, where it applies what is committed: told of pushes, and watched. None of it fails a cycle. */
export interface Argocd {
  /** Begins to watch. */
  start(): void;
  pushed(push: Push): void;
  /** Stores how Applications are, if that changed since the last time. For the leader. */
  record(): Promise<void>;
  /** Resolves when everything was told or given up. */
  idle(): Promise<void>;
  readonly close: () => Promise<void>;
}

/** Null where Argo CD does not apply what is committed. @throws Failure `settings-invalid` if a kubeconfig can't be read */
export async function openArgocd(runtime: Runtime, metrics: Metrics): Promise<Argocd | null> {
  const { settings, kubernetes, log } = runtime;
  if (settings.apply !== 'argocd') return null;
  const source: KubeSource | null = settings.argocd.kubeconfig === null ? kubernetes : { kind: 'file', path: settings.argocd.kubeconfig };
  const watched = source === null ? null : await watchApplications(runtime, metrics, source);
  if (watched === null) log.warn('no cluster is configured: the state of Argo CD is not seen');
  const notifier = notifierOf(runtime, metrics, watched);
  return {
    start: () => { watched?.applications.cache.start(); },
    pushed: (push) => {
      watched?.pushed(push);
      notifier?.pushed(push);
    },
    record: async () => { if (watched !== null) await record(runtime, metrics, watched); },
    idle: async () => { await notifier?.idle(); },
    close: async () => {
      // Both at once: what is being told may wait for a server that does not answer, and ends with its connection.
      await Promise.all([notifier?.close(), watched?.close()]);
    },
  };
}

interface Watched {
  readonly applications: Applications;
  pushed(push: Push): void;
  /** What changed and is not stored: by name; null: gone. */
  readonly unstored: Map<string, ApplicationState | null>;
  /** The newest commit that concerns an Application, where that is not stored: by name. */
  readonly awaited: Map<string, string>;
  /** How it was to tell Argo CD of the last push, where that is not stored. */
  telling: Telling | undefined;
  /** Whether what was stored before we watched was looked through for Applications that are gone. */
  compared: boolean;
  close(): Promise<void>;
}

async function watchApplications({ clock, random, log, settings }: Runtime, metrics: Metrics, source: KubeSource): Promise<Watched> {
  const access = createAccess(source);
  await access.connect();
  const client = createKubeClient(access);
  const commits = createCommitOrder();
  const progress = createProgress(commits);
  const unstored: Watched['unstored'] = new Map();
  const awaited: Watched['awaited'] = new Map();
  const applications = createApplications({
    client, clock, random, log,
    writer: createKubeWriter(access),
    namespace: settings.argocd.namespace,
    label: `${clusterLabel}=${settings.cluster}`,
    holds: commits.holds,
    onChange: (before, after) => {
      const name = after?.name ?? before?.name ?? '';
      unstored.set(name, after);
      if (after === null) return;
      if (isNewFailure(before, after)) metrics.argocdSyncFailures.inc();
      for (const took of progress.seen(after, clock.monotonic())) metrics.argocdSyncSeconds.observe(took / 1000);
    },
  });
  const pushed = (push: Push): void => {
    const known = [...applications.cache.items.values()];
    commits.pushed(push.commit, [push.before, ...known.map(({ commit }) => commit)]);
    progress.pushed(push, known, clock.monotonic());
    for (const name of concerned(known, push.paths)) awaited.set(name, push.commit);
  };
  const close = async (): Promise<void> => {
    client.close();
    await applications.cache.close();
  };
  return { applications, pushed, unstored, awaited, telling: undefined, compared: false, close };
}

/** Null: Argo CD is not told. */
function notifierOf({ clock, random, log, settings }: Runtime, metrics: Metrics, watched: Watched | null): Notifier | null {
  const tell = tellOf(settings, watched?.applications ?? null);
  if (tell === null) {
    if (settings.argocd.notify !== 'none') log.warn('Argo CD can\'t be told of pushes without a cluster, or without a webhook: it sees them at its next poll');
    return null;
  }
  const onResult = (result: NotifyResult, commit: string, failure: Failure | null): void => {
    metrics.argocdNotifications.inc({ result });
    if (result === 'retried' || watched === null) return;
    watched.telling = { commit, trouble: failure === null ? null : { why: failure.message, mend: failure.mend, fellBack: result === 'fell-back' } };
  };
  return createNotifier({ tell, clock, random, log, onResult });
}

type Send = (push: Push, closing: AbortSignal) => Promise<void>;
type Over = Parameters<NotifierOptions['tell']>[1];

/** Null: Argo CD is not told. Where it is watched, it is seen to look. */
function tellOf({ argocd, git }: Settings, applications: Applications | null): NotifierOptions['tell'] | null {
  const { notify, webhookUrl, webhookCaFile } = argocd;
  const repoUrl = argocd.repoUrl ?? git.url;
  const refresh: Send | null = applications === null ? null : (push, closing) => applications.refresh(push, closing);
  const looked = (push: Push, { newer, closing }: Over): Promise<boolean> => applications?.looked(push, AbortSignal.any([newer, closing])) ?? Promise.resolve(true);
  if (notify === 'none') return null;
  if (notify === 'refresh') {
    return refresh === null ? null : async (push, over) => {
      await refresh(push, over.closing);
      return { looked: await looked(push, over), despite: null };
    };
  }
  if (webhookUrl === null || repoUrl === null) return null;
  const settings = { url: webhookUrl, repoUrl, branch: git.branch, secret: () => secretOf(argocd), caFile: webhookCaFile };
  return webhookOr((push) => sendWebhook(settings, push), refresh, looked);
}

/** A failover must not wait for a server that only people need: where the webhook does not do, the annotation does. What a person has to mend is the webhook. */
function webhookOr(webhook: Send, refresh: Send | null, looked: (push: Push, over: Over) => Promise<boolean>): NotifierOptions['tell'] {
  return async (push, over) => {
    const failure = await webhook(push, over.closing).then(() => null, (error: unknown) => {
      if (error instanceof Failure) return error;
      throw error;
    });
    if (failure === null && (await looked(push, over))) return { looked: true, despite: null };
    if (over.newer.aborted || over.closing.aborted || refresh === null) {
      if (failure !== null) throw failure;
      return { looked: false, despite: null };
    }
    await refresh(push, over.closing).catch((error: unknown) => { throw failure ?? error; });
    const isSeen = await looked(push, over);
    return { looked: isSeen, despite: failure ?? (isSeen ? notTaken() : null) };
  };
}

function notTaken(): Failure {
  return new Failure('argocd-unreachable', 'Argo CD took the webhook, and no Application looked at the commit until it was told by annotation.', {
    mend: "Check that the Applications name the repository by argocd.repoUrl (or git.url) and follow git.branch, and that webhook.refresh.jitter of argocd-cm is 0.",
  });
}

async function secretOf({ webhookSecret, webhookSecretFile }: Settings['argocd']): Promise<string> {
  if (webhookSecretFile === null) return webhookSecret ?? '';
  try {
    return (await readFile(webhookSecretFile, 'utf8')).trim();
  } catch (cause) {
    throw new Failure('argocd-refused', `argocd.webhookSecretFile can't be read: ${cause instanceof Error ? cause.message : String(cause)}.`, { mend: 'Mount the Secret there, or name another file.', cause });
  }
}

async function record({ pool, log }: Runtime, metrics: Metrics, watched: Watched): Promise<void> {
  const { applications: { cache }, unstored, awaited, telling } = watched;
  if (cache.aliveAt() === null) return;
  metrics.argocdApplications.reset();
  for (const { sync, health } of cache.items.values()) metrics.argocdApplications.inc({ sync, health });
  if (watched.compared && unstored.size === 0 && awaited.size === 0 && telling === undefined) return;
  const [taken, concern] = [new Map(unstored), new Map(awaited)];
  unstored.clear();
  awaited.clear();
  watched.telling = undefined;
  try {
    const gone = watched.compared ? [] : (await recordedApplications(pool)).filter((name) => !taken.has(name));
    const removed = [...taken].filter(([, state]) => state === null).map(([name]) => name);
    await recordArgocd(pool, { changed: [...taken.values()].filter((state) => state !== null), removed: [...removed, ...gone], awaited: concern, telling });
    watched.compared = true;
  } catch (error) {
    for (const [name, state] of taken) if (!unstored.has(name)) unstored.set(name, state);
    for (const [name, commit] of concern) if (!awaited.has(name)) awaited.set(name, commit);
    watched.telling ??= telling;
    log.warn({ err: error }, 'the state of Argo CD\'s Applications could not be stored; it is tried again after the next cycle');
  }
}

function isNewFailure(before: ApplicationState | null, { operation }: ApplicationState): boolean {
  return operation?.failing === true && (before?.operation?.failing !== true || before.operation.commit !== operation.commit);
}

import { readFile } from 'node:fs/promises';
import { clusterLabel } from '../../charts-ts/argocd/index.ts';
import { createApplications, type Applications, type ApplicationState } from '../apply/argocd-applications.ts';
import { createProgress } from '../apply/argocd-progress.ts';
import { recordApplications, recordedApplications } from '../apply/argocd-record.ts';
import { sendWebhook } from '../apply/argocd-webhook.ts';
import { createNotifier, type Notifier, type NotifierOptions, type Push } from '../apply/argocd.ts';
import { Failure } from '../model/failure.ts';
import { createAccess, type KubeSource } from '../platform/kube/access.ts';
import { createKubeClient } from '../platform/kube/client.ts';
import { createKubeWriter } from '../platform/kube/write.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Settings } from '../platform/settings-schema.ts';
import { argocdProps } from './argocd-settings.ts';
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
  if (argocdProps(settings) === null) log.warn('argocd.repoUrl is not set, and git.url is nothing that Argo CD can clone: no Applications are written');
  const source: KubeSource | null = settings.argocd.kubeconfig === null ? kubernetes : { kind: 'file', path: settings.argocd.kubeconfig };
  const watched = source === null ? null : await watchApplications(runtime, metrics, source);
  if (watched === null) log.warn('no cluster is configured: the state of Argo CD is not seen');
  const notifier = notifierOf(runtime, metrics, watched?.applications ?? null);
  return {
    start: () => { watched?.applications.cache.start(); },
    pushed: (push) => {
      watched?.progress.pushed(push, watched.applications.cache.items.values(), runtime.clock.monotonic());
      notifier?.pushed(push);
    },
    record: async () => { if (watched !== null) await record(runtime, metrics, watched); },
    idle: async () => { await notifier?.idle(); },
    close: async () => {
      await notifier?.close();
      await watched?.close();
    },
  };
}

interface Watched {
  readonly applications: Applications;
  readonly progress: ReturnType<typeof createProgress>;
  /** What changed and is not stored: by name; null: gone. */
  readonly unstored: Map<string, ApplicationState | null>;
  /** Whether what was stored before we watched was looked through for Applications that are gone. */
  compared: boolean;
  close(): Promise<void>;
}

async function watchApplications({ clock, random, log, settings }: Runtime, metrics: Metrics, source: KubeSource): Promise<Watched> {
  const access = createAccess(source);
  await access.connect();
  const client = createKubeClient(access);
  const progress = createProgress();
  const unstored: Watched['unstored'] = new Map();
  const applications = createApplications({
    client, clock, random, log,
    writer: createKubeWriter(access),
    namespace: settings.argocd.namespace,
    label: `${clusterLabel}=${settings.cluster}`,
    onChange: (before, after) => {
      const name = after?.name ?? before?.name ?? '';
      unstored.set(name, after);
      if (after === null) return;
      if (isNewFailure(before, after)) metrics.argocdSyncFailures.inc();
      for (const took of progress.seen(after, clock.monotonic())) metrics.argocdSyncSeconds.observe(took / 1000);
    },
  });
  const close = async (): Promise<void> => {
    await applications.cache.close();
    client.close();
  };
  return { applications, progress, unstored, compared: false, close };
}

/** Null: Argo CD is not told. */
function notifierOf({ clock, random, log, settings }: Runtime, metrics: Metrics, applications: Applications | null): Notifier | null {
  const tell = tellOf(settings, applications);
  if (tell === null) {
    if (settings.argocd.notify !== 'none') log.warn('Argo CD can\'t be told of pushes without a cluster, or without a webhook: it sees them at its next poll');
    return null;
  }
  return createNotifier({ tell, clock, random, log, onResult: (result) => { metrics.argocdNotifications.inc({ result }); } });
}

type Send = (push: Push) => Promise<void>;

/** Null: Argo CD is not told. Where it is watched, it is seen to look. */
function tellOf(settings: Settings, applications: Applications | null): NotifierOptions['tell'] | null {
  const send = sendOf(settings, applications);
  if (send === null) return null;
  return async (push, newer) => {
    const looked = applications?.expect(push);
    await send(push);
    return looked === undefined ? true : looked(newer);
  };
}

function sendOf({ argocd, git }: Settings, applications: Applications | null): Send | null {
  const { notify, webhookUrl, webhookCaFile } = argocd;
  const repoUrl = argocd.repoUrl ?? git.url;
  if (notify === 'refresh') return applications === null ? null : (push) => applications.refresh(push);
  if (notify === 'none' || webhookUrl === null || repoUrl === null) return null;
  return (push) => sendWebhook({ url: webhookUrl, repoUrl, branch: git.branch, secret: () => secretOf(argocd), caFile: webhookCaFile }, push);
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
  const { applications: { cache }, unstored } = watched;
  if (cache.aliveAt() === null) return;
  metrics.argocdApplications.reset();
  for (const { sync, health } of cache.items.values()) metrics.argocdApplications.inc({ sync, health });
  if (watched.compared && unstored.size === 0) return;
  const taken = new Map(unstored);
  unstored.clear();
  try {
    const gone = watched.compared ? [] : (await recordedApplications(pool)).filter((name) => !cache.items.has(name));
    const removed = [...taken].filter(([, state]) => state === null).map(([name]) => name);
    await recordApplications(pool, [...taken.values()].filter((state) => state !== null), [...removed, ...gone]);
    watched.compared = true;
  } catch (error) {
    for (const [name, state] of taken) if (!unstored.has(name)) unstored.set(name, state);
    log.warn({ err: error }, 'the state of Argo CD\'s Applications could not be stored; it is tried again after the next cycle');
  }
}

function isNewFailure(before: ApplicationState | null, { operation }: ApplicationState): boolean {
  return operation?.failing === true && (before?.operation?.failing !== true || before.operation.commit !== operation.commit);
}

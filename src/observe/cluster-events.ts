import { z } from 'zod';
import type { LiveMember, LivePod, LiveSet, PodTrouble } from '../model/rollout.ts';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { Log } from '../platform/log.ts';
import { createClusterPoll, type ClusterPoll } from './cluster-poll.ts';
import { cutWords } from './pod-trouble.ts';

/**
 * What only events tell: why a StatefulSet has no pod (a quota, an admission policy, a missing ServiceAccount), and why a pod that is
 * bound to a node does not get ready although its status names nothing (a volume, the network, a probe). Events have no labels to choose
 * by, and there are more of them than of anything else, so they are not watched: where a set is short of pods, or a pod makes no
 * headway, those of its namespace that speak of such are read every few seconds. Where none is, nothing is read.
 */
export interface EventWords extends ClusterPoll {
  /** The words of the API server; null where there are none. */
  ofSets(sets: readonly LiveSet[]): string | null;
  /** The same pod, with the trouble that events warn of where its status names none. */
  ofPod(pod: LivePod): LivePod;
}

export interface EventWordsOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly sets: () => Iterable<LiveSet>;
  readonly pods: () => Iterable<LivePod>;
  /** Of this processor something was learned. */
  readonly onRead: (processorId: string) => void;
}

/** Between the end of one pod and the next there are moments. */
const shortFor = seconds(2);
/** Most pods are ready by then, and nobody asks why. */
const idleFor = seconds(10);
const pageSize = '500';
/** A namespace with more such events than this has trouble that no single one explains. */
const mostPages = 10;
/** What an event may be older than what it explains: clocks of the cluster differ, and a watch takes its time. */
const slack = seconds(10);

const eventSchema = z.object({
  involvedObject: z.object({ uid: z.string().default('') }),
  reason: z.string().default(''),
  message: z.string().default(''),
  lastTimestamp: z.string().nullish(),
  eventTime: z.string().nullish(),
  series: z.object({ lastObservedTime: z.string() }).nullish(),
});
type Event = z.output<typeof eventSchema>;
const listSchema = z.object({ metadata: z.object({ continue: z.string().optional() }), items: z.array(eventSchema).nullable() });

/** Events of one kind of object in one namespace. */
interface Subject {
  readonly kind: 'StatefulSet' | 'Pod';
  readonly namespace: string;
}

const selectors = {
  StatefulSet: 'involvedObject.kind=StatefulSet,reason=FailedCreate',
  Pod: 'involvedObject.kind=Pod,type=Warning',
} as const satisfies Record<Subject['kind'], string>;

export function createEventWords(options: EventWordsOptions): EventWords {
  const { client, clock, log, onRead } = options;
  /** By the UID of the set or the pod. */
  const found = new Map<string, PodTrouble>();
  let wanted: Wanted = { StatefulSet: new Map(), Pod: new Map() };
  const poll = createClusterPoll<Subject>({
    clock, log, what: 'events of a namespace',
    subjects: () => {
      wanted = wantedOf(options);
      for (const uid of [...found.keys()]) if (!wanted.StatefulSet.has(uid) && !wanted.Pod.has(uid)) found.delete(uid);
      return (['StatefulSet', 'Pod'] as const).flatMap((kind) => [...new Set([...wanted[kind].values()].map(({ namespace }) => namespace))].map((namespace) => ({ kind, namespace })));
    },
    read: async (subject, signal) => {
      for (const [member, trouble] of newest(await readEvents(client, subject, signal), wanted[subject.kind], clock.monotonic())) {
        const before = found.get(member.uid);
        if (before?.reason === trouble.reason && before.words === trouble.words) continue;
        found.set(member.uid, trouble);
        onRead(member.processorId);
      }
    },
  });
  return {
    ...poll,
    ofSets: (sets) => sets.filter(({ short }) => short).map(({ uid }) => found.get(uid)?.words).find((words) => words !== undefined) ?? null,
    ofPod: (pod) => {
      if (pod.ready || pod.trouble !== null) return pod;
      const trouble = found.get(pod.uid);
      return trouble === undefined ? pod : { ...pod, trouble };
    },
  };
}

type Wanted = Readonly<Record<Subject['kind'], ReadonlyMap<string, LiveMember>>>;

function wantedOf({ clock, sets, pods }: EventWordsOptions): Wanted {
  const now = clock.monotonic();
  const short = [...sets()].filter((set) => set.short && now - set.since >= shortFor);
  const idle = [...pods()].filter((pod) => !pod.ready && !pod.terminating && pod.trouble === null && pod.node !== null && now - pod.since >= idleFor);
  return { StatefulSet: new Map(short.map((set) => [set.uid, set])), Pod: new Map(idle.map((pod) => [pod.uid, pod])) };
}

interface Read {
  readonly events: readonly Event[];
  /** The cluster's clock; null if it tells none. */
  readonly date: number | null;
}

async function readEvents(client: KubeClient, { kind, namespace }: Subject, signal: AbortSignal): Promise<Read> {
  const events: Event[] = [];
  let [token, date]: [string | undefined, number | null] = [undefined, null];
  for (let page = 0; page < mostPages; page += 1) {
    const query = { fieldSelector: selectors[kind], limit: pageSize, continue: token };
    const answer = await client.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/events`, query, { signal });
    const { metadata, items } = listSchema.parse(answer.body);
    events.push(...(items ?? []));
    ({ date } = answer);
    if (metadata.continue === undefined || metadata.continue === '') break;
    token = metadata.continue;
  }
  return { events, date };
}

/** The last that was told of each, since it is as it is: what was told before was about something else. */
function newest({ events, date }: Read, members: ReadonlyMap<string, LiveMember>, now: Millis): ReadonlyMap<LiveMember, PodTrouble> {
  const told = new Map<LiveMember, { readonly at: number; readonly trouble: PodTrouble }>();
  for (const event of events) {
    const member = members.get(event.involvedObject.uid);
    const trouble = troubleIn(event);
    const at = timeOf(event);
    if (member === undefined || trouble === null || at < (told.get(member)?.at ?? 0)) continue;
    if (date !== null && date - at > now - member.since + slack) continue;
    told.set(member, { at, trouble });
  }
  return new Map([...told].map(([member, { trouble }]) => [member, trouble]));
}

function timeOf({ series, lastTimestamp, eventTime }: Event): number {
  return Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? '') || 0;
}

/** What a pod needs on its node before its containers start. */
const startReasons: ReadonlySet<string> = new Set(['FailedMount', 'FailedAttachVolume', 'FailedMapVolume', 'FailedCreatePodSandBox', 'NetworkNotReady']);

/** Null: the pod's status tells the same, or it may hold what a container wrote. */
function troubleIn({ reason, message }: Event): PodTrouble | null {
  if (reason === 'FailedCreate') return { kind: 'unstarted', reason, words: cutWords(withoutPlace(message)) };
  if (startReasons.has(reason)) return { kind: 'unstarted', reason, words: cutWords(message) };
  return reason === 'Unhealthy' ? { kind: 'unhealthy', reason, words: cutWords(probeWords(message)) } : null;
}

/** Without `create Pod cam-0 in StatefulSet cam failed error: `, which says what is known. */
function withoutPlace(message: string): string {
  return message.replace(/^create Pod \S+ in StatefulSet \S+ failed error: /, '');
}

/** `Readiness probe failed: HTTP probe failed with statuscode: 503`; what a command printed is left out. */
function probeWords(message: string): string {
  const [what = '', ...rest] = message.split(': ');
  const why = rest.join(': ');
  return /^(?:HTTP probe failed|Get "|dial tcp|timeout)/.test(why) ? message : what;
}

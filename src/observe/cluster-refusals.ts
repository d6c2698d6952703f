import { z } from 'zod';
import type { LiveSet } from '../model/rollout.ts';
import { seconds } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { Log } from '../platform/log.ts';
import { cutWords } from './pod-trouble.ts';

/**
 * Why a StatefulSet has no pod: a quota, an admission policy, a missing ServiceAccount. Its controller tells that in an event and
 * nowhere else. Events have no labels to choose by, and there are more of them than of anything else, so they are not watched: where a
 * set is short of pods, those of its namespace that speak of such are read every few seconds. Where none is, nothing is read.
 */
export interface RefusalReader {
  /** The words of the API server; null where there are none. */
  of(sets: readonly LiveSet[]): string | null;
  start(): void;
  close(): Promise<void>;
}

export interface RefusalReaderOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly log: Log;
  /** Sets that have been short of pods for a while. */
  readonly short: () => readonly LiveSet[];
  /** Of this processor something was learned. */
  readonly onRead: (processorId: string) => void;
}

const readEvery = seconds(5);
const pageSize = '500';
/** A namespace with more such events than this has trouble that no single one explains. */
const mostPages = 10;

const eventSchema = z.object({
  involvedObject: z.object({ uid: z.string().default('') }),
  message: z.string().default(''),
  lastTimestamp: z.string().nullish(),
  eventTime: z.string().nullish(),
  series: z.object({ lastObservedTime: z.string() }).nullish(),
});
type Event = z.output<typeof eventSchema>;
const listSchema = z.object({ metadata: z.object({ continue: z.string().optional() }), items: z.array(eventSchema).nullable() });

export function createRefusalReader(options: RefusalReaderOptions): RefusalReader {
  const closing = new AbortController();
  /** By the UID of the set. */
  const words = new Map<string, string>();
  let done = Promise.resolve();
  return {
    of: (sets) => sets.filter(({ short }) => short).map(({ uid }) => words.get(uid)).find((text) => text !== undefined) ?? null,
    start: () => { done = keepReading(options, words, closing.signal); },
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

async function keepReading({ client, clock, log, short, onRead }: RefusalReaderOptions, words: Map<string, string>, signal: AbortSignal): Promise<void> {
  // A sleep that is cut short is the end.
  while (await clock.sleep(readEvery, signal).then(() => true, () => false)) {
    const sets = new Map(short().map((set) => [set.uid, set]));
    for (const uid of [...words.keys()]) if (!sets.has(uid)) words.delete(uid);
    for (const namespace of new Set([...sets.values()].map((set) => set.namespace))) {
      try {
        for (const [uid, message] of newest(await readEvents(client, namespace, signal))) {
          const set = sets.get(uid);
          if (set === undefined || words.get(uid) === message) continue;
          words.set(uid, message);
          onRead(set.processorId);
        }
      } catch (error) {
        if (signal.aborted) return;
        log.debug({ err: error, namespace }, 'events could not be read');
      }
    }
  }
}

async function readEvents(client: KubeClient, namespace: string, signal: AbortSignal): Promise<readonly Event[]> {
  const events: Event[] = [];
  let token: string | undefined;
  for (let page = 0; page < mostPages; page += 1) {
    const query = { fieldSelector: 'reason=FailedCreate,involvedObject.kind=StatefulSet', limit: pageSize, continue: token };
    const { body } = await client.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/events`, query, { signal });
    const { metadata, items } = listSchema.parse(body);
    events.push(...(items ?? []));
    if (metadata.continue === undefined || metadata.continue === '') break;
    token = metadata.continue;
  }
  return events;
}

/** By the UID of its set, the last that was told. */
function newest(events: readonly Event[]): ReadonlyMap<string, string> {
  const timeOf = ({ series, lastTimestamp, eventTime }: Event): number => Date.parse(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? '') || 0;
  return new Map([...events].sort((a, b) => timeOf(a) - timeOf(b)).map(({ involvedObject, message }) => [involvedObject.uid, wordsOf(message)]));
}

/** Without `create Pod cam-0 in StatefulSet cam failed error: `, which says what is known. */
function wordsOf(message: string): string {
  return cutWords(message.replace(/^create Pod \S+ in StatefulSet \S+ failed error: /, ''));
}

import { z } from 'zod';
import { Failure } from '../../model/failure.ts';
import { millis, seconds, type Millis } from '../../model/time.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { Random } from '../random.ts';
import { backoff } from '../retry.ts';
import { refusal, type KubeClient } from './client.ts';
import { objectSchema, type KubeObject } from './object.ts';

/**
 * A copy of one kind of object, kept as the cluster changes it.
 *
 * It is listed once, in pages, and then watched from the version of the list on. A watch that ends, however it ends, goes on
 * from the last version that was seen, so that nothing is missed; only where the server has forgotten that version (410), or
 * knows less than we have seen, all is listed again, and what changed is told as changes.
 *
 * A quiet stream and a dead one look alike. So each watch is asked to end after a few seconds: the server then sends a bookmark
 * before the end, and the end itself in its time, both of which are signs of life; and before each watch a list of one object is
 * read, which the server answers from its store and not from memory. A watch that was accepted is a sign, too, unless the last
 * one was silent for longer than one that is alive can be. `aliveAt` is the last such sign.
 */
export interface KubeCache<T> {
  /** By `namespace/name`, or by name. */
  readonly items: ReadonlyMap<string, T>;
  /** The last sign of life, on the monotonic clock; null before the first complete list. */
  aliveAt(): Millis | null;
  /** Begins to list and to watch. */
  start(): void;
  /** Ends the watch and waits for its end. */
  close(): Promise<void>;
}

export interface KubeCacheOptions<T> {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** `/api/v1/nodes`. */
  readonly path: string;
  readonly labelSelector: string;
  /** Labels and the like are enough: neither specs, which may hold secrets, nor their cost. */
  readonly metadataOnly: boolean;
  /** What is kept of an object, given what was kept of it before. */
  readonly read: (object: KubeObject, before: T | null) => T;
  /** A watch that is alive gives a sign of life at least so often. Whole seconds, from 1. */
  readonly signEvery: Millis;
  /** What it throws is logged, and ends nothing. */
  readonly onChange: (before: T | null, after: T | null) => void;
  /** The copy is up to date, or it can't be kept so; told when it changes. What it throws is logged as well. */
  readonly onState: (up: boolean) => void;
}

const listSchema = z.object({ metadata: z.object({ resourceVersion: z.string(), continue: z.string().optional() }), items: z.array(z.unknown()).nullable() });
const eventSchema = z.object({ type: z.enum(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR']), object: z.unknown() });
const bookmarkSchema = z.object({ metadata: z.object({ resourceVersion: z.string() }) });
const errorSchema = z.object({ code: z.number().catch(0), message: z.string().catch('') });

/** What a page of objects costs the server; kubectl's own. */
const pageSize = '500';
/** A server sends a bookmark so long before it ends a watch. */
const bookmarkBeforeEnd = seconds(2);
/** How much longer than a watch a line may be silent: more than a slow server needs. */
const slowness = seconds(4);
const acceptance = millis(500);
/** A server that comes back gets all of us at once: not too fast, and not too long after it. */
const troublePause = { first: millis(200), longest: seconds(5) };
/** A watch that is cut is nothing to tell of, as long as the next one holds. */
const failuresToTell = 2;

export function createKubeCache<T>(options: KubeCacheOptions<T>): KubeCache<T> {
  const closing = new AbortController();
  const state: State<T> = { items: new Map(), version: null, aliveAt: null, failures: 0, mute: false, up: null };
  let done = Promise.resolve();
  return {
    items: state.items,
    aliveAt: () => state.aliveAt,
    start: () => { done = keep(options, state, closing.signal); },
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

interface State<T> {
  readonly items: Map<string, T>;
  /** From here the next watch goes on; null: everything has to be listed. */
  version: string | null;
  aliveAt: Millis | null;
  /** In a row: a list is no success as long as no watch goes on from it. */
  failures: number;
  /** The last watch said nothing when it had to: as long as no line comes, that one is accepted proves nothing. */
  mute: boolean;
  up: boolean | null;
}

async function keep<T>(options: KubeCacheOptions<T>, state: State<T>, signal: AbortSignal): Promise<void> {
  const { clock, random } = options;
  while (!signal.aborted) {
    try {
      state.version = await current(options, state, signal);
      const begun = clock.monotonic();
      await follow(options, state, state.version, signal);
      // A server, or what stands before it, that ends each watch at once is not asked as fast as it answers.
      if (clock.monotonic() - begun < acceptance) await clock.sleep(acceptance, signal).catch(() => undefined);
    } catch (error) {
      if (isOver(signal)) return;
      failed(options, state, error);
      await clock.sleep(backoff(troublePause, state.failures, random), signal).catch(() => undefined);
    }
  }
}

/** A question of its own: the compiler takes the loop's condition for the answer. */
function isOver(signal: AbortSignal): boolean {
  return signal.aborted;
}

function failed<T>(options: KubeCacheOptions<T>, state: State<T>, error: unknown): void {
  const { log, path, onState } = options;
  if (error instanceof Failure && error.code === 'kubernetes-expired') state.version = null;
  state.failures += 1;
  if (state.failures < failuresToTell || state.up === false) return;
  state.up = false;
  log.warn({ err: error, path }, 'the cluster can\'t be watched');
  guarded(options, () => { onState(false); });
}

function alive<T>(options: KubeCacheOptions<T>, state: State<T>): void {
  const { clock, log, path, onState } = options;
  state.aliveAt = clock.monotonic();
  if (state.up === true) return;
  state.up = true;
  log.info({ path, objects: state.items.size }, 'watching the cluster');
  guarded(options, () => { onState(true); });
}

/** The version to watch from. Asks the server's store, not its memory, and lists everything where that is the only way to be sure. */
async function current<T>(options: KubeCacheOptions<T>, state: State<T>, signal: AbortSignal): Promise<string> {
  if (state.version === null) return list(options, state, signal);
  const probe = await page(options, { limit: '1' }, signal);
  // A store that knows less than we have seen was restored from a backup: a watch from our version on would be silent.
  return Number(probe.metadata.resourceVersion) < Number(state.version) ? list(options, state, signal) : state.version;
}

async function list<T>(options: KubeCacheOptions<T>, state: State<T>, signal: AbortSignal): Promise<string> {
  // Of each page only what is kept of it: whole pods of a large fleet are more than memory has.
  const listed = new Map<string, T>();
  let at: z.output<typeof listSchema>['metadata'];
  let token: string | undefined;
  do {
    const { metadata, items } = await page(options, { limit: pageSize, continue: token }, signal);
    for (const item of items ?? []) {
      const object = objectSchema.parse(item);
      const key = keyOf(object);
      listed.set(key, options.read(object, state.items.get(key) ?? null));
    }
    at = metadata;
    token = at.continue === '' ? undefined : at.continue;
  } while (token !== undefined);
  for (const [key, after] of listed) keepOne(options, state, key, after);
  for (const key of [...state.items.keys()]) if (!listed.has(key)) remove(options, state, key);
  alive(options, state);
  return at.resourceVersion;
}

async function page<T>({ client, path, labelSelector, metadataOnly }: KubeCacheOptions<T>, query: Readonly<Record<string, string | undefined>>, signal: AbortSignal): Promise<z.output<typeof listSchema>> {
  const accept = metadataOnly ? { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' } : {};
  const { body } = await client.get(path, { ...query, labelSelector }, { signal, ...accept });
  return listSchema.parse(body);
}

/** Until the server ends the watch. */
async function follow<T>(options: KubeCacheOptions<T>, state: State<T>, version: string, signal: AbortSignal): Promise<void> {
  const { client, clock, path, labelSelector, metadataOnly, signEvery } = options;
  const watchFor = millis(signEvery + bookmarkBeforeEnd);
  const query = { watch: 'true', allowWatchBookmarks: 'true', resourceVersion: version, timeoutSeconds: String(watchFor / 1000), labelSelector };
  const accept = metadataOnly ? { accept: 'application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1' } : {};
  const over = new AbortController();
  const begun = clock.monotonic();
  const works = (): void => {
    state.failures = 0;
    alive(options, state);
  };
  // A version that the server has forgotten is refused at once, although the watch was opened: what is not refused by then is alive.
  const accepted = (): void => {
    clock.sleep(acceptance, AbortSignal.any([signal, over.signal])).then(() => { if (!state.mute) works(); }, () => undefined);
  };
  let isSilent = true;
  let hasEnded = false;
  try {
    for await (const line of client.lines(path, query, { signal, silence: millis(watchFor + slowness), onOpen: accepted, ...accept })) {
      take(options, state, eventSchema.parse(parseJson(line)));
      isSilent = false;
      state.mute = false;
      works();
    }
    hasEnded = true;
    // Whatever stands before a server may end a watch earlier, and say nothing of what it holds back.
    if (clock.monotonic() - begun >= signEvery) works();
  } finally {
    over.abort();
    if (isSilent && !hasEnded && clock.monotonic() - begun > watchFor) state.mute = true;
  }
}

function take<T>(options: KubeCacheOptions<T>, state: State<T>, { type, object }: z.output<typeof eventSchema>): void {
  if (type === 'ERROR') {
    const { code, message } = errorSchema.parse(object);
    throw refusal(code, `the watch of ${options.path}`, message);
  }
  if (type === 'BOOKMARK') {
    state.version = bookmarkSchema.parse(object).metadata.resourceVersion;
    return;
  }
  const seen = objectSchema.parse(object);
  if (type === 'DELETED') remove(options, state, keyOf(seen));
  else put(options, state, seen);
  state.version = seen.metadata.resourceVersion;
}

function put<T>(options: KubeCacheOptions<T>, state: State<T>, object: KubeObject): void {
  const key = keyOf(object);
  keepOne(options, state, key, options.read(object, state.items.get(key) ?? null));
}

function keepOne<T>(options: KubeCacheOptions<T>, state: State<T>, key: string, after: T): void {
  const before = state.items.get(key) ?? null;
  state.items.set(key, after);
  tell(options, before, after);
}

function remove<T>(options: KubeCacheOptions<T>, state: State<T>, key: string): void {
  const before = state.items.get(key);
  if (before === undefined) return;
  state.items.delete(key);
  tell(options, before, null);
}

function tell<T>(options: KubeCacheOptions<T>, before: T | null, after: T | null): void {
  guarded(options, () => { options.onChange(before, after); });
}

/** Who is told must not end the watch by what it does. */
function guarded<T>({ log, path }: KubeCacheOptions<T>, told: () => void): void {
  try {
    told();
  } catch (error) {
    log.error({ err: error, path }, 'a change of the cluster could not be handled');
  }
}

function keyOf({ metadata: { namespace, name } }: KubeObject): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** A line that a dying server did not finish is no JSON. */
function parseJson(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch (cause) {
    throw new Failure('kubernetes-unreachable', 'Kubernetes sent half a line.', { cause });
  }
}

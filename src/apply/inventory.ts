import type { ProcessorId } from '../model/ids.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { createKubeCache, type KubeCache } from '../platform/kube/watch.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import type { ClusterObjects } from './cluster-objects.ts';
import type { Inventory, KindRef } from './compare.ts';
import { readLive } from './live.ts';
import { keyOf, type LiveObject } from './objects.ts';

/**
 * Everything on the cluster that carries our label, of the kinds that were ever asked for, kept by a watch for each kind.
 *
 * Members are found by the label `managed-by=dory-orchestrator`, as kubectl's ApplySets are by theirs. The label of an ApplySet
 * itself is not set: it would have to stand in every committed file to no use of ours, and would let `kubectl apply --prune` of
 * anybody delete what the fences keep.
 *
 * StatefulSets are watched by `observe` as well. That copy is kept on every instance, is of their status, and decides with its own signs of
 * life about failover; this one is kept where commits are applied, and of who owns which field. One stream for both would tie
 * the two stages together, and make each instance read all of `managedFields`, to save the leader one stream of one kind.
 */
export interface LiveInventory extends Inventory {
  /** Begins to watch these kinds, where that is not done yet and the server says where. */
  watch(kinds: Iterable<KindRef>): Promise<void>;
  /** Resolves as soon as everything that is watched was listed once, or `limit` is over since it was first waited for. */
  synced(limit: Millis, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface InventoryOptions {
  readonly client: KubeClient;
  readonly objects: Pick<ClusterObjects, 'listOf'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onChange: (before: LiveObject | null, after: LiveObject | null) => void;
}

const ours = 'managed-by=dory-orchestrator';
const signEvery = seconds(5);
/** A watch that is alive gives a sign every few seconds; without one for so long, what it shows may be long gone. */
const staleAfter = seconds(20);
const syncPoll = millis(20);

export function createInventory(options: InventoryOptions): LiveInventory {
  const { clock, log, objects: cluster } = options;
  const objects = new Map<string, LiveObject>();
  const epochs = createEpochs();
  /** By `apiVersion/kind`; null: the cluster has none. */
  const watches = new Map<string, KubeCache<LiveObject> | null>();
  /** A kind that can't be listed is waited for once. */
  const waitedSince = new Map<string, Millis>();
  const onChange = (before: LiveObject | null, after: LiveObject | null): void => {
    if (before !== null) objects.delete(keyOf(before.ref));
    if (after !== null) objects.set(keyOf(after.ref), after);
    epochs.replace(before, after);
    options.onChange(before, after);
  };
  return {
    objects,
    highestEpoch: epochs.highest,
    knows: (kind) => {
      const watch = watches.get(nameOf(kind));
      if (watch === null) return 'absent';
      const alive = watch?.aliveAt() ?? null;
      return alive !== null && clock.monotonic() - alive <= staleAfter ? 'all' : 'not-all';
    },
    watch: async (kinds) => {
      for (const kind of kinds) {
        const name = nameOf(kind);
        const isWatched = (): boolean => (watches.get(name) ?? null) !== null;
        if (isWatched()) continue;
        const path = await cluster.listOf(kind).catch((error: unknown) => {
          log.warn({ err: error, kind: name }, 'it is not known where this kind is listed');
          return undefined;
        });
        if (path === undefined) continue;
        // Another call may have begun it meanwhile.
        if (isWatched()) continue;
        const cache = path === null ? null : openWatch(path, kind, options, onChange);
        watches.set(name, cache);
        cache?.start();
      }
    },
    synced: async (limit, signal) => {
      const now = clock.monotonic();
      for (const name of watches.keys()) if (!waitedSince.has(name)) waitedSince.set(name, now);
      const isAwaited = ([name, watch]: readonly [string, KubeCache<LiveObject> | null]): boolean => watch?.aliveAt() === null && clock.monotonic() - (waitedSince.get(name) ?? now) < limit;
      while (!signal.aborted && [...watches].some(isAwaited)) await clock.sleep(syncPoll);
    },
    close: async () => { await Promise.all([...watches.values()].flatMap((watch) => (watch === null ? [] : [watch.close()]))); },
  };
}

function nameOf({ apiVersion, kind }: KindRef): string {
  return `${apiVersion}/${kind}`;
}

function openWatch(path: string, kind: KindRef, { client, clock, random, log }: InventoryOptions, onChange: InventoryOptions['onChange']): KubeCache<LiveObject> {
  return createKubeCache<LiveObject>({
    client, clock, random, log, path, signEvery, onChange,
    labelSelector: ours,
    metadataOnly: false,
    read: (object) => readLive(object, kind),
    onState: () => undefined,
  });
}

/** The epochs that the cluster shows of each processor. */
function createEpochs() {
  const byProcessor = new Map<ProcessorId, Map<string, number>>();
  const remove = ({ processorId, ref }: LiveObject): void => {
    if (processorId === null) return;
    const shown = byProcessor.get(processorId);
    shown?.delete(keyOf(ref));
    if (shown?.size === 0) byProcessor.delete(processorId);
  };
  return {
    replace: (before: LiveObject | null, after: LiveObject | null): void => {
      if (before !== null) remove(before);
      const { processorId = null, epoch = null } = after ?? {};
      if (after === null || processorId === null || epoch === null) return;
      const shown = byProcessor.get(processorId) ?? new Map<string, number>();
      byProcessor.set(processorId, shown.set(keyOf(after.ref), epoch));
    },
    highest: (processorId: ProcessorId): number => Math.max(0, ...(byProcessor.get(processorId)?.values() ?? [])),
  };
}

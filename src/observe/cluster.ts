import type { EdgeNode } from '../model/fleet.ts';
import type { NodeName, ProcessorId } from '../model/ids.ts';
import { known, unknown, type Observed } from '../model/observed.ts';
import type { Placement } from '../model/placement.ts';
import type { LivePod, LiveProcessor, LiveSet } from '../model/rollout.ts';
import type { AgentSignals, NodeCondition, NodeSignals } from '../model/snapshot.ts';
import { after, elapsed, millis, seconds, type Instant, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { KubeObject } from '../platform/kube/object.ts';
import { createKubeCache, type KubeCache } from '../platform/kube/watch.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { isOutOfService, readNode, utilization, type NodeEntry } from './cluster-nodes.ts';
import { createMembers, readPod, readStatefulSet, type Members, type Orphan } from './cluster-pods.ts';
import { createLeaseReader, type LeaseReader } from './cluster-leases.ts';
import { createEventWords, type EventWords } from './cluster-events.ts';

/**
 * What Kubernetes says: the edge nodes' conditions, and which pods of ours are left. Every instance keeps it, whether it leads or
 * not, so that a takeover starts no clock anew.
 *
 * The cluster's clock and the nodes' are not believed. What happened is dated by this process's monotonic clock, and told on the
 * database's: `look` pairs the two.
 */
export interface Cluster extends ClusterPort {
  /** As it is now, for the check right before a decision is written; null where the cluster does not show the node. */
  readonly freshest: (name: NodeName) => NodeCondition | null;
  /** What it shows of one processor; null while that is not known: not listed yet, or without a sign of life for too long. */
  readonly live: (processorId: string) => LiveProcessor | null;
  /** Share of what each edge node can give, of CPU or of memory, that our pods request of it. */
  readonly utilization: () => ReadonlyMap<string, number>;
  /** Pods of ours that no StatefulSet wants any more; null while that is not known for certain. */
  readonly orphans: () => readonly Orphan[] | null;
  /** Processors with a pod that bears no epoch; null while that is not known for certain. */
  readonly bare: () => ReadonlySet<ProcessorId> | null;
  /** Begins to watch. */
  start(): void;
  /** Resolves with true as soon as everything was listed once, or with false when `limit` is over. */
  synced(limit: Millis): Promise<boolean>;
  close(): Promise<void>;
}

/** What a snapshot takes of it. */
export interface ClusterPort {
  /** To be called before the transaction begins; and what it answers, with the transaction's clock. */
  look(): (at: Instant) => ClusterLook;
}

export interface ClusterLook {
  node(name: NodeName): Observed<NodeCondition>;
  pods(placement: Pick<Placement, 'processorId' | 'epoch' | 'revision'>): Observed<'present' | 'gone'>;
  /** Whether its node, once it is on again, starts no pod of this or a lower epoch: it is out of service, or the cluster has none such. */
  sealed(placement: Pick<Placement, 'processorId' | 'epoch' | 'target'>): boolean;
  /** Processors with a pod that bears no epoch: the system that ran here before started it. */
  bare(): Observed<ReadonlySet<ProcessorId>>;
}

export interface ClusterOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The label of nodes that names their site. */
  readonly siteLabel: string | null;
  /** Copies of pods with no sign of life for longer say nothing. (How old a node's condition may be, `plan` judges.) */
  readonly fresh: Millis;
  /** Something changed that a decision may depend on. */
  readonly onChange: () => void;
  /** A pod or a StatefulSet of this processor came, changed or went. */
  readonly onMember?: (processorId: string) => void;
  /** Whether all of it can be watched. */
  readonly onHealth: (healthy: boolean) => void;
}

interface Caches {
  readonly nodes: KubeCache<NodeEntry>;
  readonly pods: KubeCache<LivePod>;
  readonly sets: KubeCache<LiveSet>;
  readonly members: Members;
  readonly leases: LeaseReader;
  readonly words: EventWords;
}

/** Both clocks at one moment. */
interface Moment {
  readonly at: Instant;
  readonly monotonic: Millis;
}

const edgeNodes = 'node-type=edge';
const ours = 'managed-by=dory-orchestrator';

export function createCluster(options: ClusterOptions): Cluster {
  const { clock, client } = options;
  const caches = createCaches(options);
  const all = [caches.nodes, caches.pods, caches.sets];
  let last: Moment | null = null;
  return {
    start: () => {
      for (const part of [...all, caches.leases, caches.words]) part.start();
    },
    look: () => {
      const monotonic = clock.monotonic();
      return (at) => {
        last = { at, monotonic };
        return lookAt(caches, last, options.fresh);
      };
    },
    freshest: (name) => {
      const entry = caches.nodes.items.get(name);
      // Where no snapshot was ever taken, as on an instance that does not lead, this machine's clock is good enough to show.
      return entry === undefined ? null : conditionOf(entry, caches.leases, last ?? { at: clock.now(), monotonic: clock.monotonic() });
    },
    live: (processorId) => {
      if (!areMembersFresh(caches, options)) return null;
      const { sets, pods, podlessSince } = caches.members.of(processorId);
      return { sets, pods: pods.map((pod) => caches.words.ofPod(pod)), podlessSince, refusal: caches.words.ofSets(sets) };
    },
    utilization: () => utilization(caches.nodes.items.values(), caches.pods.items.values()),
    orphans: () => (areMembersFresh(caches, options) ? caches.members.orphans() : null),
    bare: () => (areMembersFresh(caches, options) ? caches.members.bare() : null),
    synced: async (limit) => {
      const end = clock.monotonic() + limit;
      while (all.some((cache) => cache.aliveAt() === null)) {
        if (clock.monotonic() >= end) return false;
        await clock.sleep(syncPoll);
      }
      return true;
    },
    close: async () => {
      await Promise.all([...all, caches.leases, caches.words].map((part) => part.close()));
      client.close();
    },
  };
}

/** Signs of life come every few seconds; where old news is to be no news sooner, more often, so that one may be late. */
function signEvery(fresh: Millis): Millis {
  return seconds(Math.min(6, Math.max(1, Math.floor(fresh / 2000))));
}

/** A list takes some 10 ms; who waits for it is a person. */
const syncPoll = millis(20);

function createCaches(options: ClusterOptions): Caches {
  const { client, clock, random, log, siteLabel, onChange, onMember, onHealth } = options;
  const health = sumOf(['nodes', 'pods', 'sets'], onHealth);
  const cache = <T>(name: 'nodes' | 'pods' | 'sets', given: { readonly path: string; readonly labelSelector: string; readonly metadataOnly: boolean; readonly read: (object: KubeObject, before: T | null) => T; readonly onChange: (before: T | null, after: T | null) => void }): KubeCache<T> =>
    createKubeCache({
      client, clock, random, log, ...given,
      signEvery: signEvery(options.fresh),
      onState: (up) => {
        health(name, up);
        onChange();
      },
    });
  const members = createMembers();
  const nodes = cache<NodeEntry>('nodes', {
    path: '/api/v1/nodes', labelSelector: edgeNodes, metadataOnly: false,
    read: (object, before) => readNode(object, before, { now: clock.monotonic(), siteLabel }),
    onChange: (before, now) => { if (differs(before, now)) onChange(); },
  });
  const pods = cache<LivePod>('pods', {
    path: '/api/v1/pods', labelSelector: ours, metadataOnly: false,
    read: (object, before) => readPod(object, before, clock.monotonic()),
    onChange: (before, now) => {
      members.onPod(before, now, clock.monotonic());
      onMember?.((now ?? before)?.processorId ?? '');
      if (now === null || (now.terminating && before?.terminating !== true)) onChange();
    },
  });
  const sets = cache<LiveSet>('sets', {
    path: '/apis/apps/v1/statefulsets', labelSelector: ours, metadataOnly: false,
    read: (object, before) => readStatefulSet(object, before, clock.monotonic()),
    onChange: (before, now) => {
      members.onStatefulSet(before, now);
      onMember?.((now ?? before)?.processorId ?? '');
      if (now?.stopped === true && before?.stopped !== true) onChange();
    },
  });
  const doubtful = (): readonly string[] => [...nodes.items.values()].filter(({ ready }) => ready !== 'true').map(({ name }) => name);
  return {
    nodes, pods, sets, members,
    leases: createLeaseReader({ client, clock, log, doubtful }),
    words: createEventWords({ client, clock, log, sets: () => sets.items.values(), pods: () => pods.items.values(), onRead: onMember ?? (() => undefined) }),
  };
}

/** Whether what is known of pods and StatefulSets is of now. */
function areMembersFresh({ pods, sets }: Caches, { clock, fresh }: ClusterOptions): boolean {
  const [pod, set] = [pods.aliveAt(), sets.aliveAt()];
  return pod !== null && set !== null && clock.monotonic() - Math.min(pod, set) <= fresh;
}

/** Told whether all parts are up, when that changes. */
function sumOf(parts: readonly string[], tell: (all: boolean) => void): (part: string, up: boolean) => void {
  const state = new Map(parts.map((part) => [part, false]));
  let told: boolean | null = null;
  return (part, up) => {
    state.set(part, up);
    const all = [...state.values()].every(Boolean);
    if (all === told) return;
    told = all;
    tell(all);
  };
}

/** In what a decision may depend on: kubelets renew the rest of it every few minutes. */
function differs(before: NodeEntry | null, now: NodeEntry | null): boolean {
  if (before === null || now === null) return before !== now;
  return before.since !== now.since || before.taints.join() !== now.taints.join() || before.site !== now.site || before.architecture !== now.architecture || before.gpu !== now.gpu;
}

function lookAt({ nodes, pods, sets, members, leases }: Caches, moment: Moment, fresh: Millis): ClusterLook {
  return {
    node: (name) => {
      const alive = nodes.aliveAt();
      if (alive === null) return unknown('watch-down');
      const at = dated(alive, moment);
      const entry = nodes.items.get(name);
      if (entry !== undefined) return known(conditionOf(entry, leases, moment), at);
      // It may have come while nobody looked.
      return elapsed(at, moment.at) > fresh ? unknown('watch-down') : unknown('not-in-cluster');
    },
    pods: (placement) => {
      const [pod, set] = [pods.aliveAt(), sets.aliveAt()];
      if (pod === null || set === null) return unknown('watch-down');
      const at = dated(millis(Math.min(pod, set)), moment);
      return elapsed(at, moment.at) > fresh ? unknown('watch-down') : known(members.pods(placement), at);
    },
    sealed: ({ target, ...placement }) => {
      const alive = [nodes, pods, sets].map((cache) => cache.aliveAt());
      if (target.kind !== 'edge' || alive.some((each) => each === null || elapsed(dated(each, moment), moment.at) > fresh)) return false;
      const entry = nodes.items.get(target.nodeName);
      return (entry === undefined || isOutOfService(entry)) && members.sealed(placement);
    },
    bare: () => {
      const alive = pods.aliveAt();
      if (alive === null) return unknown('watch-down');
      const at = dated(alive, moment);
      return elapsed(at, moment.at) > fresh ? unknown('watch-down') : known(members.bare(), at);
    },
  };
}

function conditionOf({ name, ready, since, taints, architecture, gpu, site }: NodeEntry, leases: LeaseReader, moment: Moment): NodeCondition {
  return { ready, since: dated(since, moment), taints, leaseAgeMs: ready === 'true' ? null : leases.ageOf(name, moment.monotonic), architecture, gpu, site };
}

/** A moment of the monotonic clock on the database's. What came in between the two readings is of now. */
function dated(then: Millis, { at, monotonic }: Moment): Instant {
  return after(at, millis(Math.min(0, Math.round(then - monotonic))));
}

/** The heartbeats' side of each node, with what Kubernetes says of it. */
export function withConditions(signals: readonly NodeSignals[], nodes: readonly EdgeNode[], look: ClusterLook | null): readonly NodeSignals[] {
  if (look === null) return signals;
  const names = new Map(nodes.map(({ id, name }) => [id, name]));
  return signals.map((each) => {
    const name = names.get(each.nodeId);
    return name === undefined ? each : { ...each, kubernetes: look.node(name) };
  });
}

/** Each agent, with what is left of its pods. */
export function withPods(agents: readonly AgentSignals[], placements: readonly Placement[], look: ClusterLook | null): readonly AgentSignals[] {
  if (look === null || agents.length === 0) return agents;
  const placed = new Map(placements.map((placement) => [placement.processorId, placement]));
  return agents.map((each) => {
    const placement = placed.get(each.processorId);
    return placement === undefined ? each : { ...each, pods: look.pods(placement) };
  });
}

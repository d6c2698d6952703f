import type { ProcessorId } from '../../src/model/ids.ts';
import { known, unknown, type Observed } from '../../src/model/observed.ts';
import type { Placement } from '../../src/model/placement.ts';
import type { NodeCondition, Policy } from '../../src/model/snapshot.ts';
import { instant, type Instant } from '../../src/model/time.ts';
import type { Cluster, PodObject, Ready, SetObject, Watcher } from './cluster.ts';
import type { Kernel } from './kernel.ts';
import type { Mutation } from './mutations.ts';
import type { Network } from './network.ts';

interface Context {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly cluster: Cluster;
  readonly link: string;
  /** Runs what reached the process, when it runs. */
  readonly hear: (act: () => void) => void;
  readonly onReady: () => void;
}

interface SeenNode {
  ready: Ready;
  outOfService: boolean;
  /** When this process first saw it so, in true time. */
  since: number;
}

const outOfServiceTaint = 'node.kubernetes.io/out-of-service=nodeshutdown';

/** What one instance sees of the cluster: lists, then watches; a stream that broke says nothing until it lists again. */
export class View implements Watcher {
  readonly #nodes = new Map<string, SeenNode>();
  readonly #sets = new Map<string, SetObject>();
  readonly #pods = new Map<number, PodObject>();
  readonly #context: Context;
  #synced = false;
  #aliveAt = 0;
  /** Events of one stream arrive in their order; raised when it breaks. */
  #stream = 0;
  #lastDelivery = 0;

  constructor(context: Context) {
    this.#context = context;
    context.cluster.watchers.push(this);
    context.network.whenMended((link) => { if (link === context.link) this.list(); });
  }

  /** Forgets everything: the process ended. */
  forget(): void {
    this.#stream += 1;
    this.#synced = false;
    this.#nodes.clear();
    this.#sets.clear();
    this.#pods.clear();
  }

  list(): void {
    const { kernel, cluster } = this.#context;
    this.#stream += 1;
    this.#lastDelivery = 0;
    const stream = this.#stream;
    const again = (): void => { if (stream === this.#stream && !this.#synced) this.list(); };
    this.#synced = false;
    kernel.timer(5_000, () => stream !== this.#stream || this.#synced, again);
    this.#deliver(() => {
      const gone = new Set(this.#nodes.keys());
      for (const [name, { ready, outOfService }] of cluster.nodes) { this.#see(name, ready, outOfService); gone.delete(name); }
      for (const name of gone) this.#nodes.delete(name);
      this.#sets.clear();
      this.#pods.clear();
      for (const [name, set] of cluster.sets) this.#sets.set(name, { ...set });
      for (const [uid, pod] of cluster.pods) this.#pods.set(uid, { ...pod });
      this.#synced = true;
    });
  }

  /** A bookmark: nothing happened, and the stream is alive. */
  bookmark(): void {
    if (this.#synced) this.#deliver(() => undefined);
  }

  setChanged(name: string, set: SetObject | null): void {
    const seen = set === null ? null : { ...set };
    this.#deliver(() => { if (seen === null) this.#sets.delete(name); else this.#sets.set(name, seen); });
  }

  podChanged(uid: number, pod: PodObject | null): void {
    const seen = pod === null ? null : { ...pod };
    this.#deliver(() => { if (seen === null) this.#pods.delete(uid); else this.#pods.set(uid, seen); });
  }

  nodeChanged(node: string, ready: Ready, outOfService: boolean): void {
    this.#deliver(() => {
      this.#see(node, ready, outOfService);
      this.#context.onReady();
    });
  }

  /** As `observe/cluster.ts` answers it; `clock` is the database's clock now. */
  condition(node: string, policy: Policy, clock: Instant, mutation: Mutation | null): Observed<NodeCondition> {
    const seen = this.#nodes.get(node);
    if (!this.#fresh(policy, mutation)) return unknown('watch-down');
    if (seen === undefined) return unknown('not-in-cluster');
    const at = instant(clock - (this.#now - (mutation === 'watch-age-ignored' ? this.#now : this.#aliveAt)));
    const since = instant(clock - (this.#now - seen.since));
    return known({ ready: seen.ready, since, taints: seen.outOfService ? [outOfServiceTaint] : [], leaseAgeMs: null, architecture: null, gpu: null, site: null }, at);
  }

  /** The freshest word on a node, for the last look before a decision. */
  readyNow(node: string): Ready | null {
    return this.#synced ? (this.#nodes.get(node)?.ready ?? null) : null;
  }

  podsOf({ processorId, epoch, revision }: Placement, policy: Policy, clock: Instant, mutation: Mutation | null): Observed<'present' | 'gone'> {
    if (!this.#fresh(policy, mutation)) return unknown('watch-down');
    const left = [...this.#pods.values()].some((pod) => pod.processor === processorId && pod.epoch <= epoch);
    // The revision: a sync of an older commit, which scales it up, may still be under way.
    const scaledDown = [...this.#sets.values()].some((set) => set.processor === processorId && set.epoch === epoch
      && set.replicas === 0 && set.observed && (set.revision === revision || mutation === 'scaled-by-any-revision'));
    const at = instant(clock - (this.#now - this.#aliveAt));
    return known(mutation === 'pods-said-gone' || (scaledDown && !left) ? 'gone' : 'present', at);
  }

  /** As `src/observe/cluster-pods.ts`: whatever the node does when it is on again, no pod of this epoch or a lower one starts there. */
  sealed({ processorId, epoch, target }: Placement, policy: Policy): boolean {
    if (target.kind !== 'edge' || !this.#fresh(policy, null)) return false;
    const left = [...this.#pods.values()].filter((pod) => pod.processor === processorId && pod.epoch <= epoch);
    return this.#nodes.get(target.nodeId)?.outOfService === true && left.every(({ terminating, pending }) => terminating || pending === true);
  }

  /** Whether a set or a pod of a lower epoch may still start one; null while it is not known. */
  startsOld(processor: string, epoch: number, policy: Policy): boolean | null {
    if (!this.#fresh(policy, null)) return null;
    return [...this.#sets.values()].some((set) => set.processor === processor && set.epoch < epoch && set.replicas === 1)
      || [...this.#pods.values()].some((pod) => pod.processor === processor && pod.epoch < epoch && !pod.terminating);
  }

  /** Processors with a pod that bears no epoch. */
  bare(policy: Policy, clock: Instant, mutation: Mutation | null): Observed<ReadonlySet<ProcessorId>> {
    if (!this.#fresh(policy, mutation)) return unknown('watch-down');
    const found = [...this.#pods.values()].filter(({ epoch }) => epoch === 0).map(({ processor }) => processor as ProcessorId);
    return known(new Set(found), instant(clock - (this.#now - this.#aliveAt)));
  }

  /** Pods with an epoch that no set wants any more; null while it is not known. */
  orphans(policy: Policy): readonly PodObject[] | null {
    if (!this.#fresh(policy, null)) return null;
    const wanted = new Set([...this.#sets.values()].filter(({ replicas }) => replicas > 0).map(({ processor, epoch }) => `${processor}/${String(epoch)}`));
    return [...this.#pods.values()].filter(({ processor, epoch }) => epoch > 0 && !wanted.has(`${processor}/${String(epoch)}`));
  }

  #fresh(policy: Policy, mutation: Mutation | null): boolean {
    return mutation === 'watch-age-ignored' || (this.#synced && this.#now - this.#aliveAt <= policy.intakeFresh);
  }

  #see(node: string, ready: Ready, outOfService: boolean): void {
    const seen = this.#nodes.get(node);
    this.#nodes.set(node, { ready, outOfService, since: seen?.ready === ready ? seen.since : this.#now });
  }

  #deliver(act: () => void): void {
    const { kernel, network, cluster, link, hear } = this.#context;
    const stream = this.#stream;
    if (!network.up(link) || !cluster.up) return;
    const at = Math.max(this.#lastDelivery, kernel.now + kernel.random.between(5, 300));
    this.#lastDelivery = at;
    kernel.at(at, () => {
      if (stream !== this.#stream || !network.up(link)) return;
      hear(() => {
        if (stream !== this.#stream) return;
        act();
        this.#aliveAt = kernel.now;
      });
    });
  }

  get #now(): number {
    return this.#context.kernel.now;
  }
}

import type { Kernel } from './kernel.ts';
import type { Network } from './network.ts';
import type { Remote, Tree } from './git.ts';
import { slugOf } from './rows.ts';
import type { Script } from './script.ts';

/** One StatefulSet: a placement. */
export interface SetObject {
  readonly name: string;
  readonly processor: string;
  readonly epoch: number;
  readonly node: string;
  readonly replicas: 0 | 1;
  readonly spec: string;
  /** `dory.io/revision`. */
  readonly revision: number;
  /** The controller has seen this generation. */
  observed: boolean;
}

export interface PodObject {
  readonly uid: number;
  readonly set: string;
  readonly processor: string;
  readonly epoch: number;
  readonly node: string;
  readonly spec: string;
  terminating: boolean;
  /** No node takes it: the one that it is meant for is tainted. */
  pending?: boolean;
  /** When it was told to end. */
  deletedAt?: number;
}

export type Ready = 'true' | 'false' | 'unknown';

/** What the cluster tells those who watch it. A key whose object is gone comes with null. */
export interface Watcher {
  /** The stream broke: list anew. */
  list(): void;
  setChanged(name: string, set: SetObject | null): void;
  podChanged(uid: number, pod: PodObject | null): void;
  nodeChanged(node: string, ready: Ready, outOfService: boolean): void;
}

/** The scaled-down `node-monitor-grace-period`, and how often the node controller looks. */
const nodeGraceMs = 20_000;
const nodeLookMs = 5_000;

interface NodeState {
  ready: Ready;
  renewedAt: number;
  /** What the kubelet itself says while it can. */
  says: 'true' | 'false';
  /** Tainted `node.kubernetes.io/out-of-service`, NoExecute. */
  outOfService: boolean;
}

/** API server, controllers and the GitOps tool: slow, in order, and only while the API server is up. */
export class Cluster {
  up = true;
  gitopsUp = true;
  readonly sets = new Map<string, SetObject>();
  /** By uid; a set has one pod at most. */
  readonly pods = new Map<number, PodObject>();
  readonly nodes = new Map<string, NodeState>();
  readonly watchers: Watcher[] = [];
  /** Whether this node's kubelet reaches the API server; and how it is told that its pods changed. */
  kubelets: { connected(node: string): boolean; podsChanged(node: string): void; works(pod: PodObject): boolean } = { connected: () => false, podsChanged: () => undefined, works: () => false };
  readonly #kernel: Kernel;
  readonly #network: Network;
  readonly #remote: Remote;
  readonly #paceMs: number;
  #nextUid = 1;
  #applied = 0;

  constructor(kernel: Kernel, network: Network, remote: Remote, script: Script) {
    this.#kernel = kernel;
    this.#network = network;
    this.#remote = remote;
    this.#paceMs = script.gitopsMs;
    for (const { name } of script.nodes) this.nodes.set(name, { ready: 'true', renewedAt: 0, says: 'true', outOfService: false });
  }

  start(): void {
    this.#lookAtNodes();
    this.#syncLater();
  }

  restart(): void {
    this.up = true;
    for (const name of this.sets.keys()) this.#reconcileLater(name);
    for (const { set } of this.pods.values()) this.#reconcileLater(set);
    for (const watcher of this.watchers) watcher.list();
    // The node controller could see no renewal either; what it remembers of them may be too old for a moment.
    for (const node of this.nodes.keys()) if (this.#kernel.random.chance(0.5)) this.#setReady(node, 'unknown');
  }

  remove(uid: number): void {
    const pod = this.pods.get(uid);
    if (pod === undefined) return;
    this.pods.delete(uid);
    for (const watcher of this.watchers) watcher.podChanged(uid, null);
    this.#reconcileLater(pod.set);
  }

  /** What the system before this one starts: a pod that no set wants, and that bears no epoch. */
  startBare(processor: string, node: string): void {
    this.#create({ set: `bare/${processor}`, processor, epoch: 0, node, spec: 'bare' });
  }

  /** `force`: the object goes at once, whatever its kubelet does; else its kubelet ends it. False: that pod is gone. */
  delete(uid: number, force: boolean): boolean {
    const pod = this.pods.get(uid);
    if (pod === undefined) return false;
    if (force) this.remove(uid);
    else this.#end(pod);
    if (force) this.#tellKubelet(pod.node);
    return true;
  }

  /** What does not tolerate the taint is deleted, what was to start there waits; and what waits starts when it is gone. */
  setOutOfService(name: string, outOfService: boolean): void {
    const state = this.nodes.get(name)!;
    if (state.outOfService === outOfService) return;
    state.outOfService = outOfService;
    for (const watcher of this.watchers) watcher.nodeChanged(name, state.ready, outOfService);
    for (const pod of [...this.pods.values()].filter(({ node }) => node === name)) {
      if (outOfService) this.#kernel.after(this.#kernel.random.between(50, 1_500), () => { if (this.pods.has(pod.uid)) this.#end(pod); });
      else if (pod.pending === true) this.#bind(pod);
    }
  }

  #bind(pod: PodObject): void {
    pod.pending = false;
    for (const watcher of this.watchers) watcher.podChanged(pod.uid, pod);
    this.#tellKubelet(pod.node);
  }

  /** Of a node that is out of service and not Ready, what was told to end is gone: no kubelet is asked. */
  #collect(name: string): void {
    for (const { uid, node, terminating } of [...this.pods.values()]) if (node === name && terminating) this.remove(uid);
  }

  #create(pod: Omit<PodObject, 'uid' | 'terminating' | 'pending'>): void {
    const created: PodObject = { uid: this.#nextUid++, ...pod, terminating: false, pending: this.nodes.get(pod.node)?.outOfService === true };
    this.pods.set(created.uid, created);
    for (const watcher of this.watchers) watcher.podChanged(created.uid, created);
    this.#tellKubelet(pod.node);
  }

  #end(pod: PodObject): void {
    if (pod.terminating) return;
    if (pod.pending === true) { this.remove(pod.uid); return; }
    pod.terminating = true;
    pod.deletedAt = this.#kernel.now;
    for (const watcher of this.watchers) watcher.podChanged(pod.uid, pod);
    this.#tellKubelet(pod.node);
  }

  #lookAtNodes(): void {
    this.#kernel.after(nodeLookMs, () => this.#lookAtNodes());
    if (!this.up) return;
    for (const [name, state] of this.nodes) {
      if (this.kubelets.connected(name)) {
        state.renewedAt = this.#kernel.now;
        this.#setReady(name, state.says);
      } else if (this.#kernel.now - state.renewedAt > nodeGraceMs) {
        this.#setReady(name, 'unknown');
      }
      if (state.outOfService && state.ready !== 'true') this.#collect(name);
    }
  }

  #setReady(name: string, ready: Ready): void {
    const state = this.nodes.get(name)!;
    if (state.ready === ready) return;
    state.ready = ready;
    for (const watcher of this.watchers) watcher.nodeChanged(name, ready, state.outOfService);
  }

  /** One sync at a time: what is under way ends before a newer commit is looked at. */
  #syncLater(): void {
    const { random } = this.#kernel;
    this.#kernel.after(random.between(500, this.#paceMs), () => {
      const head = this.gitopsUp && this.#remote.up ? this.#remote.head : null;
      if (head === null || head.id === this.#applied) { this.#syncLater(); return; }
      const apply = (): void => {
        if (!this.up || !this.gitopsUp) { this.#kernel.after(2_000, apply); return; }
        this.#apply(head.tree);
        this.#applied = head.id;
        this.#syncLater();
      };
      this.#kernel.after(random.between(300, this.#paceMs), apply);
    });
  }

  /** Prunes, then creates and changes. */
  #apply(tree: Tree): void {
    const wanted = new Set([...tree.values()].map(({ specDigest, epoch }) => setName(specDigest, epoch)));
    for (const name of [...this.sets.keys()]) {
      if (wanted.has(name)) continue;
      this.sets.delete(name);
      for (const watcher of this.watchers) watcher.setChanged(name, null);
      this.#reconcileLater(name);
    }
    for (const { processorId, epoch, target, phase, specDigest, revision } of tree.values()) {
      const name = setName(specDigest, epoch);
      const before = this.sets.get(name);
      if (before?.revision === revision) continue;
      const node = target.kind === 'edge' ? target.nodeName : 'managed';
      const set: SetObject = { name, processor: processorId, epoch, node, replicas: phase === 'active' ? 1 : 0, spec: specDigest, revision, observed: false };
      this.sets.set(name, set);
      for (const watcher of this.watchers) watcher.setChanged(name, set);
      this.#reconcileLater(name);
    }
  }

  #reconcileLater(name: string): void {
    this.#kernel.after(this.#kernel.random.between(50, 1_500), () => { if (this.up) this.#reconcile(name); });
  }

  /** The StatefulSet controller: never two pods of one set, and a pod is gone only when its kubelet says so. */
  #reconcile(name: string): void {
    const set = this.sets.get(name) ?? null;
    const pod = [...this.pods.values()].find((p) => p.set === name) ?? null;
    if (pod?.epoch === 0) return;
    if (pod !== null && (set === null || set.replicas === 0 || set.spec !== pod.spec)) this.#end(pod);
    if (set === null) return;
    if (pod === null && set.replicas === 1) {
      this.#create({ set: name, processor: set.processor, epoch: set.epoch, node: set.node, spec: set.spec });
    }
    if (!set.observed && this.sets.get(name) === set) {
      set.observed = true;
      for (const watcher of this.watchers) watcher.setChanged(name, set);
    }
  }

  #tellKubelet(node: string): void {
    this.#network.send(`${node}-api`, () => { if (this.up) this.kubelets.podsChanged(node); });
  }
}

/** By the slug, as a StatefulSet is named. */
function setName(specDigest: string, epoch: number): string {
  return `${slugOf(specDigest)}/${String(epoch)}`;
}

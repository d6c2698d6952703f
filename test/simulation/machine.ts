import type { Cluster, PodObject } from './cluster.ts';
import type { Kernel } from './kernel.ts';
import type { Network } from './network.ts';
import { Process, type ProcessContext } from './process.ts';
import type { AgentKind } from './script.ts';

export interface MachineContext {
  readonly kernel: Kernel;
  readonly network: Network;
  readonly cluster: Cluster;
  readonly agentOf: (processor: string) => { readonly kind: AgentKind; readonly graceMs: number };
  readonly process: Pick<ProcessContext, 'send' | 'writes'>;
  /** Whether the image of this processor can't be pulled now. */
  readonly imageMissing: (processor: string) => boolean;
  /** Sends a beat for the node itself. */
  readonly beacon: ((node: string) => void) | null;
}

/** A machine with its kubelet: runs the pods that it was told of, and goes on running them when it hears nothing. */
export class Machine {
  readonly name: string;
  powered = true;
  kubelet = true;
  readonly processes = new Map<number, Process>();
  /** Pods that a person made sure of: they are not started again before that person lets them. */
  readonly #buried = new Set<number>();
  readonly #context: MachineContext;

  constructor(name: string, context: MachineContext) {
    this.name = name;
    this.#context = context;
    context.network.whenMended((link) => { if (link === `${name}-api`) this.sync(); });
    const again = (): void => {
      context.kernel.after(20_000, again);
      this.sync();
    };
    context.kernel.after(context.kernel.random.between(0, 20_000), again);
    if (context.beacon !== null) this.#beaconLoop(context.beacon);
  }

  get connected(): boolean {
    return this.powered && this.kubelet && this.#context.cluster.up && this.#context.network.up(`${this.name}-api`);
  }

  powerOff(): void {
    this.powered = false;
    for (const process of this.processes.values()) process.kill();
    this.processes.clear();
  }

  powerOn(): void {
    this.powered = true;
    this.#context.kernel.after(this.#context.kernel.random.between(2_000, 8_000), () => this.sync());
  }

  /** It may run again: Dory left it where it was after all. */
  exhume(processor: string): void {
    for (const pod of this.#context.cluster.pods.values()) if (pod.processor === processor) this.#buried.delete(pod.uid);
  }

  /** What a person does who confirms that a processor stopped: sees to it. */
  bury(processor: string, epoch: number): void {
    for (const [uid, process] of this.processes) {
      if (process.processor !== processor || process.epoch > epoch) continue;
      this.#buried.add(uid);
      process.kill();
    }
    for (const pod of this.#context.cluster.pods.values()) if (pod.processor === processor && pod.epoch <= epoch && pod.node === this.name) this.#buried.add(pod.uid);
  }

  /** Brings what runs in line with what the API server says, if it can be asked. */
  sync(): void {
    if (!this.connected) return;
    const { cluster } = this.#context;
    for (const pod of [...cluster.pods.values()]) if (pod.node === this.name) this.#syncPod(pod);
    for (const [uid, process] of this.processes) if (!cluster.pods.has(uid)) process.terminate();
  }

  #syncPod(pod: PodObject): void {
    const process = this.processes.get(pod.uid);
    if (pod.terminating) {
      if (process?.alive === true) process.terminate();
      else this.#context.cluster.remove(pod.uid);
      return;
    }
    if (process !== undefined || pod.pending === true || this.#buried.has(pod.uid) || this.#context.imageMissing(pod.processor)) return;
    const { kernel } = this.#context;
    const created = this.#processOf(pod);
    this.processes.set(pod.uid, created);
    kernel.after(kernel.random.between(500, 5_000), () => { if (created.alive) created.start(); });
  }

  #processOf(pod: PodObject): Process {
    const { kernel, agentOf, process } = this.#context;
    return new Process({ processor: pod.processor, epoch: pod.epoch, node: this.name }, {
      kernel,
      ...agentOf(pod.processor),
      // What the other system runs knows nothing of ours.
      ...(pod.epoch === 0 ? { kind: 'deaf' as const } : {}),
      ...process,
      ended: () => {
        this.processes.delete(pod.uid);
        if (this.connected) this.sync();
      },
    });
  }

  #beaconLoop(send: (node: string) => void): void {
    const { kernel } = this.#context;
    const loop = (): void => {
      kernel.after(5_000 + kernel.random.between(-200, 200), loop);
      if (this.powered) send(this.name);
    };
    kernel.after(kernel.random.between(0, 5_000), loop);
  }
}

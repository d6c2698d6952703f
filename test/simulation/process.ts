import { unstored, type Beat, type BeatAnswer } from './intake.ts';
import type { Kernel } from './kernel.ts';
import type { AgentKind } from './script.ts';

const beatEveryMs = 5_000;
const answerTimeoutMs = 5_000;
/** The kubelet starts a container that ended anew after so long. */
const restartAfterMs = 10_000;

export interface ProcessContext {
  readonly kernel: Kernel;
  readonly kind: AgentKind;
  readonly graceMs: number;
  /** Sends a heartbeat; `answer` is called at most once, and never if it is lost. */
  readonly send: (beat: Beat, answer: (answer: BeatAnswer) => void) => void;
  /** Tells the world that this process began, or ceased, to write. */
  readonly writes: (process: Process, writing: boolean) => void;
  /** The process ended, whatever the reason. */
  readonly ended: (process: Process) => void;
}

/**
 * The container of one pod with its agent.
 *
 * `fenced` writes only under a lease that this very process was given; when the lease is over, or when it is told to, it stops, which takes
 * as long as its grace at most, and it writes nothing after that, even if it stood still meanwhile. `obedient` writes from the start until it is told
 * to stop. `deaf` stops for its kubelet only. Whatever ends by itself is started anew by the kubelet.
 */
export class Process {
  readonly processor: string;
  readonly epoch: number;
  readonly node: string;
  readonly kind: AgentKind;
  writing = false;
  /** Writes, but sends no beats. */
  mute = false;
  #state: 'running' | 'stopping' | 'stopped' | 'down' | 'dead' = 'down';
  #paused = false;
  /** Since when it promised to write no more, at the latest; null while nothing ends it. */
  #deadline: number | null = null;
  #leaseUntil = 0;
  /** Raised with every start, so that what an earlier life began comes to nothing. */
  #life = 0;
  #awaiting = 0;
  #toldToEnd = false;
  readonly #context: ProcessContext;

  constructor(identity: { readonly processor: string; readonly epoch: number; readonly node: string }, context: ProcessContext) {
    this.processor = identity.processor;
    this.epoch = identity.epoch;
    this.node = identity.node;
    this.kind = context.kind;
    this.#context = context;
  }

  get alive(): boolean {
    return this.#state !== 'dead';
  }

  start(): void {
    if (this.#state !== 'down') return;
    this.#state = 'running';
    this.#deadline = null;
    this.#leaseUntil = 0;
    this.#life += 1;
    const life = this.#life;
    if (this.kind !== 'fenced') this.#write(true);
    const loop = (): void => {
      if (life !== this.#life || this.#state === 'down' || this.#state === 'dead') return;
      this.#beat(life);
      this.#context.kernel.after(beatEveryMs + this.#context.kernel.random.between(-200, 200), loop);
    };
    this.#context.kernel.after(this.#context.kernel.random.between(50, 1_000), loop);
  }

  /** It fell over; the kubelet starts it again. */
  crash(): void {
    if (this.#state === 'dead' || this.#state === 'down') return;
    this.#end('down');
    this.#restartLater();
  }

  /** SIGTERM, and SIGKILL when the pod's grace is over. */
  terminate(): void {
    if (this.#toldToEnd) return;
    this.#toldToEnd = true;
    if (this.#state === 'down' || this.#state === 'stopped') { this.kill(); return; }
    const { kernel, graceMs } = this.#context;
    const soon = kernel.random.chance(0.3) ? graceMs : kernel.random.between(0, graceMs);
    kernel.after(soon, () => { if (!this.#paused) this.kill(); });
    kernel.after(graceMs + 2_000, () => this.kill());
  }

  kill(): void {
    if (this.#state === 'dead') return;
    this.#end('dead');
    this.#context.ended(this);
  }

  pause(): void {
    if (this.#state === 'dead') return;
    this.#paused = true;
    this.#write(false);
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#toldToEnd) { this.kill(); return; }
    if (this.#overdue()) { this.#stopped(); return; }
    if (this.#state === 'running' && this.kind === 'fenced') this.#watchLease(this.#life);
    if (this.#state === 'stopping') this.#stopWithin(Math.max(0, (this.#deadline ?? 0) - this.#context.kernel.now));
    const writes = this.#state === 'running' ? this.kind !== 'fenced' || this.#leaseUntil > this.#context.kernel.now : this.#state === 'stopping';
    if (writes) this.#write(true);
  }

  #end(state: 'down' | 'dead'): void {
    this.#state = state;
    this.#paused = false;
    this.#life += 1;
    this.#write(false);
  }

  #restartLater(): void {
    const life = this.#life;
    this.#context.kernel.after(restartAfterMs, () => { if (life === this.#life && !this.#toldToEnd) this.start(); });
  }

  #write(writing: boolean): void {
    if (this.writing === writing) return;
    this.writing = writing;
    this.#context.writes(this, writing);
  }

  #beat(life: number): void {
    if (this.#paused || this.mute || this.#awaiting === life) return;
    const { kernel, send } = this.#context;
    const sentAt = kernel.now;
    let answered = false;
    this.#awaiting = life;
    const over = (): void => { answered = true; if (this.#awaiting === life) this.#awaiting = 0; };
    kernel.timer(answerTimeoutMs, () => answered, over);
    const status = this.#state === 'stopped' ? 'stopped' : this.writing ? 'healthy' : 'starting';
    send({ processor: this.processor, node: this.node, epoch: this.kind === 'fenced' ? this.epoch : null, status }, (answer) => {
      if (answered) return;
      over();
      if (life === this.#life && !this.#paused) this.#take(answer, sentAt);
    });
  }

  #take(answer: BeatAnswer, sentAt: number): void {
    if (this.#state === 'stopped') {
      // It was heard. What answers without having asked its database heard nothing.
      if (answer !== unstored) this.crash();
      return;
    }
    if (answer.directive === 'shutdown') { if (this.kind !== 'deaf') this.#stop(this.#context.kernel.now); return; }
    if (this.kind !== 'fenced' || this.#state !== 'running' || answer.lease === null || answer.placementEpoch !== this.epoch) return;
    this.#leaseUntil = sentAt + answer.lease;
    if (this.#leaseUntil <= this.#context.kernel.now) return;
    if (!this.writing) this.#watchLease(this.#life);
    this.#write(true);
  }

  #watchLease(life: number): void {
    const { kernel } = this.#context;
    kernel.at(this.#leaseUntil, () => {
      if (life !== this.#life || this.#state !== 'running' || this.#paused || !this.writing) return;
      if (this.#leaseUntil > kernel.now) this.#watchLease(life);
      else this.#stop(this.#leaseUntil);
    });
  }

  /** Stops by itself, within its grace from `since`. */
  #stop(since: number): void {
    if (this.#state !== 'running') return;
    this.#state = 'stopping';
    const { kernel, graceMs } = this.#context;
    this.#deadline = since + graceMs;
    const left = Math.max(0, this.#deadline - kernel.now);
    this.#stopWithin(kernel.random.chance(0.3) ? left : kernel.random.between(0, left));
  }

  #stopWithin(ms: number): void {
    const life = this.#life;
    this.#context.kernel.after(ms, () => { if (life === this.#life && this.#state === 'stopping' && !this.#paused) this.#stopped(); });
  }

  #stopped(): void {
    this.#state = 'stopped';
    this.#write(false);
    // Nobody answers: it ends all the same, and is started anew.
    const life = this.#life;
    this.#context.kernel.after(30_000, () => { if (life === this.#life && this.#state === 'stopped' && !this.#paused) this.crash(); });
  }

  /** Longer still than it may be: its lease and its grace are over, so it must not write when it goes on. */
  #overdue(): boolean {
    const { kernel, graceMs } = this.#context;
    if (this.kind !== 'fenced' || this.#state === 'stopped' || this.#state === 'down') return false;
    const deadline = this.#deadline ?? (this.#leaseUntil === 0 ? null : this.#leaseUntil + graceMs);
    return deadline !== null && kernel.now >= deadline;
  }
}

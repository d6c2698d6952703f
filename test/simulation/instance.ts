import type { Instant } from '../../src/model/time.ts';
import { Aftermath } from './aftermath.ts';
import { extendCoverage, storeBeat, unstored, type Beat, type BeatAnswer } from './intake.ts';
import { acquire, release, renew, renewEveryMs, stepDownAfterMs } from './leader.ts';
import { CycleRunner, type CycleHost } from './cycle-runner.ts';
import type { Answer, Statement } from './database.ts';
import { View } from './view.ts';
import type { Simulated } from './simulated.ts';

const writeTimeoutMs = 2_000;
const extendEveryMs = 1_000;

/** One process of ours: takes heartbeats, campaigns for the lease, and, while it leads, runs cycles. */
export class Instance implements CycleHost {
  readonly id: string;
  readonly world: Simulated;
  readonly view: View | null;
  running = false;
  /** Raised with every start: what an earlier process of this name began comes to nothing. */
  #life = 0;
  #paused = false;
  #frozenAt: number | null = null;
  /** How far this machine's monotonic clock is behind true time. */
  #behind = 0;
  #waiting: (() => void)[] = [];
  #held: { readonly epoch: number; readonly renewedAt: number } | null = null;
  #breakerOpen = false;
  #beatsLost = false;
  #lastWrite = 0;
  readonly #cycles: CycleRunner;
  readonly #aftermath: Aftermath;

  constructor(id: string, world: Simulated) {
    this.id = id;
    this.world = world;
    const { kernel, network, cluster } = world;
    this.view = world.script.watched
      ? new View({ kernel, network, cluster, link: `${id}-api`, hear: (act) => this.hear(act), onReady: () => this.#cycles.wake() })
      : null;
    this.#cycles = new CycleRunner(this);
    this.#aftermath = new Aftermath(this);
  }

  /** Whether a load balancer would send it requests: it answers, and reaches the database. */
  get ready(): boolean {
    return this.running && !this.#paused && !this.#breakerOpen;
  }

  /** Whether a connection to it would go on: whoever is connected does not see more. */
  get answers(): boolean {
    return this.running && !this.#paused;
  }

  get holder(): string {
    return `${this.id}#${String(this.#life)}`;
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    this.#life += 1;
    this.#breakerOpen = false;
    this.#beatsLost = false;
    this.#held = null;
    this.#paused = false;
    this.#frozenAt = null;
    this.#waiting = [];
    this.view?.forget();
    this.view?.list();
    this.#cycles.reset();
    this.#campaign(this.#life);
    this.#extend(this.#life);
    if (this.view !== null) this.#bookmark(this.#life);
    if (this.world.script.cutover !== null) this.#aftermath.start();
    this.later(this.world.kernel.random.between(0, 3_000), () => this.#cycles.wake());
  }

  /** SIGKILL, or the machine's end. */
  crash(): void {
    this.running = false;
    this.#life += 1;
    this.#waiting = [];
    this.view?.forget();
  }

  /** SIGTERM: gives the lease up, then ends. */
  stop(): void {
    const held = this.#held;
    if (held !== null) {
      const { holder } = this;
      this.world.database.query({ from: this.id, timeout: 2_000, run: (rows) => release(rows, { holder, epoch: held.epoch }), done: () => undefined });
    }
    this.world.kernel.after(200, () => this.crash());
    this.#held = null;
  }

  pause(frozen: boolean): void {
    if (!this.running || this.#paused) return;
    this.#paused = true;
    this.#frozenAt = frozen ? this.world.kernel.now : null;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#frozenAt !== null) this.#behind += this.world.kernel.now - this.#frozenAt;
    this.#frozenAt = null;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const act of waiting) this.hear(act);
  }

  /** Asks the remote, as this process. */
  ask<T>(run: () => T, done: (answer: T | null) => void): void {
    const life = this.#life;
    this.world.remote.request(this.id, run, (answer) => { if (life === this.#life) this.hear(() => done(answer)); });
  }

  /** Runs now, or when the process goes on; never in another life. */
  hear(act: () => void): void {
    const life = this.#life;
    const guarded = (): void => { if (life === this.#life) act(); };
    if (this.#paused) this.#waiting.push(guarded);
    else if (this.running) guarded();
  }

  later(ms: number, act: () => void): void {
    const life = this.#life;
    this.world.kernel.timer(ms, () => life !== this.#life, () => this.hear(act));
  }

  query<T>(timeout: number, run: Statement<T>['run'], done: (answer: Answer<T>) => void): void {
    const life = this.#life;
    this.world.database.query({ from: this.id, timeout, run, done: (answer) => { if (life === this.#life) this.hear(() => done(answer)); } });
  }

  wake(): void {
    this.hear(() => this.#cycles.wake());
  }

  crashAt(step: string): void {
    this.#cycles.crashAt = step;
  }

  /** The lease, if it was renewed recently enough to act on. */
  lease(): number | null {
    if (this.#held === null) return null;
    return this.monotonic - this.#held.renewedAt < stepDownAfterMs || this.world.mutation === 'leader-not-asserted' ? this.#held.epoch : null;
  }

  get monotonic(): number {
    return this.world.kernel.now - this.#behind;
  }

  /** A heartbeat reached this process. */
  receive(beat: Beat | null, node: string, answer: (answer: BeatAnswer) => void): void {
    this.hear(() => {
      if (this.#breakerOpen) { this.#lose(answer); return; }
      const restart = this.#beatsLost;
      this.query(writeTimeoutMs, (rows, at) => {
        extendCoverage(rows, at, restart);
        if (beat !== null) return storeBeat(this.world.script, rows, beat, at, this.world.mutation);
        if (!rows.decommissioned.has(node)) rows.heartbeats.set(node, at);
        return { directive: 'continue', placementEpoch: null, lease: null } satisfies BeatAnswer;
      }, (stored) => {
        if (!stored.ok) { this.#breakerOpen = true; this.#lose(answer); return; }
        this.#stored();
        answer(stored.value);
      });
    });
  }

  #lose(answer: (answer: BeatAnswer) => void): void {
    this.#beatsLost = true;
    answer(unstored);
  }

  #stored(): void {
    this.#breakerOpen = false;
    this.#beatsLost = false;
    this.#lastWrite = this.monotonic;
  }

  #extend(life: number): void {
    if (life !== this.#life) return;
    this.later(extendEveryMs, () => this.#extend(life));
    if (!this.#breakerOpen && this.monotonic - this.#lastWrite < extendEveryMs) return;
    const restart = this.#beatsLost;
    this.query(writeTimeoutMs, (rows, at) => extendCoverage(rows, at, restart), (done) => {
      if (done.ok) this.#stored();
      else this.#breakerOpen = true;
    });
  }

  #campaign(life: number): void {
    if (life !== this.#life) return;
    const held = this.#held;
    const { holder } = this;
    const sentAt = this.monotonic;
    const pause = held === null ? this.world.kernel.random.between(1_000, renewEveryMs) : renewEveryMs;
    const run = (rows: Parameters<typeof renew>[0], _: Instant, clock: Instant): number | null =>
      held === null ? acquire(rows, clock, holder) : renew(rows, clock, { holder, epoch: held.epoch }) ? held.epoch : null;
    this.query(renewEveryMs, run, (answer) => {
      // One attempt that fails changes nothing: the lease may still be ours, until time says no.
      if (answer.ok) {
        const won = this.#held === null && answer.value !== null;
        this.#held = answer.value === null ? null : { epoch: answer.value, renewedAt: sentAt };
        if (won) this.#cycles.wake();
      }
      this.later(pause, () => this.#campaign(life));
    });
  }

  #bookmark(life: number): void {
    if (life !== this.#life) return;
    this.view?.bookmark();
    this.world.kernel.after(3_000, () => this.#bookmark(life));
  }
}

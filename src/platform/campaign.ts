import type { Pool } from 'pg';
import { Failure } from '../model/failure.ts';
import { millis, type Millis } from '../model/time.ts';
import type { Clock } from './clock.ts';
import { acquire, leaderOf, leaseTiming, release, renew, type Lease, type LeaseTiming } from './leadership.ts';
import type { Log } from './log.ts';
import type { Random } from './random.ts';

/** One instance's part in leadership: campaigns for the lease and, once elected, renews it, until `stop`. */
export interface Leadership {
  start(): void;
  /** Gives the lease up. */
  stop(): Promise<void>;
  /** The lease, if it was renewed recently enough to act on. */
  current(): Lease | null;
  /** Looks at once: the row was freed, or taken away. */
  look(): void;
}

export interface LeadershipOptions {
  /** Best of its own: work that fills another pool, or hangs in it, must not cost the lease. */
  readonly pool: Pool;
  /** Unlike that of any other process, also of an earlier one with this name. */
  readonly holder: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly timing?: LeaseTiming;
  /** Called when the lease is won or lost. */
  readonly onChange?: (lease: Lease | null) => void;
  /** Called after each look: whether the database answered, and since when the lease is as it is; null where we don't hold it. */
  readonly onLook?: (look: Look) => void;
}

export interface Look {
  /** Null: the database answered. */
  readonly failure: Failure | null;
  /**
   * It failed because nothing came back, and that was not because this process was late itself: who waits on a connection may
   * wait for ever.
   */
  readonly silent: boolean;
  /** Since the lease was renewed. */
  readonly leaseAge: Millis | null;
}

/** Contenders that look for a lease that has just run out do so within this: an attempt takes a millisecond or two. */
const contention = millis(200);

/** A timer that goes off later than this was held up by work of our own, behind which the answer may be waiting. */
const lateness = millis(1_000);

export function createLeadership(options: LeadershipOptions): Leadership {
  return new Campaign(options);
}

interface Held {
  readonly lease: Lease;
  /** When the last renewal that succeeded was sent, by the monotonic clock. */
  readonly renewedAt: Millis;
}

class Campaign implements Leadership {
  readonly #options: LeadershipOptions;
  readonly #timing: LeaseTiming;
  readonly #stopping = new AbortController();
  #running: Promise<void> | null = null;
  #held: Held | null = null;
  /** How long another one's lease was good for at the last look. */
  #othersLease: Millis | null = null;
  #calledFor = false;
  #wakeUp: (() => void) | null = null;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#timing = options.timing ?? leaseTiming;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wakeUp?.();
    await this.#running;
    const held = this.#held;
    this.#held = null;
    if (held !== null) await this.#resign(held.lease);
  }

  current(): Lease | null {
    const held = this.#held;
    return held !== null && this.#options.clock.monotonic() - held.renewedAt < this.#timing.stepDownAfter ? held.lease : null;
  }

  look(): void {
    this.#calledFor = true;
    this.#wakeUp?.();
  }

  async #run(): Promise<void> {
    let told: number | undefined;
    while (!this.#stopping.signal.aborted) {
      this.#calledFor = false;
      const before = this.#held;
      const answer = await this.#attempt();
      const now = this.current();
      if (now?.epoch !== told) this.#announce(now);
      told = now?.epoch;
      this.#options.onLook?.({ ...answer, leaseAge: this.#held === null ? null : millis(this.#options.clock.monotonic() - this.#held.renewedAt) });
      // Who has lost it may find it free: after an outage there is nobody else.
      const lost = before !== null && this.#held === null;
      if (!lost) await this.#pause();
    }
  }

  /** One attempt to take or to renew the lease. One that fails changes nothing: the lease may still be ours, until time says no. */
  async #attempt(): Promise<Pick<Look, 'failure' | 'silent'>> {
    const { pool, holder, clock, log } = this.#options;
    // To open a connection may take as long as the answer.
    const bound = this.#timing.renewEvery * (pool.idleCount > 0 ? 1 : 2) + lateness;
    const options = { timing: this.#timing, told: true };
    const held = this.#held;
    const renewedAt = clock.monotonic();
    try {
      if (held !== null) {
        this.#held = (await renew(pool, held.lease, options)) ? { lease: held.lease, renewedAt } : null;
      } else {
        const lease = await acquire(pool, holder, options);
        this.#held = lease === null ? null : { lease, renewedAt };
        this.#othersLease = lease === null ? ((await leaderOf(pool))?.leaseLeft ?? null) : null;
      }
      return { failure: null, silent: false };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn({ err: error, holder }, 'the lease could not be read or renewed');
      const took = clock.monotonic() - renewedAt;
      return { failure: error, silent: took >= this.#timing.renewEvery && took <= bound };
    }
  }

  /** One that can't be given up runs out by itself. */
  async #resign(lease: Lease): Promise<void> {
    const { pool, holder, log } = this.#options;
    try {
      await release(pool, lease, { timing: this.#timing, told: true });
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      log.warn({ err: error, holder }, 'the lease could not be given up: it runs out');
    }
  }

  async #pause(): Promise<void> {
    const { clock, random } = this.#options;
    const { renewEvery } = this.#timing;
    // A holder keeps its pace. Contenders for one lease spread out, and look when it runs out.
    const spread = random.fraction();
    const pause = this.#held !== null ? renewEvery : Math.min(renewEvery * (0.5 + spread / 2), (this.#othersLease ?? renewEvery) + spread * contention);
    if (this.#calledFor || this.#stopping.signal.aborted) return;
    const early = new AbortController();
    this.#wakeUp = () => { early.abort(); };
    await clock.sleep(millis(pause), early.signal).catch(() => undefined);
    this.#wakeUp = null;
  }

  #announce(lease: Lease | null): void {
    const { holder, log, onChange } = this.#options;
    log.info({ holder, epoch: lease?.epoch }, lease === null ? 'leadership lost' : 'leadership won');
    onChange?.(lease);
  }
}

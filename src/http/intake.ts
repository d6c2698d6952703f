import { setImmediate } from 'node:timers/promises';
import type { Pool } from 'pg';
import { Failure } from '../model/failure.ts';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Beat, HeartbeatAnswer } from './heartbeat.ts';
import { writeBatch } from './intake-sql.ts';

export interface IntakeSettings {
  /** How often the record of intake is extended where no beat does it. */
  readonly extendEvery: Millis;
  /** A longer pause in the record is a gap: coverage starts anew. */
  readonly coverageGap: Millis;
  /** A statement that takes longer has failed. Twice this, and the wait for a connection, is the longest wait of an agent. */
  readonly writeTimeout: Millis;
  /** Most beats in one statement. */
  readonly largestBatch: number;
  /** Most beats that wait; more are answered at once, and not stored. */
  readonly longestQueue: number;
}

/** The SDK gives up after 5 s, and a beat of the newest of 50,000 processors waits for 25 batches of some 20 ms at worst. */
export const defaultIntakeSettings: IntakeSettings = {
  extendEvery: seconds(1),
  coverageGap: seconds(5),
  writeTimeout: seconds(2),
  largestBatch: 2_000,
  longestQueue: 50_000,
};

/**
 * Stores heartbeats in groups: what arrives while one batch is written is the next batch, and each beat is answered when its
 * batch is durable. One batch at a time: two would only wait for each other's rows.
 *
 * States. `closed`: beats are queued and written. A batch that fails opens the circuit: its beats, those that wait and those that
 * come are answered `unstored` at once, so no agent waits for a database that is down, and memory stays bounded.
 * `open`: each `extendEvery` an empty batch is tried; the first one that succeeds closes the circuit. A beat that was lost
 * makes the next batch restart the record of intake, for silence says nothing about those who could not be heard.
 */
export interface HeartbeatIntake {
  /** Never rejects. Resolves when the beat is durable, or can't be made so. */
  record(beat: Beat): Promise<HeartbeatAnswer>;
  /** From now on the record of intake is extended without traffic too: call it when the server listens. */
  start(): void;
  /** Writes what waits, then nothing more. */
  stop(): Promise<void>;
}

interface IntakeOptions {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly settings: IntakeSettings;
  readonly metrics: Metrics;
  readonly log: Log;
}

interface Waiting {
  readonly beat: Beat;
  readonly answer: (answer: HeartbeatAnswer) => void;
}

const unstored: HeartbeatAnswer = { standing: 'unstored', placementEpoch: null };
/** A deadlock costs a second before the server ends it; a second one in a row means that something is wrong. */
const attemptsOnConflict = 2;

export function createIntake(options: IntakeOptions): HeartbeatIntake {
  return new BatchedIntake(options);
}

class BatchedIntake implements HeartbeatIntake {
  readonly #options: IntakeOptions;
  readonly #breaker: Breaker;
  #queue: Waiting[] = [];
  #writing: Promise<void> | null = null;
  #stopped = false;
  #beatsLost = false;
  /** By the monotonic clock. */
  #lastWrite = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: IntakeOptions) {
    this.#options = options;
    this.#breaker = new Breaker(options);
  }

  async record(beat: Beat): Promise<HeartbeatAnswer> {
    if (this.#breaker.open || this.#stopped || this.#queue.length >= this.#options.settings.longestQueue) return this.#lose();
    return new Promise((answer) => {
      this.#queue.push({ beat, answer });
      this.#schedule();
    });
  }

  start(): void {
    const { clock, settings } = this.#options;
    this.#timer ??= setInterval(() => {
      if (this.#breaker.open || clock.monotonic() - this.#lastWrite >= settings.extendEvery) this.#schedule();
    }, settings.extendEvery);
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#writing;
  }

  #schedule(): void {
    this.#writing ??= this.#writeAll();
  }

  /** Gathers what this turn of the event loop brings, then writes until nothing waits. */
  async #writeAll(): Promise<void> {
    await setImmediate();
    do {
      const batch = this.#queue.slice(0, this.#options.settings.largestBatch);
      this.#queue = this.#queue.slice(batch.length);
      await this.#write(batch);
    } while (this.#queue.length > 0);
    // Nothing may come between this and the last look at the queue: a beat would wait for the next one.
    this.#writing = null;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const { clock, metrics } = this.#options;
    const start = clock.monotonic();
    try {
      const answers = await writeWithRetry(this.#options, batch.map(({ beat }) => beat), this.#beatsLost);
      this.#lastWrite = clock.monotonic();
      this.#beatsLost = false;
      this.#breaker.close();
      metrics.heartbeatBatchSize.observe(batch.length);
      metrics.heartbeatWriteSeconds.observe((this.#lastWrite - start) / 1000);
      batch.forEach(({ answer }, at) => answer(this.#count(answers[at] ?? unstored)));
    } catch (error) {
      this.#breaker.trip(databaseFailure(error));
      const lost = [...batch, ...this.#queue];
      this.#queue = [];
      for (const { answer } of lost) answer(this.#lose());
    }
  }

  #lose(): HeartbeatAnswer {
    this.#beatsLost = true;
    return this.#count(unstored);
  }

  #count(answer: HeartbeatAnswer): HeartbeatAnswer {
    this.#options.metrics.heartbeats.inc({ result: answer.standing });
    return answer;
  }
}

/** Whether the database takes heartbeats; says so once for each change. */
class Breaker {
  readonly #metrics: Metrics;
  readonly #log: Log;
  open = false;

  constructor({ metrics, log }: Pick<IntakeOptions, 'metrics' | 'log'>) {
    this.#metrics = metrics;
    this.#log = log;
    metrics.circuitBreakerState.set({ component: 'heartbeats' }, 0);
  }

  close(): void {
    if (!this.open) return;
    this.#change(false);
    this.#log.info('heartbeats are stored again');
  }

  trip(failure: unknown): void {
    this.#metrics.databaseErrors.inc({ error_type: failure instanceof Failure ? failure.code : 'unexpected' });
    if (this.open) return;
    this.#change(true);
    this.#log.error({ err: failure }, 'heartbeats can\'t be stored');
  }

  #change(open: boolean): void {
    this.open = open;
    const [from_state, to_state] = open ? ['closed', 'open'] : ['open', 'closed'];
    this.#metrics.circuitBreakerState.set({ component: 'heartbeats' }, open ? 1 : 0);
    this.#metrics.circuitBreakerTransitions.inc({ component: 'heartbeats', from_state, to_state });
  }
}

async function writeWithRetry({ pool, settings }: IntakeOptions, beats: readonly Beat[], restartCoverage: boolean): Promise<HeartbeatAnswer[]> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await writeBatch(pool, beats, { gapSec: settings.coverageGap / 1000, restartCoverage, timeoutMs: settings.writeTimeout });
    } catch (error) {
      const failure = databaseFailure(error);
      const conflict = failure instanceof Failure && failure.code === 'database-conflict';
      if (!conflict || attempt >= attemptsOnConflict) throw error;
    }
  }
}

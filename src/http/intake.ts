import type { Pool } from 'pg';
import { Failure } from '../model/failure.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import { createCircuitBreaker, type CircuitBreaker } from '../platform/circuit-breaker.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Beat, HeartbeatAnswer } from './heartbeat.ts';
import { planOnce, writeBatch, type JudgedBeat } from './intake-sql.ts';
import { keepConnection, type KeptConnection } from './kept-connection.ts';

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
  /** What the answer to a beat from the current placement promises. */
  readonly lease: Millis;
  /** A node's row is written at most this often, however many of its processors beat: how late its last heartbeat may look. */
  readonly writeNodesEvery: Millis;
}

/** The SDK gives up after 5 s, and a beat of the newest of 50,000 processors waits for 25 batches of some 20 ms at worst. */
export const defaultIntakeSettings: Omit<IntakeSettings, 'lease' | 'writeNodesEvery'> = {
  extendEvery: seconds(1),
  coverageGap: seconds(5),
  writeTimeout: seconds(2),
  largestBatch: 2_000,
  longestQueue: 50_000,
};

/** How a pool for heartbeats must be: one connection, used by nobody else. */
export const intakeConnection = {
  max: 1,
  pipeline: true,
  statementTimeoutMs: defaultIntakeSettings.writeTimeout,
  connectTimeoutMs: defaultIntakeSettings.writeTimeout,
} as const;

/**
 * Stores heartbeats in groups, and answers each beat when its group is durable. What arrives while a batch is written is the
 * next one. The database does one at a time, in the order in which they were sent: two at once would only wait for each other's rows. But
 * a second one, once it is half as large, is sent before the first is answered, so that neither waits for the other
 * side's half of the work.
 *
 * States. `closed`: beats are queued and written. A batch that fails opens the circuit: its beats, those that wait and those that
 * come are answered `unstored` at once, so no agent waits for a database that is down, and memory stays bounded.
 * `open`: each `extendEvery` an empty batch is tried; the first one that succeeds closes the circuit. A beat that was lost
 * makes the next batch restart the record of intake, for silence says nothing about those who could not be heard.
 */
export interface HeartbeatIntake {
  /** Never rejects. Resolves when the beat is durable, or can't be made so. */
  record(beat: Beat): Promise<HeartbeatAnswer>;
  /** A beat came, and can't be taken: silence up to now says nothing. */
  lose(): HeartbeatAnswer;
  /** From now on the record of intake is extended without traffic too: call it when the server listens. */
  start(): void;
  /** Writes what waits, then nothing more. */
  stop(): Promise<void>;
}

interface IntakeOptions {
  /** As `intakeConnection` says. */
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

const unstored: HeartbeatAnswer = { standing: 'unstored', placementEpoch: null, leaseSec: null };
/** One that the database works on, and one that is there when it is done. */
const mostUnderWay = 2;
/** A deadlock costs a second before the server ends it; a second one in a row means that something is wrong. */
const attemptsOnConflict = 2;

export function createIntake(options: IntakeOptions): HeartbeatIntake {
  return new BatchedIntake(options);
}

class BatchedIntake implements HeartbeatIntake {
  readonly #options: IntakeOptions;
  readonly #breaker: CircuitBreaker;
  readonly #connection: KeptConnection;
  #queue: Waiting[] = [];
  /** The batches that were sent and are not answered, the oldest first. */
  readonly #underWay: { readonly size: number; readonly done: Promise<void> }[] = [];
  #gathering = false;
  #stopped = false;
  #beatsLost = false;
  /** By the monotonic clock. */
  #lastWrite = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: IntakeOptions) {
    const { pool, metrics, log } = options;
    this.#options = options;
    this.#connection = keepConnection(pool, planOnce);
    const words = { failed: 'heartbeats can\'t be stored', recovered: 'heartbeats are stored again' };
    this.#breaker = createCircuitBreaker({ component: 'heartbeats', words, metrics, log });
  }

  async record(beat: Beat): Promise<HeartbeatAnswer> {
    if (this.#breaker.state !== 'closed' || this.#stopped || this.#queue.length >= this.#options.settings.longestQueue) return this.lose();
    return new Promise((answer) => {
      this.#queue.push({ beat, answer });
      this.#gather();
    });
  }

  lose(): HeartbeatAnswer {
    this.#count('unstored', 1);
    this.#beatsLost = true;
    return unstored;
  }

  start(): void {
    const { extendEvery } = this.#options.settings;
    this.#timer ??= setInterval(() => { this.#extend(); }, extendEvery);
    this.#extend();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#sendWhatWaits();
    for (let [oldest] = this.#underWay; oldest !== undefined; [oldest] = this.#underWay) await oldest.done;
    this.#connection.release();
  }

  /** An empty batch, where no other one says that beats can be stored, or it is not known whether they can. */
  #extend(): void {
    const { clock, settings } = this.#options;
    const due = this.#breaker.state !== 'closed' || clock.monotonic() - this.#lastWrite >= settings.extendEvery;
    if (!due || this.#underWay.length > 0) return;
    this.#breaker.attempt();
    this.#send([]);
  }

  /** Sends when this turn of the event loop has brought what it brings. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    setImmediate(() => {
      this.#gathering = false;
      this.#sendWhatWaits();
    });
  }

  #sendWhatWaits(): void {
    while (this.#queue.length > 0 && this.#maySend()) this.#send(this.#nextBatch());
  }

  #maySend(): boolean {
    const [oldest] = this.#underWay;
    return oldest === undefined || (this.#underWay.length < mostUnderWay && this.#queue.length >= oldest.size / 2);
  }

  /** The beats that came first, up to a second one for the same processor: of two in one statement it is not said which one counts. */
  #nextBatch(): readonly Waiting[] {
    const seen = new Set<string>();
    const most = Math.min(this.#queue.length, this.#options.settings.largestBatch);
    let size = 0;
    for (; size < most; size++) {
      const subject = this.#queue[size]?.beat.subject;
      if (subject?.kind !== 'processor') continue;
      if (seen.has(subject.id)) break;
      seen.add(subject.id);
    }
    const batch = this.#queue.slice(0, size);
    this.#queue = this.#queue.slice(size);
    return batch;
  }

  #send(batch: readonly Waiting[]): void {
    const sent = { size: batch.length, done: this.#write(batch) };
    this.#underWay.push(sent);
    void sent.done.then(() => {
      this.#underWay.splice(this.#underWay.indexOf(sent), 1);
      this.#sendWhatWaits();
    });
  }

  /** Answers everybody, so that it never rejects. */
  async #write(batch: readonly Waiting[]): Promise<void> {
    const { clock, metrics, settings } = this.#options;
    const start = clock.monotonic();
    const restartCoverage = this.#beatsLost;
    // What is lost from here on is for the next one to say.
    this.#beatsLost = false;
    try {
      const judged = await this.#store(batch.map(({ beat }) => beat), restartCoverage);
      this.#lastWrite = clock.monotonic();
      this.#breaker.succeeded();
      metrics.heartbeatBatchSize.observe(batch.length);
      metrics.heartbeatWriteSeconds.observe((this.#lastWrite - start) / 1000);
      this.#countAll(judged);
      batch.forEach(({ answer }, at) => { answer(answerTo(judged[at], settings.lease)); });
    } catch (error) {
      this.#beatsLost ||= restartCoverage;
      this.#fail(batch, databaseFailure(error));
    }
  }

  async #store(beats: readonly Beat[], restartCoverage: boolean): Promise<JudgedBeat[]> {
    const { coverageGap, lease, writeNodesEvery, writeTimeout } = this.#options.settings;
    const options = {
      gapSec: coverageGap / 1000,
      restartCoverage,
      leaseSec: lease / 1000,
      nodeSec: writeNodesEvery / 1000,
      // Those before it take their time first.
      timeoutMs: millis(writeTimeout * (this.#underWay.length + 1)),
    };
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#connection.use((client) => writeBatch(client, beats, options));
      } catch (error) {
        const failure = databaseFailure(error);
        const conflict = failure instanceof Failure && failure.code === 'database-conflict';
        if (!conflict || attempt >= attemptsOnConflict) throw error;
      }
    }
  }

  #fail(batch: readonly Waiting[], failure: unknown): void {
    this.#options.metrics.databaseErrors.inc({ error_type: failure instanceof Failure ? failure.code : 'unexpected' });
    this.#breaker.failed(failure);
    const lost = [...batch, ...this.#queue];
    this.#queue = [];
    if (lost.length === 0) return;
    this.#beatsLost = true;
    this.#count('unstored', lost.length);
    for (const { answer } of lost) answer(unstored);
  }

  #countAll(judged: readonly JudgedBeat[]): void {
    const counts = new Map<string, number>();
    for (const { standing } of judged) counts.set(standing, (counts.get(standing) ?? 0) + 1);
    for (const [standing, count] of counts) this.#count(standing, count);
  }

  #count(result: string, count: number): void {
    this.#options.metrics.heartbeats.inc({ result }, count);
  }
}

/** Epoch and lease are for who runs where it should: nobody else may learn an epoch to echo. */
function answerTo(judged: JudgedBeat | undefined, lease: Millis): HeartbeatAnswer {
  if (judged === undefined) return unstored;
  const { standing, epoch } = judged;
  if (standing !== 'current') return { standing, placementEpoch: null, leaseSec: null };
  return { standing, placementEpoch: epoch, leaseSec: lease / 1000 };
}

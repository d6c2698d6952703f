import { instant, type Instant } from '../../src/model/time.ts';
import type { Kernel } from './kernel.ts';
import type { Network } from './network.ts';
import type { Rows } from './rows.ts';

/** `unreachable`: no answer; the statement may have run all the same. The others are answers. */
export type Failed = 'unreachable' | 'not-leader' | 'conflict' | 'behind';
export type Answer<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: Failed };

/** Thrown by a statement: its transaction is rolled back. */
export class Refused extends Error {
  readonly why: Exclude<Failed, 'unreachable'>;

  constructor(why: Exclude<Failed, 'unreachable'>) {
    super(why);
    this.why = why;
  }
}

export interface Statement<T> {
  /** The instance that asks. */
  readonly from: string;
  /** How long it waits for the answer; the statement itself is not called back. */
  readonly timeout: number;
  /** The whole transaction. `at` is when it began (`now()`), `clock` when it runs (`clock_timestamp()`): a slow disk lies between. */
  readonly run: (rows: Rows, at: Instant, clock: Instant) => T;
  readonly done: (answer: Answer<T>) => void;
}

/** A PostgreSQL server: transactions one after another, durable once they ran; it may be slow, away, or lose its connections. */
export class Database {
  rows: Rows;
  up = true;
  stalledUntil = 0;
  /** How far its clock is ahead of true time, in milliseconds. */
  ahead = 0;
  readonly #kernel: Kernel;
  readonly #network: Network;
  /** Raised whenever the server goes down: connections of before are gone. */
  #incarnation = 0;

  constructor(kernel: Kernel, network: Network, rows: Rows) {
    this.#kernel = kernel;
    this.#network = network;
    this.rows = rows;
  }

  get clock(): Instant {
    return instant(Date.UTC(2026, 0, 1) + this.#kernel.now + this.ahead);
  }

  stop(): void {
    this.up = false;
    this.#incarnation += 1;
  }

  start(): void {
    this.up = true;
  }

  query<T>({ from, timeout, run, done }: Statement<T>): void {
    let answered = false;
    const answer = (value: Answer<T>): void => {
      if (answered) return;
      answered = true;
      done(value);
    };
    const link = `${from}-db`;
    this.#kernel.timer(timeout, () => answered, () => answer({ ok: false, why: 'unreachable' }));
    this.#network.send(link, () => {
      const reply = (value: Answer<T>): void => this.#network.send(link, () => answer(value));
      if (!this.up) { reply({ ok: false, why: 'unreachable' }); return; }
      const at = this.clock;
      const incarnation = this.#incarnation;
      const execute = (): void => {
        if (incarnation !== this.#incarnation) return;
        const result = this.#execute(run, at);
        // The server may go down between the commit and its answer.
        this.#network.send(link, () => { if (incarnation === this.#incarnation) answer(result); });
      };
      if (this.stalledUntil > this.#kernel.now) this.#kernel.at(this.stalledUntil, execute);
      else execute();
    });
  }

  #execute<T>(run: Statement<T>['run'], at: Instant): Answer<T> {
    try {
      return { ok: true, value: run(this.rows, at, this.clock) };
    } catch (error) {
      if (error instanceof Refused) return { ok: false, why: error.why };
      throw error;
    }
  }
}

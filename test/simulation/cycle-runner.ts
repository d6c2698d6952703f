import type { Fleet } from '../../src/model/fleet.ts';
import type { Plan } from '../../src/model/plan.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import type { Instant } from '../../src/model/time.ts';
import { Refused, type Answer, type Statement } from './database.ts';
import { decide, wantsToWrite } from './decide.ts';
import type { Commit, Tree } from './git.ts';
import { assertLeader } from './leader.ts';
import { observe } from './observe.ts';
import type { Rows } from './rows.ts';
import type { Simulated } from './simulated.ts';
import type { View } from './view.ts';

/** What a cycle needs of its process. */
export interface CycleHost {
  readonly id: string;
  readonly world: Simulated;
  readonly view: View | null;
  readonly holder: string;
  lease(): number | null;
  later(ms: number, act: () => void): void;
  ask<T>(run: () => T, done: (answer: T | null) => void): void;
  query<T>(timeout: number, run: Statement<T>['run'], done: (answer: Answer<T>) => void): void;
  crash(): void;
}

const pollMs = 5_000;
const statementTimeoutMs = 20_000;
const coalesceMs = 5_000;
const pushAttempts = 4;

/** What has to reach Git, read from the rows. */
interface Pending {
  readonly revision: number;
  readonly tree: Tree;
  readonly urgent: boolean;
}

/** The cycle and its loop, as `src/cycle.ts`, `src/loop.ts` and `src/publisher.ts` run them: one at a time, each step an event of its own. */
export class CycleRunner {
  /** The process dies when the next cycle reaches this step. */
  crashAt: string | null = null;
  readonly #host: CycleHost;
  #running = false;
  #woken = false;
  /** Raised by every plan for the next cycle: earlier ones are void. */
  #schedule = 0;
  #fleet: Fleet | null = null;
  /** What this process believes to be the remote's head; undefined before its first look. */
  #head: Commit | null | undefined;
  /** The newest revision that the remote was seen to have; null before it was asked. */
  #shown: number | null = null;
  #lastPushAt: number | null = null;
  #at = 0 as Instant;

  constructor(host: CycleHost) {
    this.#host = host;
  }

  reset(): void {
    this.#running = false;
    this.#woken = false;
    this.#fleet = null;
    this.#head = undefined;
    this.#shown = null;
    this.#lastPushAt = null;
    this.#schedule += 1;
  }

  wake(): void {
    if (this.#running) this.#woken = true;
    else this.#begin();
  }

  #begin(): void {
    this.#schedule += 1;
    if (this.#host.lease() === null) { this.#next(pollMs); return; }
    this.#running = true;
    this.#observe();
  }

  #next(ms: number): void {
    this.#running = false;
    this.#schedule += 1;
    const schedule = this.#schedule;
    const pause = this.#woken ? 0 : ms;
    this.#woken = false;
    this.#host.later(pause, () => { if (schedule === this.#schedule && !this.#running) this.#begin(); });
  }

  /** @returns whether the process lived on. */
  #step(name: string): boolean {
    if (this.crashAt !== name) return true;
    this.crashAt = null;
    this.#host.crash();
    this.#host.world.kernel.after(this.#host.world.kernel.random.between(1_000, 30_000), () => this.#host.world.restart(this.#host.id));
    return false;
  }

  #observe(): void {
    const { world, view } = this.#host;
    this.#host.query(statementTimeoutMs, (rows, at) => ({
      snapshot: observe({ script: world.script, rows, at, view, mutation: world.mutation, before: this.#fleet }),
      recorded: { holds: new Map(rows.holds), locks: [...rows.locks] },
    }), (answer) => {
      if (!answer.ok) { this.#next(1_000); return; }
      if (!this.#step('observed')) return;
      const { snapshot, recorded } = answer.value;
      this.#fleet = snapshot.fleet;
      this.#at = snapshot.at;
      // Planning takes a moment, on a busy machine several; and the process may be stopped in it.
      const { random } = world.kernel;
      this.#host.later(random.chance(0.05) ? random.between(500, 5_000) : random.between(1, 150), () => this.#plan(snapshot, recorded));
    });
  }

  #plan(snapshot: Snapshot, recorded: Pick<Rows, 'holds' | 'locks'>): void {
    const { world } = this.#host;
    const planned = world.plan(snapshot);
    if (!this.#step('planned')) return;
    if (!wantsToWrite(snapshot, planned, recorded, world.mutation)) { this.#render(planned); return; }
    const stops = planned.changes.some(({ kind }) => kind === 'stop') && world.mutation !== 'git-not-asked';
    if (!stops && this.#shown !== null) { this.#decide(snapshot, planned); return; }
    // Before a live writer is stopped: its successor has to reach Git.
    this.#host.ask(() => ({ head: world.remote.head }), (answer) => {
      if (answer === null) { this.#next(2_000); return; }
      this.#shown = Math.max(this.#shown ?? 0, answer.head?.revision ?? 0);
      this.#decide(snapshot, planned);
    });
  }

  #decide(snapshot: Snapshot, planned: Plan): void {
    const { world } = this.#host;
    const leaderEpoch = this.#host.lease();
    if (leaderEpoch === null) { this.#next(pollMs); return; }
    const by = this.#host.holder;
    const decider = { leaderEpoch, view: this.#host.view, mutation: world.mutation };
    this.#host.query(statementTimeoutMs, (rows, at, clock) => {
      if ((this.#shown ?? 0) > rows.revision) throw new Refused('behind');
      world.checks.beforeDecision(rows);
      decide(rows, { at, clock }, { snapshot, plan: planned }, decider);
      world.checks.afterDecision({ rows, clock, snapshot, plan: planned, by, leaderEpoch, gitAwayFor: world.gitAwayFor(this.#host.id) });
    }, (answer) => {
      if (!answer.ok) { this.#next(answer.why === 'conflict' ? 0 : answer.why === 'behind' ? pollMs : 1_000); return; }
      if (this.#step('decided')) this.#render(planned);
    });
  }

  #render(planned: Plan): void {
    this.#host.query(statementTimeoutMs, (rows) => pendingOf(rows), (answer) => {
      if (!answer.ok) { this.#next(1_000); return; }
      if (!this.#step('rendered')) return;
      const pending = answer.value;
      const wakeAt = planned.wakeAt === null ? pollMs : planned.wakeAt - this.#at;
      const due = Math.max(100, Math.min(pollMs, wakeAt));
      if (pending === null) { this.#next(due); return; }
      const until = this.#lastPushAt === null || pending.urgent ? 0 : this.#lastPushAt + coalesceMs;
      if (until > this.#at) { this.#next(Math.min(due, until - this.#at)); return; }
      this.#publish(pending, 1);
    });
  }

  #publish(pending: Pending, attempt: number): void {
    if (attempt > pushAttempts) { this.#next(0); return; }
    const { world } = this.#host;
    if (world.mutation === 'marked-before-pushed' && attempt === 1) this.#mark(pending, () => undefined);
    if (this.#head === undefined || attempt > 1) {
      this.#host.ask(() => ({ head: world.remote.head }), (answer) => {
        if (answer === null) { this.#next(2_000); return; }
        this.#head = answer.head;
        this.#shown = Math.max(this.#shown ?? 0, answer.head?.revision ?? 0);
        this.#push(pending, attempt);
      });
      return;
    }
    this.#push(pending, attempt);
  }

  #push(pending: Pending, attempt: number): void {
    const { world } = this.#host;
    const head = this.#head ?? null;
    // A newer revision than the database knew when it was asked: somebody else publishes.
    if (head !== null && head.revision > pending.revision) { this.#head = undefined; this.#next(0); return; }
    if (head?.revision === pending.revision) { this.#mark(pending, () => this.#next(0)); return; }
    const leaderEpoch = this.#host.lease();
    this.#host.query(statementTimeoutMs, (rows, _, clock) => {
      if (world.mutation !== 'leader-not-asserted') assertLeader(rows, clock, leaderEpoch ?? 0);
    }, (leading) => {
      if (!leading.ok) { this.#next(1_000); return; }
      if (!this.#step('push')) return;
      const commit = { parent: head?.id ?? null, revision: pending.revision, by: this.#host.holder, tree: this.#treeOn(head, pending) };
      const compare = world.mutation !== 'push-without-compare';
      this.#host.ask(() => ({ pushed: world.remote.push(commit, compare) }), (answer) => {
        if (!this.#step('pushed')) return;
        if (answer === null) { this.#head = undefined; this.#next(2_000); return; }
        if (answer.pushed === null) { this.#host.later(world.kernel.random.between(20, 500), () => this.#publish(pending, attempt + 1)); return; }
        this.#head = answer.pushed;
        this.#lastPushAt = this.#at;
        this.#shown = Math.max(this.#shown ?? 0, pending.revision);
        this.#mark(pending, () => { if (this.#step('committed')) this.#next(0); });
      });
    });
  }

  #treeOn(head: Commit | null, pending: Pending): Tree {
    if (this.#host.world.mutation !== 'push-of-own-changes-only' || head === null) return pending.tree;
    const own = [...pending.tree].filter(([, { revision }]) => revision === pending.revision);
    return new Map([...head.tree, ...own]);
  }

  #mark({ revision }: Pending, then: () => void): void {
    this.#host.query(statementTimeoutMs, (rows, _, clock) => {
      for (const row of rows.revisions) if (row.id <= revision) row.committedAt ??= clock;
      this.#host.world.checks.afterMark(rows, this.#host.world.remote.head);
    }, then);
  }
}

function pendingOf(rows: Rows): Pending | null {
  const pending = rows.revisions.filter(({ committedAt }) => committedAt === null);
  if (pending.length === 0) return null;
  const urgent = pending.some(({ changes }) => changes.some(({ kind }) => kind !== 'update' && kind !== 'remove'));
  return { revision: rows.revision, tree: new Map(rows.placements), urgent };
}

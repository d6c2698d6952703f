import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import type { Random } from '../platform/random.ts';
import type { Action, Outcome } from './actions.ts';
import { leftAs, tryOnce, type Attempt, type AttemptOptions, type Ending } from './attempt.ts';
import { createKinds } from './kinds.ts';
import { runInLanes, type Step } from './lanes.ts';
import { openLine, type Line } from './line.ts';
import { createPace, type Pace } from './pace.ts';
import { createQuarantine, type Quarantine } from './quarantine.ts';
import { refOf, stagesOf, type SentAction } from './stages.ts';

/** Carries out what a comparison asks for. Keeps, from one pass to the next, what it learned: kinds, the server's pace, and what failed. */
export interface Executor {
  /**
   * Definitions and namespaces first, then everything else at once, webhooks last; then deletes, the other way round. No object waits
   * for another one of its stage. The order given counts within a stage.
   * @throws what `assertLeading` throws, when the requests that are under way have ended; Failure `settings-invalid` as `KubeAccess`
   */
  execute(actions: readonly Action[], pass: Pass): Promise<Execution>;
  /** On the monotonic clock: when the first of the objects that failed may be tried again; null if none waits. */
  retryAt(): Millis | null;
}

export interface ExecutorOptions {
  readonly writer: KubeWriter;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Pass extends Pick<AttemptOptions, 'objection' | 'mayRecreate'> {
  /** A newer commit: nothing more is begun, waits end, and what is under way is awaited. */
  readonly signal: AbortSignal;
  /** Reads the lease; asked again every second while requests go out. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
  /** The server says what would happen, and nothing happens; nothing is learned from it. */
  readonly dryRun: boolean;
}

export interface Execution {
  /** One for each action, in the order in which they ended. */
  readonly outcomes: readonly Outcome[];
  /** That were sent, questions about kinds included. */
  readonly requests: number;
}

/** A server that does not answer for so long is for the next pass. */
const givenUpAfter = seconds(20);

export function createExecutor({ writer, clock, random }: ExecutorOptions): Executor {
  const kinds = createKinds(clock);
  const pace = createPace();
  const quarantine = createQuarantine({ clock, random });
  return {
    retryAt: () => quarantine.nextAt(),
    execute: async (actions, pass) => {
      const line = openLine({ writer, clock, random, pace, assertLeading: pass.assertLeading });
      const run: Run = { options: { ...pass, clock, random, kinds, send: line.send }, line, pace, quarantine, pass, outcomes: [] };
      run.outcomes.push(...actions.filter((action) => action.kind === 'skip').map(({ ref, reason, detail }): Outcome => ({ kind: 'skipped', ref, reason, detail })));
      for (const stage of stagesOf(actions.filter((action) => action.kind !== 'skip'))) await runStage(stage, run);
      return { outcomes: run.outcomes, requests: line.requests() };
    },
  };
}

interface Run {
  readonly options: AttemptOptions;
  readonly line: Line;
  readonly pace: Pace;
  readonly quarantine: Quarantine;
  readonly pass: Pass;
  readonly outcomes: Outcome[];
}

async function runStage(actions: readonly SentAction[], run: Run): Promise<void> {
  const { options, line, pace, pass, quarantine, outcomes } = run;
  const attempts = actions.map((action): Attempt => ({ action, tries: 0, began: null, applied: null, lost: null }));
  const left = await runInLanes<Attempt, Ending>(attempts, {
    clock: options.clock, signal: pass.signal, limit: pace.limit, pausedUntil: line.pausedUntil,
    work: (attempt) => work(attempt, run),
    onDone: ({ action }, { outcome, retryAfter }) => {
      if (!pass.dryRun && outcome.kind !== 'skipped') quarantine.note(action, outcome, retryAfter);
      outcomes.push(outcome);
    },
  });
  outcomes.push(...left.map((attempt) => leftAs(attempt, { kind: 'skipped', ref: refOf(attempt.action), reason: 'overtaken', detail: 'something newer came before its turn' })));
}

async function work(attempt: Attempt, { options, line, quarantine, pass }: Run): Promise<Step<Ending>> {
  const { action } = attempt;
  const ref = refOf(action);
  const waits = pass.dryRun || attempt.tries > 0 ? null : quarantine.objection(action);
  if (waits !== null) return { done: { outcome: { kind: 'skipped', ref, reason: 'backing-off', detail: waits }, retryAfter: null } };
  const silence = line.silentFor();
  if (silence > givenUpAfter) {
    const detail = `not sent: nothing was answered for ${String(Math.round(silence / 1000))} s`;
    return { done: { outcome: leftAs(attempt, { kind: 'failed', ref, reason: 'server', detail, retry: 'soon' }), retryAfter: null } };
  }
  return tryOnce(attempt, options);
}

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
import { refOf, stagesOf, type Rank, type SentAction, type Stage } from './stages.ts';

/** Carries out what a comparison asks for. Keeps, from one pass to the next, what it learned: kinds, the server's pace, and what failed. */
export interface Executor {
  /**
   * Definitions and namespaces first, then everything else at once, webhooks last; then deletes, the other way round. No object waits
   * for another one of its stage. The order given counts within a stage.
   *
   * Where there is too much to hold at once, batches are taken as they are needed, and what of a batch is of the stage that is under
   * way joins it. A stage of a batch that is another one begins when all that came before has ended: so their stages stand in order.
   * @throws what `assertLeading` throws, and what making a batch does, when the requests that are under way have ended; Failure `settings-invalid` as `KubeAccess`
   */
  execute(actions: readonly Action[] | AsyncIterable<readonly Action[]>, pass: Pass): Promise<Execution>;
  /** On the monotonic clock: when the first of the objects that failed may be tried again; null if none waits. */
  retryAt(): Millis | null;
}

export interface ExecutorOptions {
  readonly writer: KubeWriter;
  readonly clock: Clock;
  readonly random: Random;
}

export interface Pass extends Pick<AttemptOptions, 'objection' | 'recreate'> {
  /** A newer commit: nothing more is begun, waits end, and what is under way is awaited. */
  readonly signal: AbortSignal;
  /** Reads the lease; asked again every second while requests go out. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
  /** The server says what would happen, and nothing happens; nothing is learned from it. */
  readonly dryRun: boolean;
  /** To be told of each outcome as it comes, also of those before something was thrown. */
  readonly onOutcome?: (action: Action, outcome: Outcome) => void;
}

export interface Execution {
  /** One for each action that was taken, in the order in which they ended. */
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
      const outcomes: Outcome[] = [];
      const end: Run['end'] = (action, outcome) => {
        outcomes.push(outcome);
        pass.onOutcome?.(action, outcome);
      };
      const run: Run = { options: { ...pass, clock, random, kinds, send: line.send }, line, pace, quarantine, pass, end };
      await runStages('length' in actions ? [actions] : actions, run);
      return { outcomes, requests: line.requests() };
    },
  };
}

interface Run {
  readonly options: AttemptOptions;
  readonly line: Line;
  readonly pace: Pace;
  readonly quarantine: Quarantine;
  readonly pass: Pass;
  readonly end: (action: Action, outcome: Outcome) => void;
}

async function runStages(batches: Iterable<readonly Action[]> | AsyncIterable<readonly Action[]>, run: Run): Promise<void> {
  const stages = createQueue(stagesFrom(batches, run));
  try {
    for (let stage = await stages.peek(); stage !== null; stage = await stages.peek()) {
      if (run.pass.signal.aborted) for (const action of (await stages.take(stage.rank)) ?? []) run.end(action, overtaken(action));
      else await runStage(stage.rank, stages, run);
    }
  } finally {
    await stages.close();
  }
}

/** What is skipped ends here. */
async function* stagesFrom(batches: Iterable<readonly Action[]> | AsyncIterable<readonly Action[]>, { pass, end }: Run): AsyncGenerator<Stage, void> {
  for await (const batch of batches) {
    for (const action of batch) if (action.kind === 'skip') end(action, { kind: 'skipped', ref: action.ref, reason: action.reason, detail: action.detail });
    yield* stagesOf(batch.filter((action) => action.kind !== 'skip'));
    if (pass.signal.aborted) return;
  }
}

/** Stages, of which one is looked at before it is taken. */
interface Queue {
  /** Null: there are no more. */
  peek(): Promise<Stage | null>;
  /** The next, if it is of this rank. */
  take(rank: Rank): Promise<readonly SentAction[] | null>;
  close(): Promise<void>;
}

function createQueue(stages: AsyncGenerator<Stage, void>): Queue {
  let next: Stage | null | undefined;
  const peek = async (): Promise<Stage | null> => (next ??= (await stages.next()).value ?? null);
  return {
    peek,
    take: async (rank) => {
      const stage = await peek();
      if (stage?.rank !== rank) return null;
      next = undefined;
      return stage.actions;
    },
    close: () => stages.return().then(() => undefined),
  };
}

async function runStage(rank: Rank, stages: Queue, run: Run): Promise<void> {
  const { options, line, pace, pass, quarantine, end } = run;
  const left = await runInLanes<Attempt, Ending>({
    clock: options.clock, signal: pass.signal, limit: pace.limit, pausedUntil: line.pausedUntil,
    more: async () => (await stages.take(rank))?.map((action): Attempt => ({ action, tries: 0, began: null, applied: null, lost: null })) ?? null,
    work: (attempt) => work(attempt, run),
    onDone: ({ action }, { outcome, retryAfter }) => {
      if (!pass.dryRun && outcome.kind !== 'skipped') quarantine.note(action, outcome, retryAfter);
      end(action, outcome);
    },
  });
  for (const attempt of left) end(attempt.action, leftAs(attempt, overtaken(attempt.action)));
}

function overtaken(action: SentAction): Outcome {
  return { kind: 'skipped', ref: refOf(action), reason: 'overtaken', detail: 'something newer came before its turn' };
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

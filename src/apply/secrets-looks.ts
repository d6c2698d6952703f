import { Failure } from '../model/failure.ts';
import type { Fleet } from '../model/fleet.ts';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import { backoff } from '../platform/retry.ts';

/** As whom the cluster and the database are written. */
export interface Lead {
  /** `dory.leader.epoch`. */
  readonly epoch: number;
  /** @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
}

interface PassResult {
  /** Manifests have to show other versions. */
  readonly raised: boolean;
  readonly failed: boolean;
  /** Something is left to do that only time brings. */
  readonly waiting: boolean;
}

/** One look at the Secrets of a fleet, and what it asks for. `rows` changes whenever rows do that credentials come from. */
export type SecretsPass = (fleet: Fleet, rows: string, lead: Lead) => Promise<PassResult>;

/** When to look: as soon as something changed, and again after a while where that is not enough. One look at a time. */
export interface Looks {
  /** Something else than fleet and rows changed. */
  stir(): void;
  /**
   * Waits for the look, but not for long. What fails is told, and tried again at a later call.
   * @returns whether manifests have to show other versions now
   * @throws no Failure
   */
  look(fleet: Fleet, rows: string, lead: Lead): Promise<boolean>;
  /** Resolves when none is under way. */
  settled(): Promise<void>;
}

export interface LooksOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** A look that took longer than `patience` is over. */
  readonly onChange: () => void;
}

const troublePause = { first: seconds(2), longest: seconds(120) };
/** What only time brings can wait for a poll. */
const waitingPause = seconds(30);
const notAgain = Number.POSITIVE_INFINITY;

/** @param patience how long a cycle waits for a look */
export function createLooks(options: LooksOptions, pass: SecretsPass, patience: Millis): Looks {
  const { clock } = options;
  const state: State = { seen: null, stirred: true, underWay: null, failures: 0, againAt: notAgain, bug: null };
  return {
    stir: () => { state.stirred = true; },
    look: async (fleet, rows, lead) => {
      if (state.bug !== null) throw state.bug.error;
      const changed = state.stirred || state.seen?.fleet !== fleet || state.seen.rows !== rows;
      if (!(changed || clock.monotonic() >= state.againAt) || state.underWay !== null) return false;
      state.seen = { fleet, rows };
      state.underWay = lookOnce(options, state, () => pass(fleet, rows, lead)).finally(() => { state.underWay = null; });
      return inTime(options, state.underWay, { state, patience });
    },
    settled: async () => { await state.underWay?.catch(() => undefined); },
  };
}

interface State {
  seen: { readonly fleet: Fleet; readonly rows: string } | null;
  /** Since the last look began. */
  stirred: boolean;
  underWay: Promise<boolean> | null;
  failures: number;
  /** On the monotonic clock: when to look again although nothing changed. */
  againAt: number;
  /** Thrown when nobody waited for it any more. */
  bug: { readonly error: unknown } | null;
}

async function lookOnce({ clock, random, log }: LooksOptions, state: State, pass: () => Promise<PassResult>): Promise<boolean> {
  state.stirred = false;
  const result = await pass().catch((error: unknown): PassResult => {
    const failure = databaseFailure(error);
    if (!(failure instanceof Failure)) throw error;
    if (failure.code !== 'not-leader') log.warn({ err: failure, code: failure.code }, 'the Secrets could not be looked after');
    return { raised: false, failed: true, waiting: false };
  });
  state.failures = result.failed ? state.failures + 1 : 0;
  const pause = result.failed ? backoff(troublePause, state.failures, random) : waitingPause;
  state.againAt = result.failed || result.waiting ? clock.monotonic() + pause : notAgain;
  return result.raised;
}

/** What takes longer goes on, and is told when it is over. */
async function inTime({ clock, onChange }: LooksOptions, look: Promise<boolean>, { state, patience }: { readonly state: State; readonly patience: Millis }): Promise<boolean> {
  const done = new AbortController();
  const late = clock.sleep(patience, done.signal).then(() => null, () => null);
  const result = await Promise.race([look, late]);
  done.abort();
  if (result !== null) return result;
  look.then(onChange, (error: unknown) => { state.bug = { error }; });
  return false;
}

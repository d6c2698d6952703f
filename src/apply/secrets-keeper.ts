import type { Pool } from 'pg';
import type { Credentials } from '../model/credentials.ts';
import { Failure } from '../model/failure.ts';
import type { Fleet } from '../model/fleet.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { createKubeCache } from '../platform/kube/watch.ts';
import type { KubeWriter } from '../platform/kube/write.ts';
import type { Log } from '../platform/log.ts';
import type { Random } from '../platform/random.ts';
import { backoff } from '../platform/retry.ts';
import { createExecutor } from './execute.ts';
import { markerOf, ourLabel, readSecret } from './secrets-live.ts';
import { createPass, type Lead, type PassResult } from './secrets-pass.ts';

/**
 * Keeps the Secrets of the cluster as the database has them: looks when the fleet, the rows that credentials come from, or the
 * Secrets themselves changed; with nothing to do, it sends no request and asks nobody. Values are in memory only while they are
 * compared, row by row, and while they are sent.
 */
export interface SecretsKeeper {
  /** Begins to watch. */
  start(): void;
  /** Resolves with true as soon as everything was listed once, or with false when `limit` is over. */
  synced(limit: Millis): Promise<boolean>;
  /**
   * Before the manifests that refer to them: waits for the Secrets, but not for long, since a failover must not. What fails is told, and
   * tried again at a later call.
   * @param mark changes whenever rows do that credentials come from
   * @returns whether manifests have to show other versions now
   * @throws no Failure
   */
  keep(fleet: Fleet, mark: string, lead: Lead): Promise<boolean>;
  close(): Promise<void>;
}

export interface SecretsKeeperOptions {
  readonly client: KubeClient;
  readonly writer: KubeWriter;
  readonly pool: Pool;
  /** The credentials of these Secrets, or of all. */
  readonly credentials: (names: readonly string[] | null) => AsyncIterable<readonly [string, Credentials]>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** A Secret came, changed or went, or a look that took long is over. */
  readonly onChange: () => void;
}

/** What a cycle waits for: 1,000 Secrets take a second or two. */
const patience = seconds(3);
/** The watch gives a sign of life so often. */
const signEvery = seconds(6);
const troublePause = { first: seconds(2), longest: seconds(120) };
/** What only time brings can wait for a poll. */
const waitingPause = seconds(30);
const notAgain = Number.POSITIVE_INFINITY;
/** A list takes some 10 ms. */
const syncPoll = millis(20);

export function createSecretsKeeper(options: SecretsKeeperOptions): SecretsKeeper {
  const { client, writer, clock, random, log, onChange } = options;
  const mark = markerOf(random);
  const state: State = { seen: null, dirty: true, underWay: null, failures: 0, againAt: notAgain, bug: null };
  const cache = createKubeCache({
    client, clock, random, log, signEvery,
    path: '/api/v1/secrets',
    labelSelector: `${ourLabel.key}=${ourLabel.value}`,
    metadataOnly: false,
    read: (object) => readSecret(object, mark),
    onChange: () => {
      state.dirty = true;
      onChange();
    },
    onState: onChange,
  });
  const executor = createExecutor({ writer, clock, random });
  const pass = createPass({ ...options, mark, live: cache.items, executor });
  return {
    start: () => { cache.start(); },
    synced: async (limit) => {
      const end = clock.monotonic() + limit;
      while (cache.aliveAt() === null) {
        if (clock.monotonic() >= end) return false;
        await clock.sleep(syncPoll);
      }
      return true;
    },
    keep: async (fleet, rows, lead) => {
      if (state.bug !== null) throw state.bug.error;
      const changed = state.dirty || state.seen?.fleet !== fleet || state.seen.rows !== rows;
      if (!(changed || clock.monotonic() >= state.againAt) || state.underWay !== null || cache.aliveAt() === null) return false;
      state.seen = { fleet, rows };
      const look = lookOnce(options, state, () => pass(fleet, rows, lead));
      state.underWay = look.finally(() => { state.underWay = null; });
      return inTime(options, state.underWay, state);
    },
    close: async () => {
      await cache.close();
      await state.underWay?.catch(() => undefined);
      client.close();
    },
  };
}

interface State {
  seen: { readonly fleet: Fleet; readonly rows: string } | null;
  /** A Secret changed since the last look began. */
  dirty: boolean;
  underWay: Promise<boolean> | null;
  failures: number;
  /** On the monotonic clock: when to look again although nothing changed. */
  againAt: number;
  /** Thrown when nobody waited for it any more. */
  bug: { readonly error: unknown } | null;
}

async function lookOnce({ clock, random, log }: SecretsKeeperOptions, state: State, pass: () => Promise<PassResult>): Promise<boolean> {
  state.dirty = false;
  const result = await pass().catch((error: unknown): PassResult => {
    if (!(error instanceof Failure)) throw error;
    if (error.code !== 'not-leader') log.warn({ err: error, code: error.code }, 'the Secrets could not be looked after');
    return { raised: false, failed: true, waiting: false };
  });
  state.failures = result.failed ? state.failures + 1 : 0;
  const pause = result.failed ? backoff(troublePause, state.failures, random) : waitingPause;
  state.againAt = result.failed || result.waiting ? clock.monotonic() + pause : notAgain;
  return result.raised;
}

/** What takes longer goes on, and is told when it is over. */
async function inTime({ clock, onChange }: SecretsKeeperOptions, look: Promise<boolean>, state: State): Promise<boolean> {
  const done = new AbortController();
  const late = clock.sleep(patience, done.signal).then(() => null, () => null);
  const result = await Promise.race([look, late]);
  done.abort();
  if (result !== null) return result;
  look.then(onChange, (error: unknown) => { state.bug = { error }; });
  return false;
}

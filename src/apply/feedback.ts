import type { Pool } from 'pg';
import { Failure } from '../model/failure.ts';
import type { ReasonCode } from '../model/reasons.ts';
import type { LiveProcessor, RolloutPolicy } from '../model/rollout.ts';
import { millis, seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { assertLeader, type Lease } from '../platform/leadership.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import { inBatches, inTransaction } from '../platform/pg.ts';
import { judge } from './health.ts';
import { changeOf, type HealthChange, type HealthRow } from './health-rows.ts';
import { beginRollouts, forgetRemoved, hasRemoved, holdRows, podColumns, readHealthRows, settle, unsettledRevisions, writeHealth, type PodColumns } from './health-sql.ts';

/**
 * What the cluster shows of roll-outs, told to the database: `processors`, `dory.rollouts`, events, and when each revision was live.
 *
 * Only what was touched is looked at (a pod changed, a placement was decided, a deadline is over), many at once, and only what is
 * news is written; all of it is looked at when this instance begins to lead, and now and then. Of a processor that the cluster does
 * not show for certain nothing is said. With several instances only the leader writes, and asserts that in each transaction.
 */
export interface Feedback {
  /** Something about this processor changed. */
  touch(processorId: string): void;
  /** Revisions reached the remote. */
  published(): void;
  /** One look: at all of it the first time, then at what was touched. @throws as the database */
  once(): Promise<void>;
  /** Until `signal` is aborted. */
  run(signal: AbortSignal): Promise<void>;
}

export interface FeedbackOptions {
  readonly pool: Pool;
  /** What the cluster shows of a processor; null: it is not known. */
  readonly live: (processorId: string) => LiveProcessor | null;
  readonly lease: () => Lease | null;
  readonly policy: RolloutPolicy;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'podCreationErrors' | 'liveSeconds'>;
}

/** Pods of one roll-out change within moments of each other: so many share a transaction. */
const gather = millis(100);
/** How often to see whether this instance leads, and whether a deadline is over. */
const tick = seconds(1);
/** Others may have changed the rows; nothing but this look notices. */
const lookAtAllEvery = seconds(300);
/** After a failure of the database. */
const pauseAfterFailure = seconds(2);
/** Heartbeats wait for no batch of this longer than they can. */
const batchSize = 2_000;
/** More lines about one batch than this are one that counts them. */
const mostLines = 20;
/** Failures that are of a pod's creation, as the metric's name has it; the others come after it, or before there is a pod to create. */
const ofCreation: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['image-pull', 'container-error', 'unschedulable', 'quota-exceeded', 'pod-refused', 'pod-not-started']);

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

interface State {
  readonly touched: Set<string>;
  /** Decided and not yet on the remote. */
  readonly uncommitted: Set<string>;
  /** By processor, on the monotonic clock. */
  readonly due: Map<string, Millis>;
  /** Null: this instance did not lead lately. */
  epoch: number | null;
  lookedAtAll: Millis;
  /** Whether revisions may have become live. */
  settle: boolean;
  columns: PodColumns | null;
}

export function createFeedback(options: FeedbackOptions): Feedback {
  const { clock, log } = options;
  const state: State = { touched: new Set(), uncommitted: new Set(), due: new Map(), epoch: null, lookedAtAll: millis(0), settle: false, columns: null };
  let wake: (() => void) | null = null;
  const call = (): void => { wake?.(); };
  const sleep = async (signal: AbortSignal): Promise<void> => {
    const early = new AbortController();
    wake = () => { early.abort(); };
    if (state.touched.size === 0 || isBlind(options)) await clock.sleep(tick, AbortSignal.any([signal, early.signal])).catch(() => undefined);
    wake = null;
    if (state.touched.size > 0) await clock.sleep(gather, signal).catch(() => undefined);
  };
  return {
    touch: (processorId) => {
      // The label of a pod, which anybody may have written.
      if (!uuid.test(processorId)) return;
      state.touched.add(processorId);
      call();
    },
    published: () => {
      for (const id of state.uncommitted) state.touched.add(id);
      state.uncommitted.clear();
      state.settle = true;
      call();
    },
    once: () => round(options, state),
    run: async (signal) => {
      while (!signal.aborted) {
        try {
          await round(options, state);
        } catch (error) {
          tellFailure(log, databaseFailure(error));
          // A column may have come or gone.
          state.columns = null;
          await clock.sleep(pauseAfterFailure, signal).catch(() => undefined);
        }
        await sleep(signal);
      }
    },
  };
}

function tellFailure(log: Log, error: unknown): void {
  const code = error instanceof Failure ? error.code : null;
  // Another instance leads by now: that is told where it is decided.
  if (code === 'not-leader') return;
  log[code === null ? 'error' : 'warn']({ err: error }, 'what the cluster shows could not be recorded; it is tried again');
}

/** What the cluster shows now is not known. Once it is, each of its objects touches its processor. */
const isBlind = ({ live }: FeedbackOptions): boolean => live('') === null;

/** One look at what was touched. Without the lease, everything is looked at once it is back. */
async function round(options: FeedbackOptions, state: State): Promise<void> {
  const { pool, clock, lease } = options;
  const held = lease();
  if (held === null) {
    state.epoch = null;
    for (const known of [state.touched, state.uncommitted, state.due]) known.clear();
    return;
  }
  if (isBlind(options)) return;
  const now = clock.monotonic();
  state.columns ??= await podColumns(pool);
  if (state.epoch !== held.epoch || now - state.lookedAtAll >= lookAtAllEvery) {
    if (state.epoch === null) await beginRollouts(pool);
    await lookAtAll(options, state, held);
    state.epoch = held.epoch;
    state.lookedAtAll = now;
  }
  for (const [id, dueAt] of state.due) if (dueAt <= now) state.touched.add(id);
  await lookAtTouched(options, state, held);
  if (state.settle) await settleRevisions(options, state, held);
}

async function lookAtAll(options: FeedbackOptions, state: State, lease: Lease): Promise<void> {
  let after: string | null = null;
  do {
    const rows: readonly HealthRow[] = await readHealthRows(options.pool, columnsOf(state), { after, limit: batchSize });
    await record(options, state, lease, rows);
    after = rows.length < batchSize ? null : (rows.at(-1)?.processorId ?? null);
  } while (after !== null);
  if (await hasRemoved(options.pool)) {
    await inTransaction(options.pool, { isolation: 'read committed' }, async (client) => {
      await assertLeader(client, lease.epoch);
      await forgetRemoved(client);
    });
  }
  state.settle = true;
}

async function lookAtTouched(options: FeedbackOptions, state: State, lease: Lease): Promise<void> {
  const ids = [...state.touched];
  for (const batch of inBatches(ids, batchSize)) {
    const rows = await readHealthRows(options.pool, columnsOf(state), { ids: batch });
    // What has no placement may be what a revision removed.
    if (rows.length < batch.length) state.settle = true;
    // What is touched from here on is looked at again.
    for (const id of batch) {
      state.touched.delete(id);
      state.due.delete(id);
    }
    try {
      await record(options, state, lease, rows);
    } catch (error) {
      for (const id of batch) state.touched.add(id);
      throw error;
    }
  }
}

const columnsOf = ({ columns }: State): PodColumns => columns ?? new Set();

async function record(options: FeedbackOptions, state: State, lease: Lease, rows: readonly HealthRow[]): Promise<void> {
  const wanted = changesOf(options, state, rows).map(({ processorId }) => processorId);
  if (wanted.length === 0) return;
  const written = await inTransaction(options.pool, { isolation: 'read committed' }, async (client) => {
    await assertLeader(client, lease.epoch);
    const held = await holdRows(client, wanted);
    // Once more, of the rows as they are now that nobody else can change them.
    const changes = changesOf(options, state, await readHealthRows(client, columnsOf(state), { ids: held }));
    if (changes.length > 0) await writeHealth(client, columnsOf(state), changes);
    return { held: new Set(held), changes };
  });
  // A decision holds the others; it is over in moments.
  for (const id of wanted) if (!written.held.has(id)) state.touched.add(id);
  tell(options, written.changes);
  if (written.changes.some(({ rollout }) => rollout?.state === 'live')) state.settle = true;
}

function changesOf({ live, clock, policy }: FeedbackOptions, state: State, rows: readonly HealthRow[]): readonly HealthChange[] {
  const now = clock.monotonic();
  return rows.flatMap((row) => {
    const shown = live(row.processorId);
    if (shown === null) {
      state.touched.add(row.processorId);
      return [];
    }
    const rollout = judge(row, shown, row.recorded, { policy, now });
    if (rollout.dueAt === null) state.due.delete(row.processorId);
    else state.due.set(row.processorId, rollout.dueAt);
    if (rollout.state === 'pending' && row.committedMs === null) state.uncommitted.add(row.processorId);
    return changeOf(row, rollout) ?? [];
  });
}

function tell({ log, metrics }: FeedbackOptions, changes: readonly HealthChange[]): void {
  const told = changes.flatMap(({ processorId, event }) => (event === null ? [] : [{ processor: processorId, ...event }]));
  for (const { kind, reason } of told) if (kind === 'rollout-failed' && ofCreation.has(reason)) metrics.podCreationErrors.inc({ reason });
  for (const { kind, ...event } of told.slice(0, mostLines)) {
    if (kind === 'rollout-failed') log.warn(event, 'the cluster does not run it');
    else log.info(event, 'the cluster runs it again');
  }
  if (told.length > mostLines) log.warn({ more: told.length - mostLines }, 'roll-outs of many others failed or recovered; dory status and dory events have them');
}

async function settleRevisions(options: FeedbackOptions, state: State, lease: Lease): Promise<void> {
  const { pool, live, metrics } = options;
  state.settle = false;
  const unsettled = await unsettledRevisions(pool);
  const isGone = (id: string): boolean => {
    const shown = live(id);
    return shown !== null && shown.sets.length === 0 && shown.pods.length === 0;
  };
  const settled = unsettled.filter(({ removed }) => removed.every(isGone)).map(({ revision }) => revision);
  if (settled.length === 0) return;
  const took = await inTransaction(pool, { isolation: 'read committed' }, async (client) => {
    await assertLeader(client, lease.epoch);
    return settle(client, settled);
  });
  for (const span of took) metrics.liveSeconds.observe(span / 1000);
}

import type { Pool } from 'pg';
import { shortened } from '../platform/event-groups.ts';
import { assertLeader } from '../platform/leadership.ts';
import type { Log } from '../platform/log.ts';
import type { Metrics } from '../platform/metrics.ts';
import { inTransaction } from '../platform/pg.ts';
import type { SecretOutcome } from './secrets-write.ts';

/** What is told of one Secret; names and versions, nothing of its content. */
interface SecretEvent {
  readonly kind: 'secret-refused' | 'secret-removed' | 'credentials-pending' | 'credentials-replaced';
  readonly evidence: Readonly<Record<string, string | number>>;
}

export interface TellerOptions {
  readonly pool: Pool;
  readonly log: Log;
  /** Null where nobody collects them. */
  readonly metrics: Pick<Metrics, 'secretWrites' | 'secretProblems'> | null;
}

/** Tells what becomes of Secrets: each trouble once, and of many no more lines and events than a person reads. */
export interface Teller {
  /** @param place `namespace/name` */
  outcome(place: string, outcome: SecretOutcome): void;
  problem(place: string, reason: string, detail: string): void;
  /** In the database, and not known to be in the Secret. */
  pending(name: string, version: number): void;
  /** Also in the Secret. */
  replaced(name: string, version: number): void;
  /** What is not among these is as it should be, or not needed. */
  solvedBut(places: ReadonlySet<string>): void;
  /** What was told since the last time, into the log, the metrics and the events. @throws Failure `not-leader`, `database-*` */
  flush(leaderEpoch: number): Promise<void>;
}

/** More than this at once are a count. */
const mostTold = 20;
const sentences = {
  'secret-refused': 'a Secret is not as it should be',
  'secret-removed': 'Secret removed: nothing needs it any more',
  'credentials-pending': 'credentials were replaced in the database: their pods restart when the Secret has them',
  'credentials-replaced': 'credentials were replaced: their pods restart',
} as const satisfies Record<SecretEvent['kind'], string>;

export function createTeller({ pool, log, metrics }: TellerOptions): Teller {
  /** Why each is not as it should be. */
  const problems = new Map<string, string>();
  const events: SecretEvent[] = [];
  const written = { created: 0, configured: 0 };
  const problem = (place: string, reason: string, detail: string): void => {
    if (problems.get(place) === reason) return;
    problems.set(place, reason);
    events.push({ kind: 'secret-refused', evidence: { object: place, reason, detail } });
  };
  return {
    problem,
    outcome: (place, outcome) => {
      metrics?.secretWrites.inc({ outcome: outcome.kind });
      if (outcome.kind === 'created' || outcome.kind === 'configured') written[outcome.kind] += 1;
      if (outcome.kind === 'pruned') events.push({ kind: 'secret-removed', evidence: { object: place } });
      if (outcome.kind === 'unknown') problem(place, 'unknown', outcome.detail);
      else if ('reason' in outcome && !passing.has(outcome.reason)) problem(place, outcome.reason, outcome.detail);
      else if (!('reason' in outcome)) problems.delete(place);
    },
    pending: (name, version) => { events.push({ kind: 'credentials-pending', evidence: { object: name, version } }); },
    replaced: (name, version) => { events.push({ kind: 'credentials-replaced', evidence: { object: name, version } }); },
    solvedBut: (places) => {
      for (const place of [...problems.keys()]) if (!places.has(place)) problems.delete(place);
    },
    flush: async (leaderEpoch) => {
      if (written.created + written.configured > 0) log.info({ ...written }, 'Secrets written');
      Object.assign(written, { created: 0, configured: 0 });
      showProblems(metrics, problems);
      const told = shorten(events);
      await record(pool, leaderEpoch, told);
      events.length = 0;
      for (const { kind, evidence } of told) log[kind === 'secret-refused' ? 'warn' : 'info'](evidence, sentences[kind]);
    },
  };
}

/** The copy of the cluster is behind by a moment, or it waits for its turn after what was told already. */
const passing: ReadonlySet<string> = new Set(['partial-knowledge', 'backing-off', 'overtaken']);

function showProblems(metrics: TellerOptions['metrics'], problems: ReadonlyMap<string, string>): void {
  if (metrics === null) return;
  // What is not seen any more goes to nothing.
  metrics.secretProblems.reset();
  for (const reason of problems.values()) metrics.secretProblems.inc({ reason });
}

function shorten(events: readonly SecretEvent[]): readonly SecretEvent[] {
  return shortened(events, ({ kind }) => kind, { most: mostTold, instead: (all, { kind }) => [...all.slice(0, mostTold), { kind, evidence: { more: all.length - mostTold } }] });
}

async function record(pool: Pool, leaderEpoch: number, events: readonly SecretEvent[]): Promise<void> {
  if (events.length === 0) return;
  await inTransaction(pool, { isolation: 'read committed' }, async (client) => {
    await assertLeader(client, leaderEpoch);
    await client.query('insert into dory.events (kind, evidence) select kind, evidence from jsonb_to_recordset($1::jsonb) as e (kind text, evidence jsonb)', [JSON.stringify(events)]);
  });
}

import type { Pool } from 'pg';
import type { ProcessorId } from '../model/ids.ts';
import type { Outcome } from './actions.ts';
import type { Drift } from './drift.ts';
import { keyOf, type DesiredTree, type LiveObject, type ObjectRef } from './objects.ts';
import { byShard, type Shard } from './shards.ts';

/** An object that is not as committed, as `dory.apply_problems` keeps it. */
export interface Problem {
  readonly object: string;
  readonly processorId: ProcessorId | null;
  readonly outcome: 'failed' | 'skipped' | 'unknown';
  readonly reason: string;
  readonly detail: string;
}

/** A change of our fields by somebody else. */
export interface DriftRecord extends Drift {
  readonly ref: ObjectRef;
  readonly processorId: ProcessorId | null;
  /** Deleted altogether. */
  readonly deleted: boolean;
  readonly action: 'corrected' | 'reported';
}

/** What the loop keeps in the database: for people, and for who takes over. Written when it changes. */
export interface AppliedStore {
  /** The newest revision that is known to be on the remote; 0 if none. */
  committed(): Promise<number>;
  /** Of these processors, those that are ours now or were once. */
  known(ids: readonly ProcessorId[]): Promise<ReadonlySet<string>>;
  recordDrift(drifts: readonly DriftRecord[]): Promise<void>;
  /** `problems` is all that there are. Folders without one are where the commit is. */
  record(tree: DesiredTree, problems: readonly Problem[]): Promise<void>;
}

export function createAppliedStore(pool: Pool): AppliedStore {
  let memory: Memory | null = null;
  return {
    committed: async () => {
      const { rows } = await pool.query<{ revision: string | null }>('select max(id) as revision from dory.revisions where committed_at is not null');
      return Number(rows[0]?.revision ?? 0);
    },
    known: async (ids) => {
      const { rows } = await pool.query<{ id: string }>(
        `select id from unnest($1::uuid[]) as asked (id)
          where exists (select from dory.placements p where p.processor_id = asked.id) or exists (select from dory.retired_epochs r where r.processor_id = asked.id)`,
        [ids],
      );
      return new Set(rows.map(({ id }) => id));
    },
    recordDrift: async (drifts) => {
      if (drifts.length === 0) return;
      await pool.query(
        `insert into dory.events (kind, processor_id, evidence) select 'drift', (d ->> 'processor')::uuid, d -> 'evidence' from jsonb_array_elements($1::jsonb) as d`,
        [JSON.stringify(drifts.map(({ ref, processorId, ...evidence }) => ({ processor: processorId, evidence: { object: keyOf(ref), ...evidence } })))],
      );
    },
    record: async (tree, problems) => {
      memory ??= await readMemory(pool);
      await recordProblems(pool, memory, problems);
      await recordShards(pool, memory, tree, problems);
    },
  };
}

interface Memory {
  /** By object. */
  readonly problems: Map<string, string>;
  /** Digests, by shard. */
  readonly shards: Map<string, string>;
  /** Those of the last tree: they cost as much as the tree is large. */
  last: { readonly tree: DesiredTree; readonly shards: readonly Shard[] } | null;
}

async function readMemory(pool: Pool): Promise<Memory> {
  const problems = await pool.query<Pick<Problem, 'object' | 'outcome' | 'reason' | 'detail'>>('select object, outcome, reason, detail from dory.apply_problems');
  const shards = await pool.query<{ shard: string; digest: string }>('select shard, digest from dory.applied');
  return { problems: new Map(problems.rows.map((row) => [row.object, textOf(row)])), shards: new Map(shards.rows.map(({ shard, digest }) => [shard, digest])), last: null };
}

function textOf({ outcome, reason, detail }: Pick<Problem, 'outcome' | 'reason' | 'detail'>): string {
  return JSON.stringify([outcome, reason, detail]);
}

/** Over by themselves, or of the whole cluster: what was said of an object before is as good. */
const passing: ReadonlySet<string> = new Set(['terminating', 'partial-knowledge', 'overtaken']);

async function recordProblems(pool: Pool, { problems: before }: Memory, problems: readonly Problem[]): Promise<void> {
  const now = new Map(problems.map((problem) => [problem.object, problem]));
  const changed = [...now.values()].filter((problem) => !passing.has(problem.reason) && before.get(problem.object) !== textOf(problem) && !(problem.reason === 'backing-off' && before.has(problem.object)));
  const gone = [...before.keys()].filter((object) => !now.has(object));
  if (changed.length === 0 && gone.length === 0) return;
  await pool.query(
    `with gone as (delete from dory.apply_problems where object = any($2))
     insert into dory.apply_problems (object, processor_id, outcome, reason, detail)
     select p ->> 'object', (p ->> 'processorId')::uuid, p ->> 'outcome', p ->> 'reason', p ->> 'detail' from jsonb_array_elements($1::jsonb) as p
     on conflict (object) do update set outcome = excluded.outcome, reason = excluded.reason, detail = excluded.detail,
       since = case when dory.apply_problems.reason = excluded.reason then dory.apply_problems.since else now() end`,
    [JSON.stringify(changed), gone],
  );
  for (const object of gone) before.delete(object);
  for (const problem of changed) before.set(problem.object, textOf(problem));
}

async function recordShards(pool: Pool, memory: Memory, tree: DesiredTree, problems: readonly Problem[]): Promise<void> {
  if (memory.last?.tree !== tree) memory.last = { tree, shards: byShard(tree) };
  const troubled = new Set(problems.map(({ object }) => object));
  const done = memory.last.shards.filter(({ shard, digest, keys }) => memory.shards.get(shard) !== digest && !keys.some((key) => troubled.has(key)));
  if (done.length === 0) return;
  await pool.query(
    `insert into dory.applied (shard, commit_sha, revision, digest) select shard, $3, $4, digest from unnest($1::text[], $2::text[]) as done (shard, digest)
     on conflict (shard) do update set commit_sha = excluded.commit_sha, revision = excluded.revision, digest = excluded.digest, applied_at = now()`,
    [done.map(({ shard }) => shard), done.map(({ digest }) => digest), tree.commit, tree.revision],
  );
  for (const { shard, digest } of done) memory.shards.set(shard, digest);
}

/** What an outcome leaves to be mended; null if nothing. */
export function problemOf(outcome: Outcome, processorId: LiveObject['processorId']): Problem | null {
  const said = { object: keyOf(outcome.ref), processorId };
  switch (outcome.kind) {
    case 'created': case 'configured': case 'unchanged': case 'pruned': return null;
    case 'unknown': return { ...said, outcome: 'unknown', reason: 'no-answer', detail: outcome.detail };
    case 'skipped': case 'failed': return { ...said, outcome: outcome.kind, reason: outcome.reason, detail: outcome.detail };
  }
}

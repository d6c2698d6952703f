import type { Pool } from 'pg';
import { byText, type ProcessorId } from '../model/ids.ts';
import type { Millis } from '../model/time.ts';
import type { Outcome } from './actions.ts';
import type { Synced } from './compare.ts';
import type { Drift } from './drift.ts';
import { keyOf, type DesiredTree, type LiveObject, type ObjectRef } from './objects.ts';
import { byShard, folderOf, ownedOf, syncedOwned, type LeftShard, type Shard } from './shards.ts';

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

/** What the loop keeps in the database: for people, and for who goes on after a crash or a change of the lead. Written when it changes. */
export interface AppliedStore {
  /** The newest revision that is known to be on the remote; 0 if none. */
  committed(): Promise<number>;
  /** Of these processors, those that are ours now or were once. */
  known(ids: readonly ProcessorId[]): Promise<ReadonlySet<string>>;
  /** Objects, by `keyOf`, that were deleted within this time although no later epoch replaces them; those count whose deletion may not have happened. */
  spent(window: Millis): Promise<ReadonlySet<string>>;
  /** To be called before these are deleted: whoever comes next finds them in the budget. `because`: they are to be made anew. Throws as `leading`. */
  spend(objects: readonly LiveObject[], cycle: string | null, because?: 'immutable'): Promise<void>;
  /** Folders as they were left on the cluster, by their names. */
  left(): Promise<ReadonlyMap<string, LeftShard>>;
  /** Another instance may have written meanwhile. */
  forget(): void;
  /** Throws as `leading`. */
  recordDrift(drifts: readonly DriftRecord[], cycle: string | null): Promise<void>;
  /** How a pass ended that nothing overtook. Throws as `leading`. */
  record(ended: Ended): Promise<void>;
}

interface Ended {
  readonly tree: DesiredTree;
  /** All that there are. Folders without one are where the commit is. */
  readonly problems: readonly Problem[];
  readonly synced: ReadonlyMap<string, Synced>;
  /** Of which objects that may have changed since it was recorded last, by `keyOf`. */
  readonly touched: ReadonlySet<string>;
}

/** @param leading reads the lease again before anything is written; throws `Failure('not-leader')` */
export function createAppliedStore(pool: Pool, leading: () => Promise<void>): AppliedStore {
  let memory: Memory | null = null;
  const remembered = async (): Promise<Memory> => (memory ??= await readMemory(pool));
  return {
    committed: async () => {
      const { rows } = await pool.query<{ revision: string | null }>('select max(id) as revision from dory.revisions where committed_at is not null');
      return Number(rows[0]?.revision ?? 0);
    },
    known: async (ids) => {
      const { rows } = await pool.query<{ id: string }>(
        `select id from unnest($1::uuid[]) as asked (id)
          where exists (select from dory.placements p where p.processor_id = asked.id) or exists (select from dory.retired_epochs r where r.processor_id = asked.id)`,
        // A label, which anybody may have written.
        [ids.filter((id) => uuid.test(id))],
      );
      return new Set(rows.map(({ id }) => id));
    },
    spent: async (window) => {
      const { rows } = await pool.query<{ object: string }>(`select distinct evidence ->> 'object' as object from dory.events where at > now() - $1 * interval '1 ms' and kind = 'prune'`, [window]);
      return new Set(rows.map(({ object }) => object));
    },
    spend: async (objects, cycle, because) => {
      if (objects.length === 0) return;
      const told = objects.map(({ ref, uid, processorId }) => ({ processor: processorId !== null && uuid.test(processorId) ? processorId : null, evidence: { object: keyOf(ref), uid, ...(because === undefined ? {} : { because }) } }));
      await insertEvents(pool, leading, 'prune', { told, cycle });
    },
    left: async () => (await remembered()).shards,
    forget: () => { memory = null; },
    recordDrift: async (drifts, cycle) => {
      if (drifts.length === 0) return;
      const told = drifts.map(({ ref, processorId, ...evidence }) => ({ processor: processorId, evidence: { object: keyOf(ref), ...evidence } }));
      await insertEvents(pool, leading, 'drift', { told, cycle });
    },
    record: async (ended) => {
      const before = await remembered();
      await recordProblems(pool, leading, before, ended.problems);
      await recordShards(pool, leading, before, ended);
    },
  };
}

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type Leading = () => Promise<void>;

async function insertEvents(pool: Pool, leading: Leading, kind: 'drift' | 'prune', { told, cycle }: { readonly told: readonly { readonly processor: string | null; readonly evidence: object }[]; readonly cycle: string | null }): Promise<void> {
  await leading();
  await pool.query(
    `insert into dory.events (kind, cycle, processor_id, evidence) select $2, $3, (d ->> 'processor')::uuid, d -> 'evidence' from jsonb_array_elements($1::jsonb) as d`,
    [JSON.stringify(told), kind, cycle],
  );
}

interface Memory {
  /** By object. */
  readonly problems: Map<string, string>;
  readonly shards: Map<string, LeftShard>;
  /** Of the commit that was seen through last. */
  done: string | null;
  /** Those of the last tree: they cost as much as the tree is large. */
  last: { readonly tree: DesiredTree; readonly shards: readonly Shard[] } | null;
}

async function readMemory(pool: Pool): Promise<Memory> {
  const problems = await pool.query<Pick<Problem, 'object' | 'outcome' | 'reason' | 'detail'>>('select object, outcome, reason, detail from dory.apply_problems');
  const shards = await pool.query<LeftShard & { shard: string }>('select shard, digest, owned, kinds from dory.applied');
  const done = await pool.query<{ commit_sha: string }>('select commit_sha from dory.applied_commit');
  return {
    problems: new Map(problems.rows.map((row) => [row.object, textOf(row)])),
    shards: new Map(shards.rows.map(({ shard, ...left }) => [shard, left])),
    done: done.rows[0]?.commit_sha ?? null,
    last: null,
  };
}

function textOf({ outcome, reason, detail }: Pick<Problem, 'outcome' | 'reason' | 'detail'>): string {
  return JSON.stringify([outcome, reason, detail]);
}

/** Over by themselves, or of the whole cluster: what was said of an object before is as good. */
const passing: ReadonlySet<string> = new Set(['terminating', 'partial-knowledge', 'overtaken']);

async function recordProblems(pool: Pool, leading: Leading, { problems: before }: Memory, problems: readonly Problem[]): Promise<void> {
  const now = new Map(problems.map((problem) => [problem.object, problem]));
  const changed = [...now.values()].filter((problem) => !passing.has(problem.reason) && before.get(problem.object) !== textOf(problem) && !(problem.reason === 'backing-off' && before.has(problem.object)));
  const gone = [...before.keys()].filter((object) => !now.has(object));
  if (changed.length === 0 && gone.length === 0) return;
  await leading();
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

/** Whether a folder of which no object was touched is not as it was recorded. */
function mayDiffer(now: Shard, before: LeftShard | undefined): boolean {
  return before?.digest !== now.digest || before.owned === null || before.kinds.join() !== now.kinds.join();
}

async function recordShards(pool: Pool, leading: Leading, memory: Memory, { tree, problems, synced, touched }: Ended): Promise<void> {
  const troubled = new Set(problems.map(({ object }) => object));
  // What the commit has no more and is still there is found by its kind, whoever looks next.
  const hasSurvivors = problems.some(({ object }) => !tree.objects.has(object));
  if (memory.last?.tree !== tree) memory.last = { tree, shards: byShard(tree) };
  const { shards } = memory.last;
  const folders = new Set([...touched].flatMap((key) => tree.objects.get(key)?.path ?? []).map(folderOf));
  const looked = shards.filter((shard) => folders.has(shard.shard) || mayDiffer(shard, memory.shards.get(shard.shard)));
  const done = looked.filter(({ keys }) => !keys.some((key) => troubled.has(key))).flatMap(({ shard, ...now }): readonly (LeftShard & { shard: string })[] => {
    const before = memory.shards.get(shard);
    const kinds = hasSurvivors ? [...new Set([...now.kinds, ...(before?.kinds ?? [])])].sort(byText) : now.kinds;
    const left = { digest: now.digest, owned: ownedOf(now, syncedOwned(tree, synced)), kinds };
    return left.owned === null || JSON.stringify(left) === JSON.stringify(before) ? [] : [{ shard, ...left }];
  });
  const names = new Set(shards.map(({ shard }) => shard));
  const gone = hasSurvivors ? [] : [...memory.shards.keys()].filter((shard) => !names.has(shard));
  const isDone = problems.length === 0 && memory.done !== tree.commit;
  if (done.length === 0 && gone.length === 0 && !isDone) return;
  await leading();
  await pool.query(
    `with gone as (delete from dory.applied where shard = any($4)),
          whole as (insert into dory.applied_commit (commit_sha, revision) select $2, $3 where $5
                    on conflict (only_row) do update set commit_sha = excluded.commit_sha, revision = excluded.revision, applied_at = now())
     insert into dory.applied (shard, commit_sha, revision, digest, owned, kinds)
     select d ->> 'shard', $2, $3, d ->> 'digest', d ->> 'owned', array(select jsonb_array_elements_text(d -> 'kinds')) from jsonb_array_elements($1::jsonb) as d
     on conflict (shard) do update set commit_sha = excluded.commit_sha, revision = excluded.revision, digest = excluded.digest,
       owned = excluded.owned, kinds = excluded.kinds, applied_at = now()`,
    [JSON.stringify(done), tree.commit, tree.revision, gone, isDone],
  );
  for (const { shard, ...left } of done) memory.shards.set(shard, left);
  for (const shard of gone) memory.shards.delete(shard);
  if (isDone) memory.done = tree.commit;
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

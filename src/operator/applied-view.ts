import type { Pool } from 'pg';
import { z } from 'zod';
import type { FailReason, SkipReason } from '../apply/actions.ts';
import type { ProcessorId } from '../model/ids.ts';
import { formatInstant, instant, seconds } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { driftSentence, evidenceSchema } from './drift-sentence.ts';
import { moment } from './fields.ts';

const ofProcessor = { processorId: z.string().nullable(), processor: z.string().nullable().describe('Its name; null: the object is of none.') };

const problem = z.object({
  object: z.string().describe('`apps/v1/StatefulSet/NAMESPACE/NAME`'),
  ...ofProcessor,
  outcome: z.enum(['failed', 'skipped', 'unknown']),
  reason: z.string().describe('conflict, drift-reported, tracked-by-argocd, …'),
  detail: z.string().describe("In the server's words: which manager owns which field, which field is refused."),
  since: moment,
  ageMs: z.int(),
  mend: z.string().nullable().describe('What a person can do about it.'),
});

const drift = z.object({
  object: z.string(),
  ...ofProcessor,
  at: moment.describe('When it was noticed.'),
  ageMs: z.int(),
  action: z.enum(['corrected', 'reported']),
  deleted: z.boolean(),
  fields: z.array(z.string()).describe('Of ours that were changed: `spec.template.spec.containers[processor].image`.'),
  who: z.array(z.object({ manager: z.string(), operation: z.string(), when: z.string().nullable() })).describe('Field managers that have these fields now, and when they wrote; of a field that was removed, nobody.'),
  why: z.string().describe('All of it as a sentence.'),
});

const differing = {
  problems: z.array(problem),
  drift: z.array(drift),
};

/** What applying left, as `status` tells it. */
export const appliedSchema = (listed: number) => z
  .object({
    revision: z.int().nullable().describe('The newest that was on the cluster with all of its objects, and nothing beside them; null: none was yet.'),
    commit: z.string().nullable(),
    at: moment.nullable(),
    differing: z.int().describe('Objects that are not as committed.'),
    problems: differing.problems.describe(`Those; at most ${String(listed)}, the oldest first.`),
    drift: differing.drift.describe('What others changed of ours within the last day, newest first; at most 20.'),
  })
  .nullable()
  .describe('What `apply: ssa` left on the cluster; null: something else applies.');

/** The same of one processor. */
export const appliedProcessorSchema = z.object(differing).nullable().describe('Its objects that are not as committed, and what others changed of them; null: something else than `apply: ssa` applies.');

export type Applied = NonNullable<z.output<ReturnType<typeof appliedSchema>>>;

const recent = seconds(24 * 3600);
const mostDrift = 20;

export async function readApplied(pool: Pool, listed: number): Promise<Applied> {
  const { rows: [head] } = await pool.query<{ differing: string; revision: string | null; commit_sha: string | null; at_ms: string | null }>(
    `select (select count(*) from dory.apply_problems) as differing, a.revision, a.commit_sha, ${ms('a.applied_at')} as at_ms
       from (select) one left join dory.applied_commit a on true`,
  );
  const { differing: count = '0', revision = null, commit_sha: sha = null, at_ms: at = null } = head ?? {};
  return {
    revision: revision === null ? null : Number(revision),
    commit: sha,
    at: at === null ? null : formatInstant(instant(Number(at))),
    differing: Number(count),
    problems: await readProblems(pool, null, listed),
    drift: await readDrift(pool, null),
  };
}

export async function readAppliedOf(pool: Pool, processorId: string): Promise<NonNullable<z.output<typeof appliedProcessorSchema>>> {
  return { problems: await readProblems(pool, processorId, mostDrift), drift: await readDrift(pool, processorId) };
}

interface ObjectRow {
  readonly object: string;
  readonly processor_id: ProcessorId | null;
  readonly slug: string | null;
  readonly at_ms: string;
  readonly now_ms: string;
}

function shared({ object, processor_id: processorId, slug, at_ms: at, now_ms: now }: ObjectRow): { object: string; processorId: string | null; processor: string | null; at: string; ageMs: number } {
  return {
    object, processorId,
    processor: processorId === null ? null : processorStem(slug ?? 'processor', processorHash(processorId)),
    at: formatInstant(instant(Number(at))),
    ageMs: Math.max(0, Number(now) - Number(at)),
  };
}

const named = 'left join processors p on p.id = o.processor_id left join processor_templates t on t.id = p.processor_template_id';

async function readProblems(pool: Pool, processorId: string | null, limit: number): Promise<Applied['problems']> {
  const { rows } = await pool.query<ObjectRow & { outcome: Applied['problems'][number]['outcome']; reason: string; detail: string }>(
    `select o.object, o.processor_id, t.slug, ${ms('o.since')} as at_ms, ${ms('now()')} as now_ms, o.outcome, o.reason, o.detail
       from (select * from dory.apply_problems where $1::uuid is null or processor_id = $1 order by since, object limit $2) o ${named} order by o.since, o.object`,
    [processorId, limit],
  );
  return rows.map(({ outcome, reason, detail, ...row }) => {
    const { at, ...told } = shared(row);
    return { ...told, outcome, reason, detail, since: at, mend: mends[reason as keyof typeof mends] ?? null };
  });
}

async function readDrift(pool: Pool, processorId: string | null): Promise<Applied['drift']> {
  const { rows } = await pool.query<Omit<ObjectRow, 'object'> & { evidence: unknown }>(
    `select o.processor_id, t.slug, ${ms('o.at')} as at_ms, ${ms('now()')} as now_ms, o.evidence
       from (select * from dory.events where kind = 'drift' and at > now() - $2 * interval '1 ms' ${processorId === null ? '' : 'and processor_id = $3'} order by at desc, id desc limit $1) o ${named}
      order by o.at desc, o.id desc`,
    [mostDrift, recent, ...(processorId === null ? [] : [processorId])],
  );
  return rows.flatMap(({ evidence, ...row }) => {
    const { success, data } = evidenceSchema.safeParse(evidence);
    // Of another version.
    return success ? [{ ...shared({ ...row, object: data.object }), ...data, why: driftSentence(data) }] : [];
  });
}

/** What a person can do about an object that is not as committed; null where time or the world has to. */
const mends: Readonly<Record<SkipReason | FailReason | 'no-answer', string | null>> = {
  'conflict': 'let that manager give the field up, or set ssa.drift to correct, which takes it over',
  'drift-reported': 'undo the change, or `dory apply` with ssa.drift=correct',
  'tracked-by-argocd': '`dory apply --adopt` takes it over, when Argo CD no longer syncs it',
  'not-ours': '`dory apply --dry-run --adopt` tells what would be taken over, without --dry-run it is',
  'delete-budget': 'it is deleted as ssa.deleteWindow gives the budget back; raise ssa.deleteFloor for more at once',
  'higher-epoch': '`dory repair epochs --dry-run`, if it lasts',
  'kept': 'complete the section `system` of the settings, or delete it by hand: definitions, namespaces, volumes and node pools are never pruned, nor is the system with them',
  'newer-revision': 'see whose commit that revision is, and restore the branch; if this commit is right all the same, remove the annotation dory.io/revision from the object with `kubectl annotate`',
  'partial-knowledge': 'see what the log says of the watch',
  'backing-off': 'see with `dory events --kind drift` who changes it again and again',
  'forbidden': 'apply clusters/<cluster>/system/orchestrator-access.yaml, and check whose credentials these are',
  'quota': 'raise the ResourceQuota of its namespace',
  'webhook': 'see what that webhook or policy wants, or why it does not answer',
  'namespace-missing': 'create its namespace',
  'kind-unknown': 'install the CustomResourceDefinition',
  'invalid': 'mend the row or the setting that it was rendered from',
  'immutable': 'delete the object by hand: it is created anew',
  'in-use': null, 'terminating': null, 'overtaken': null, 'namespace-terminating': null, 'precondition': null, 'throttled': null, 'server': null, 'no-answer': null,
};

const commit = z.object({
  revision: z.int(),
  commit: z.string(),
  committedAt: moment,
  state: z.enum(['live', 'progressing', 'unknown']).describe('unknown: nobody looked, or all of it was replaced before it was live.'),
  liveAt: moment.nullable().describe('When the cluster showed all of it.'),
  liveMs: z.int().nullable().describe('How long that took from the commit; of one that is under way, how long it has.'),
});

export const commitsSchema = z.array(commit).describe('The newest revisions on the remote, and when each was live; at most 5.');
export const commitSchema = commit.nullable().describe('Of its placement: what brought it to the remote, and when the cluster showed all of that; null: it is not there yet.');

interface CommitRow {
  readonly id: string;
  readonly commit_sha: string;
  readonly committed_ms: string;
  readonly live_ms: string | null;
  readonly settled: boolean;
  readonly now_ms: string;
}

/** @param revision null: the newest */
export async function readCommits(pool: Pool, revision: number | null = null): Promise<z.output<typeof commitsSchema>> {
  const { rows } = await pool.query<CommitRow>(
    `select r.id, r.commit_sha, ${ms('r.committed_at')} as committed_ms, ${ms('r.live_at')} as live_ms, r.settled or s.rollouts_since is null as settled, ${ms('now()')} as now_ms
       from dory.revisions r cross join dory.state s
      where r.committed_at is not null and r.commit_sha is not null and ($1::bigint is null or r.id = $1) order by r.id desc limit 5`,
    [revision],
  );
  return rows.map(({ id, commit_sha, committed_ms, live_ms, settled, now_ms }) => {
    const state = live_ms !== null ? 'live' : settled ? 'unknown' : 'progressing';
    return {
      revision: Number(id),
      commit: commit_sha,
      committedAt: formatInstant(instant(Number(committed_ms))),
      state,
      liveAt: live_ms === null ? null : formatInstant(instant(Number(live_ms))),
      liveMs: state === 'unknown' ? null : Math.max(0, Number(live_ms ?? now_ms) - Number(committed_ms)),
    };
  });
}

import type { Pool } from 'pg';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import type { ChangeKind } from '../model/plan.ts';
import type { Placement } from '../model/placement.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import { instant, type Instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';

/** A change set that is decided and not yet on the remote. */
export interface PendingRevision {
  readonly id: RevisionId;
  readonly decidedAt: Instant;
  readonly trigger: ReasonCode;
  readonly inputsDigest: Digest;
  /** Whether somebody waits for it: anything but an edit of what runs, or its removal. */
  readonly urgent: boolean;
  /** The cycle that decided it, as its log lines and events name it; null in revisions of older versions. */
  readonly cycle: string | null;
}

/** One change of a pending revision, as its commit's message tells it. */
export interface PendingChange {
  readonly revision: RevisionId;
  readonly processorId: ProcessorId;
  readonly kind: ChangeKind;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly before: Pick<Placement, 'target' | 'epoch'> | null;
  readonly after: Pick<Placement, 'target' | 'epoch'> | null;
  /** Of the template; null for a processor that was removed and never rendered. */
  readonly slug: string | null;
}

/** Oldest first. */
export async function pendingRevisions(pool: Pool): Promise<readonly PendingRevision[]> {
  const { rows } = await pool.query<{ id: string; decided_ms: string; trigger: ReasonCode; inputs_digest: Digest; urgent: boolean; cycle: string | null }>(
    `select r.id, ${ms('r.decided_at')} as decided_ms, r.trigger, r.inputs_digest, r.cycle,
            exists (select from dory.changes c where c.revision = r.id and c.kind not in ('update', 'remove')) as urgent
       from dory.revisions r where r.committed_at is null order by r.id`,
  );
  return rows.map((row) => ({
    id: Number(row.id) as RevisionId,
    decidedAt: instant(Number(row.decided_ms)),
    trigger: row.trigger,
    inputsDigest: row.inputs_digest,
    urgent: row.urgent,
    cycle: row.cycle,
  }));
}

/** By revision, then processor. */
export async function changesOf(pool: Pool, from: RevisionId, to: RevisionId): Promise<readonly PendingChange[]> {
  const { rows } = await pool.query<Omit<PendingChange, 'revision'> & { revision: string }>(
    `select c.revision, c.processor_id as "processorId", c.kind, c.reason, c.evidence,
            case when c.before is not null then jsonb_build_object('target', c.before -> 'target', 'epoch', c.before -> 'epoch') end as before,
            case when c.placement is not null then jsonb_build_object('target', c.placement -> 'target', 'epoch', c.placement -> 'epoch') end as after,
            coalesce(w.body ->> 'slug', (select lw.body ->> 'slug' from dory.changes l join dory.workloads lw on lw.digest = l.workload
              where l.processor_id = c.processor_id and l.revision < c.revision order by l.revision desc limit 1)) as slug
       from dory.changes c left join dory.workloads w on w.digest = c.workload
      where c.revision between $1 and $2 order by c.revision, c.processor_id`,
    [from, to],
  );
  return rows.map((row) => ({ ...row, revision: Number(row.revision) as RevisionId }));
}

/** Ids of the events that these revisions acted on or made, in order. */
export async function eventsOf(pool: Pool, from: RevisionId, to: RevisionId): Promise<readonly number[]> {
  const { rows } = await pool.query<{ id: string }>('select id from dory.events where revision between $1 and $2 order by id', [from, to]);
  return rows.map(({ id }) => Number(id));
}

/** Records that the remote has everything up to this revision. */
export async function markCommitted(pool: Pool, upTo: RevisionId, published: { readonly commit: string; readonly treeDigest: Digest }): Promise<void> {
  await pool.query(
    `update dory.revisions set commit_sha = $2, tree_digest = $3, committed_at = clock_timestamp() where id <= $1 and committed_at is null`,
    [upTo, published.commit, published.treeDigest],
  );
}

/** The newest revision that is known to be on the remote; 0 if none. */
export async function committedRevision(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ revision: string | null }>('select max(id) as revision from dory.revisions where committed_at is not null');
  return Number(rows[0]?.revision ?? 0);
}

export interface StateRow {
  /** The newest revision that was decided; 0 before the first. */
  readonly revision: number;
  readonly owner: string;
  readonly layout: 'flat' | '64' | '64x16' | null;
}

export async function readState(pool: Pool): Promise<StateRow> {
  const { rows } = await pool.query<{ revision: string; owner: string; layout: StateRow['layout'] }>('select revision, owner, layout from dory.state');
  const row = rows[0];
  if (row === undefined) throw new Error('dory.state has no row');
  return { revision: Number(row.revision), owner: row.owner, layout: row.layout };
}

/** @throws Error if there is no such revision: callers ask for one that they were told of. */
export async function readRevision(pool: Pool, revision: RevisionId): Promise<{ readonly revision: RevisionId; readonly trigger: string; readonly decidedAt: Instant }> {
  const { rows } = await pool.query<{ trigger: string; decided_ms: string }>(
    `select trigger, ${ms('decided_at')} as decided_ms from dory.revisions where id = $1`,
    [revision],
  );
  const row = rows[0];
  if (row === undefined) throw new Error(`no revision ${String(revision)}`);
  return { revision, trigger: row.trigger, decidedAt: instant(Number(row.decided_ms)) };
}

/** As many paths as a person wants to read; the diff has the rest. */
const pathsRecorded = 50;

export async function recordForeignEdit(pool: Pool, paths: readonly string[], commit: string | null): Promise<void> {
  await pool.query(`insert into dory.events (kind, evidence) values ('foreign-edit', $1)`, [
    JSON.stringify({ commit, count: paths.length, paths: paths.slice(0, pathsRecorded) }),
  ]);
}

/** Records that decisions are missing which Git shows; once, until they are repaired. */
export async function recordBehind(pool: Pool, shown: number, known: number): Promise<void> {
  await pool.query(
    `insert into dory.events (kind, evidence) select 'database-behind', jsonb_build_object('git', $1::bigint, 'database', $2::bigint)
      where coalesce((select kind from dory.events where kind in ('database-behind', 'epochs-repaired') order by id desc limit 1), '') <> 'database-behind'`,
    [shown, known],
  );
}

/** Whether a person's leave for this subject still holds. */
export async function isApproved(pool: Pool, subject: string): Promise<boolean> {
  const { rowCount } = await pool.query('select from dory.approvals where subject = $1 and expires_at > now()', [subject]);
  return rowCount === 1;
}

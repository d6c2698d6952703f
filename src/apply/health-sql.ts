import type { Pool, PoolClient } from 'pg';
import type { RevisionId } from '../model/ids.ts';
import type { Evidence } from '../model/reasons.ts';
import type { RecordedRollout } from '../model/rollout.ts';
import { millis, type Millis } from '../model/time.ts';
import { summedUp } from '../platform/event-groups.ts';
import { msBefore } from '../platform/pg.ts';
import type { HealthChange, HealthRow } from './health-rows.ts';

/** Columns of `processors` that its schema names and an older table may lack. */
const optionalColumns = ['k8s_pod_name', 'node_ip'] as const;

/** Which of them this database has. */
export type PodColumns = ReadonlySet<(typeof optionalColumns)[number]>;

export async function podColumns(pool: Pool): Promise<PodColumns> {
  const { rows } = await pool.query<{ name: (typeof optionalColumns)[number] }>(
    `select attname as name from pg_attribute where attrelid = to_regclass('processors') and attnum > 0 and not attisdropped and attname = any($1)`,
    [optionalColumns],
  );
  return new Set(rows.map(({ name }) => name));
}

interface Row {
  readonly id: string;
  readonly epoch: string;
  readonly phase: HealthRow['phase'];
  readonly revision: string;
  readonly committed_ms: string | null;
  readonly status: string;
  readonly pod_name: string | null;
  readonly node_ip: string | null;
  readonly ours: boolean;
  readonly failures: number;
  readonly heard: boolean;
  readonly state: RecordedRollout['state'] | null;
  readonly rollout_epoch: string | null;
  readonly rollout_revision: string | null;
  readonly reason: string | null;
  readonly evidence: Evidence | null;
}

/** Placements that are to be looked at: these, or so many after one. */
export type Wanted = { readonly ids: readonly string[] } | { readonly after: string | null; readonly limit: number };

/** By processor; only those that are desired. */
export async function readHealthRows(client: Pick<Pool | PoolClient, 'query'>, columns: PodColumns, wanted: Wanted): Promise<readonly HealthRow[]> {
  const column = (name: (typeof optionalColumns)[number]): string => (columns.has(name) ? `p.${name}` : 'null::text');
  const which = 'ids' in wanted ? 'pl.processor_id = any($1::uuid[])' : '($1::uuid is null or pl.processor_id > $1) order by pl.processor_id limit $2';
  const { rows } = await client.query<Row>(
    `select pl.processor_id as id, pl.epoch, pl.phase, pl.revision, ${msBefore('(clock_timestamp() - r.committed_at)')} as committed_ms,
            p.status::text as status, ${column('k8s_pod_name')} as pod_name, ${column('node_ip')} as node_ip,
            coalesce(p.health_status ->> 'source' = 'kubernetes', false) as ours, coalesce(p.consecutive_failures, 0) as failures,
            b.processor_id is not null as heard, ro.state, ro.epoch as rollout_epoch, ro.revision as rollout_revision, ro.reason, ro.evidence
       from dory.placements pl
       join processors p on p.id = pl.processor_id and p.status::text not in ('terminated', 'failed')
       join dory.revisions r on r.id = pl.revision
       left join dory.beats b on b.processor_id = pl.processor_id and b.epoch = pl.epoch
       left join dory.rollouts ro on ro.processor_id = pl.processor_id
      where ${which}`,
    'ids' in wanted ? [wanted.ids] : [wanted.after, wanted.limit],
  );
  return rows.map(toRow);
}

function toRow(row: Row): HealthRow {
  const { id, phase, status, pod_name: podName, node_ip: nodeIp, ours, failures, heard, state } = row;
  return {
    processorId: id, phase, status, podName, nodeIp, ours, failures, heard,
    epoch: Number(row.epoch) as HealthRow['epoch'],
    revision: Number(row.revision) as RevisionId,
    committedMs: row.committed_ms === null ? null : millis(Number(row.committed_ms)),
    recorded: state === null ? null : { state, epoch: Number(row.rollout_epoch), revision: Number(row.rollout_revision), reason: row.reason },
    evidence: row.evidence ?? {},
  };
}

/** @returns those of `ids` that nobody else writes now, held until the transaction ends: it waits for nobody, as heartbeats don't. */
export async function holdRows(client: PoolClient, ids: readonly string[]): Promise<readonly string[]> {
  const { rows } = await client.query<{ id: string }>('select id from processors where id = any($1::uuid[]) order by id for no key update skip locked', [ids]);
  return rows.map(({ id }) => id);
}

export async function writeHealth(client: PoolClient, columns: PodColumns, changes: readonly HealthChange[]): Promise<void> {
  await writeProcessors(client, columns, changes);
  const turned = changes.flatMap(({ processorId, rollout }) => (rollout === null ? [] : [{ processor_id: processorId, ...rollout }]));
  await client.query(
    `insert into dory.rollouts (processor_id, epoch, revision, state, reason, evidence)
     select processor_id, epoch, revision, state, reason, evidence
       from jsonb_to_recordset($1::jsonb) as r (processor_id uuid, epoch bigint, revision bigint, state text, reason text, evidence jsonb)
     on conflict (processor_id) do update
        set epoch = excluded.epoch, revision = excluded.revision, state = excluded.state, since = excluded.since, reason = excluded.reason, evidence = excluded.evidence`,
    [JSON.stringify(turned)],
  );
  const events = summedUp(changes.flatMap(({ processorId, event }) => (event === null ? [] : [{ kind: event.kind, processor_id: processorId, reason: event.reason, evidence: event.evidence }])));
  if (events.length === 0) return;
  await client.query(
    `insert into dory.events (kind, processor_id, reason, evidence)
     select kind, processor_id, reason, evidence from jsonb_to_recordset($1::jsonb) as r (kind text, processor_id uuid, reason text, evidence jsonb)`,
    [JSON.stringify(events)],
  );
}

/** `updated_at` stays, as with heartbeats: it is the operator's. Words and no parameter for `status`, whose type may be one of the table's own. */
async function writeProcessors(client: PoolClient, columns: PodColumns, changes: readonly HealthChange[]): Promise<void> {
  const rows = changes
    .filter(({ status, pod, health, failures }) => status !== null || pod !== null || health !== null || failures !== null)
    .map(({ processorId: id, status, pod, health, failures }) => ({ id, status, has_pod: pod !== null, pod_name: pod?.name ?? null, node_ip: pod?.ip ?? null, health, failures }));
  if (rows.length === 0) return;
  const pod = ([['k8s_pod_name', 'pod_name'], ['node_ip', 'node_ip']] as const)
    .filter(([column]) => columns.has(column))
    .map(([column, from]) => `, ${column} = case when r.has_pod then r.${from} else p.${column} end`);
  await client.query(
    `update processors p
        set status = case r.status when 'starting' then 'starting' when 'running' then 'running' else p.status end, health_status = coalesce(r.health, p.health_status::jsonb),
            last_health_check_at = case when r.health is null then p.last_health_check_at else now() end,
            consecutive_failures = coalesce(r.failures, p.consecutive_failures)${pod.join('')}
       from jsonb_to_recordset($1::jsonb) as r (id uuid, status text, has_pod boolean, pod_name text, node_ip text, health jsonb, failures integer)
      where p.id = r.id`,
    [JSON.stringify(rows)],
  );
}

const removed = 'not exists (select from dory.placements pl where pl.processor_id = ro.processor_id)';

/** Whether there are roll-outs of what is not placed any more. */
export async function hasRemoved(pool: Pool): Promise<boolean> {
  const { rows } = await pool.query<{ any: boolean }>(`select exists (select from dory.rollouts ro where ${removed}) as any`);
  return rows[0]?.any === true;
}

export async function forgetRemoved(client: PoolClient): Promise<void> {
  await client.query(`delete from dory.rollouts ro where ${removed}`);
}

/** A committed revision of which nothing is left that is not live, as far as rows say it. */
export interface Unsettled {
  readonly revision: number;
  /** What it removed and nobody added again. */
  readonly removed: readonly string[];
}

export async function unsettledRevisions(pool: Pool): Promise<readonly Unsettled[]> {
  const { rows } = await pool.query<{ id: string; removed: readonly string[] }>(
    `select r.id, array(select c.processor_id from dory.changes c where c.revision = r.id and c.kind = 'remove'
                                 and not exists (select from dory.placements pl where pl.processor_id = c.processor_id)) as removed
       from dory.revisions r
      where not r.settled and r.committed_at is not null
        and not exists (select from dory.placements pl
                          left join dory.rollouts ro on ro.processor_id = pl.processor_id and ro.revision = pl.revision and ro.state = 'live'
                         where pl.revision = r.id and ro.processor_id is null)
      order by r.id`,
  );
  return rows.map(({ id, removed }) => ({ revision: Number(id), removed }));
}

/**
 * Records that nothing of these revisions is left to roll out.
 * @returns how long it took from the commit of each that was committed while roll-outs were looked at; none of one that later ones replaced.
 */
export async function settle(client: PoolClient, revisions: readonly number[]): Promise<readonly Millis[]> {
  const { rows } = await client.query<{ took: string }>(
    `with done as (
       update dory.revisions r
          set settled = true,
              live_at = case when r.committed_at >= s.rollouts_since
                              and (exists (select from dory.placements pl where pl.revision = r.id)
                                   or exists (select from dory.changes c where c.revision = r.id and c.kind = 'remove')) then clock_timestamp() end
         from dory.state s where r.id = any($1::bigint[]) and not r.settled
       returning r.committed_at, r.live_at)
     select ${msBefore('(live_at - committed_at)')} as took from done where live_at is not null`,
    [revisions],
  );
  return rows.map(({ took }) => millis(Math.max(0, Number(took))));
}

/** Once in the life of a database. */
export async function beginRollouts(pool: Pool): Promise<void> {
  await pool.query('update dory.state set rollouts_since = now() where rollouts_since is null');
}

import type { Pool } from 'pg';
import type { Beat, HeartbeatAnswer, Standing } from './heartbeat.ts';

/**
 * One statement a batch. It says where each beat comes from, stores what it proves, extends the record of intake, and answers.
 *
 * Locks, in this order: the row of `dory.intake` (so that batches of several instances follow one another), nodes by id,
 * then processors. It waits for nodes: a node whose row can't be written must count as "not stored", not as silent. It
 * never waits for a processor: a row that a decision holds gets its health with the next beat. So no transaction that
 * takes nodes before, or after, processors can form a deadlock with it.
 *
 * The plan is made once, for batches of a size that the planner takes to be 10: so nothing here joins two intermediate results,
 * which it would do row by row against row. Each step looks up tables by primary key, and names in one map.
 */
const statement = `
with gate as (
  insert into dory.intake as i (covered_since, covered_until) values (now(), now())
  on conflict (only_row) do update
     set covered_since = case when $12 or now() - i.covered_until > make_interval(secs => $11) then now() else i.covered_since end,
         covered_until = greatest(i.covered_until, now())
  returning 1
),
input as materialized (
  select t.* from gate, unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::float8[],
                               $9::bigint[], $10::float8[]) with ordinality
    as t (processor_id, node_id, node_name, placement_epoch, status, role, sdk_epoch, last_state_sync, state_size_bytes, uptime_sec, n)
),
names as materialized (
  select jsonb_object_agg(name, nodes) as nodes_by_name
    from (select e.name, jsonb_build_object('live', count(*) filter (where e.status is distinct from 'decommissioned'),
                                            'ids', jsonb_agg(e.id order by e.status is not distinct from 'decommissioned', e.id)) as nodes
            from edge_nodes e
           where e.name in (select node_name from input where node_name is not null)
           group by e.name) as by_name
),
judged as materialized (
  select i.*, pl.epoch, pl.target_node_id, f.from_node,
         case when i.processor_id is null then 'node'
              when p.id is null then 'unknown'
              when p.status in ('terminated', 'failed') then 'ended'
              when pl.processor_id is null then 'unplaced'
              when i.placement_epoch < pl.epoch then 'stale'
              when i.placement_epoch > pl.epoch then 'ahead'
              when i.placement_epoch is null and not f.in_place then 'stale'
              when pl.phase = 'stopping' then 'stopping'
              else 'current' end as standing
    from input i
    left join processors p on p.id = i.processor_id
    left join dory.placements pl on pl.processor_id = i.processor_id
    left join edge_nodes e on e.id = i.node_id
   cross join lateral (select (select nodes_by_name from names) -> i.node_name as nodes) named
   cross join lateral (
     -- Names are unique in an organisation only: the one where the processor is placed is meant; else a name must be unambiguous.
     select case when i.node_id is not null then e.id
                 when named.nodes -> 'ids' ? pl.target_node_id::text then pl.target_node_id
                 when (named.nodes ->> 'live')::int <= 1 then (named.nodes -> 'ids' ->> 0)::uuid end as from_node) r
   cross join lateral (
     select r.from_node,
            case when i.node_id is null and i.node_name is null then true
                 when pl.target_kind = 'edge' then coalesce(r.from_node = pl.target_node_id, false)
                 else e.id is null and named.nodes is null end as in_place) f
),
nodes as materialized (
  select e.id, v.verdict is not null and (e.last_heartbeat_at is null or e.last_heartbeat_at <= v.since) as back
    from edge_nodes e
    left join dory.node_verdicts v on v.node_id = e.id and v.verdict = 'lost'
   where e.id in (select coalesce(from_node, case when standing in ('current', 'stopping') then target_node_id end) from judged)
     and e.status is distinct from 'decommissioned'
   order by e.id
     for no key update of e
),
node_beats as (
  update edge_nodes e set last_heartbeat_at = greatest(e.last_heartbeat_at, now()) from nodes where e.id = nodes.id
),
latest as materialized (
  select distinct on (processor_id) *, coalesce(status = 'healthy', false) as healthy, coalesce(status = 'stopped', false) as stopped
    from judged
   where standing in ('current', 'stopping', 'unplaced')
   order by processor_id, n desc
),
held as materialized (
  select l.* from latest l join processors p on p.id = l.processor_id
   where p.status not in ('terminated', 'failed') and (select count(*) from nodes) >= 0
     for no key update of p skip locked
),
health as (
  update processors p
     set last_health_check_at = now(),
         health_status = jsonb_build_object('status', h.status, 'healthy', h.healthy),
         consecutive_failures = case when h.healthy then 0 when h.stopped then p.consecutive_failures
                                     else coalesce(p.consecutive_failures, 0) + 1 end,
         status = case when h.standing = 'current' and not h.stopped and p.status in ('pending', 'starting') then 'running' else p.status end
    from held h
   where p.id = h.processor_id
),
placement_beats as (
  insert into dory.beats as b (processor_id, epoch, last_beat_at, status, role, sdk_epoch, node_id, last_state_sync, state_size_bytes,
                               uptime_sec, stop_acknowledged_at)
  select processor_id, epoch, now(), status, role, sdk_epoch, coalesce(from_node, target_node_id), to_timestamp(last_state_sync),
         state_size_bytes, uptime_sec, case when standing = 'stopping' and stopped then now() end
    from latest
   where standing <> 'unplaced' and (select count(*) from held) >= 0
   order by processor_id
  on conflict (processor_id) do update
     set epoch = excluded.epoch, last_beat_at = excluded.last_beat_at, status = excluded.status, role = excluded.role,
         sdk_epoch = excluded.sdk_epoch, node_id = excluded.node_id, last_state_sync = excluded.last_state_sync,
         state_size_bytes = excluded.state_size_bytes, uptime_sec = excluded.uptime_sec,
         -- Kept from the first report on; whoever reports anything else has not stopped.
         stop_acknowledged_at = case when excluded.stop_acknowledged_at is not null and b.epoch = excluded.epoch
                                     then coalesce(b.stop_acknowledged_at, excluded.stop_acknowledged_at)
                                     else excluded.stop_acknowledged_at end
   where b.epoch <= excluded.epoch
),
calls as (
  select 'edge_nodes' as about from nodes where back
  union
  select 'beats' from latest where standing = 'stopping' and stopped
)
select n, standing, epoch, (select count(pg_notify('dory', about)) from calls) from judged`;

interface BatchOptions {
  /** A pause in the record of intake longer than this is a gap, in seconds. */
  readonly gapSec: number;
  /** Beats were lost since the last batch: silence before now says nothing, so the record starts anew. */
  readonly restartCoverage: boolean;
  /** After so long without a result the batch counts as failed, and the connection is dropped. */
  readonly timeoutMs: number;
}

type Row = [n: string, standing: Standing, epoch: string | null, calls: string];

/**
 * Stores a batch in one statement, its own transaction: when it resolves, the batch is durable. An empty batch extends the
 * record of intake only. Of several beats for one processor or node, the last one wins.
 * @returns an answer for each beat, in their order.
 * @throws what the driver throws
 */
export async function writeBatch(pool: Pool, beats: readonly Beat[], options: BatchOptions): Promise<HeartbeatAnswer[]> {
  const query = {
    name: 'dory-heartbeats',
    text: statement,
    rowMode: 'array' as const,
    query_timeout: options.timeoutMs,
    values: [
      beats.map(({ subject }) => (subject.kind === 'processor' ? subject.id : null)),
      beats.map((beat) => beat.nodeId),
      beats.map((beat) => beat.nodeName),
      beats.map((beat) => beat.placementEpoch),
      beats.map((beat) => beat.status),
      beats.map((beat) => beat.role),
      beats.map((beat) => beat.sdkEpoch),
      beats.map((beat) => beat.lastStateSync),
      beats.map((beat) => beat.stateSizeBytes),
      beats.map((beat) => beat.uptimeSec),
      options.gapSec,
      options.restartCoverage,
    ],
  };
  const { rows } = await pool.query<Row>(query);
  const answers: HeartbeatAnswer[] = beats.map(() => ({ standing: 'unstored', placementEpoch: null }));
  for (const [n, standing, epoch] of rows) {
    const at = Number(n) - 1;
    const stranger = beats[at]?.subject.kind === 'stranger';
    answers[at] = { standing: stranger ? 'unknown' : standing, placementEpoch: epoch === null ? null : Number(epoch) };
  }
  return answers;
}

import type { Pool, PoolClient, QueryConfig } from 'pg';
import type { Beat, Standing } from './heartbeat.ts';

/** What a beat leaves in `dory.beats`, from a row `j` of `judged`: this, what was acknowledged, and the lease. */
const beatColumns = {
  epoch: 'j.epoch',
  last_beat_at: 'now()',
  status: 'j.status',
  role: 'j.role',
  sdk_epoch: 'j.sdk_epoch',
  node_id: 'j.node_id',
  last_state_sync: 'to_timestamp(j.last_state_sync)',
  state_size_bytes: 'j.state_size_bytes',
  uptime_sec: 'j.uptime_sec',
};
const stopAcknowledged = `j.standing = 'stopping' and j.status = 'stopped'`;
const leasePromised = `j.standing = 'current' and j.leased`;
const leaseEnd = 'now() + make_interval(secs => $13)';

/**
 * One statement a batch. It says where each beat comes from, stores what it proves, extends the record of intake, and answers.
 *
 * Locks, in this order: the row of `dory.intake` (so that batches of several instances follow one another), nodes by id,
 * then processors. It waits for nodes: a node whose row can't be written must count as "not stored", not as silent. It
 * never waits for a processor: a row that a decision holds gets its health with the next beat. So no transaction that
 * takes nodes before, or after, processors can form a deadlock with it.
 *
 * A node is written at most once in `$14` seconds, and one that was written so lately needs no lock: whoever decides that it is
 * lost sees that beat. All the others are held until the end, so that a decision about a node comes before all of this, and is then
 * seen by `moved`, or after it, and then sees its beats and leases.
 *
 * Leases. An agent that echoes its epoch proves that it knows of leases: `lease_until` is when the one that it is promised here
 * runs out, counted from now, while the agent counts from when it sent. The newest beat of an epoch says what its agent is: one
 * that stops echoing was replaced by one that may know nothing of leases, and a lease that nobody keeps would pass for a fence,
 * so it is taken back at once. Nor is one recorded where a beat names another node than that of the placement: that
 * node's row is what a decision locks.
 *
 * The plan is made once (`planOnce`), for batches of a size that the planner takes to be 10: so nothing here joins two intermediate results,
 * which it would do row by row against row. Each step looks up tables by primary key or by row; names that are not the placement's
 * are looked up together, in one map. A step that writes takes what it needs from the row that an earlier step found.
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
  select i.*, pl.epoch, pl.phase, pl.target_kind, pl.target_node_id,
         case when i.node_id is null and i.node_name is null then 'nothing'
              when i.node_id = t.id or i.node_name = t.name then 'target'
              else 'other' end as named,
         t.last_heartbeat_at is null or t.last_heartbeat_at < now() - make_interval(secs => $14) as due
    from gate,
         unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::float8[],
                $9::bigint[], $10::float8[], $15::boolean[]) with ordinality
    as i (processor_id, node_id, node_name, placement_epoch, status, role, sdk_epoch, last_state_sync, state_size_bytes, uptime_sec, proven, n)
    left join lateral (
      select p.epoch, p.phase, p.target_kind, p.target_node_id from dory.placements p where p.processor_id = i.processor_id limit 1) pl on true
    left join lateral (
      select e.id, e.name, e.last_heartbeat_at from edge_nodes e where e.id = pl.target_node_id limit 1) t on true
),
names as materialized (
  -- Names are unique in an organisation only: one that several nodes in service have means none of them.
  select jsonb_object_agg(name, case when live <= 1 then id end) as node_by_name
    from (select e.name, count(*) filter (where e.status is distinct from 'decommissioned') as live,
                 (array_agg(e.id order by e.status is not distinct from 'decommissioned', e.id))[1] as id
            from edge_nodes e
           -- Each node is looked up among the beats, in a hash table: "is true" keeps this from becoming a join.
           where (e.name in (select node_name from input where named = 'other' and node_name is not null)) is true
           group by e.name) as by_name
),
located as materialized (
  select i.n, i.processor_id, i.placement_epoch, i.epoch, i.phase, i.target_node_id, i.status, i.role, i.sdk_epoch,
         i.last_state_sync, i.state_size_bytes, i.uptime_sec, f.from_node, f.there,
         -- An echoed epoch says more than a node's name, and a token more than an epoch.
         case when i.proven then f.there and coalesce(i.placement_epoch = i.epoch, true)
              else coalesce(i.placement_epoch = i.epoch, f.there) end as in_place,
         i.due or f.from_node is distinct from i.target_node_id as due
    from input i
   cross join lateral (
     select case when i.named = 'target' then i.target_node_id
                 when i.node_id is not null then (select e.id from edge_nodes e where e.id = i.node_id)
                 when i.named = 'other' then ((select node_by_name from names) ->> i.node_name)::uuid end as from_node) r
   cross join lateral (
     -- A managed placement is anywhere but on an edge node.
     select r.from_node,
            case when i.named <> 'other' then true
                 when i.target_kind = 'edge' then false
                 else r.from_node is null and not coalesce((select node_by_name from names) ? i.node_name, false) end as there) f
),
nodes as materialized (
  select e.id, e.back
    from (select distinct
                 coalesce(l.from_node, case when l.in_place
                                            then (select l.target_node_id from processors p where p.id = l.processor_id and p.status not in ('terminated', 'failed')) end) as id
            from located l where l.due and (l.from_node is not null or l.target_node_id is not null) order by 1) proved
   cross join lateral (
     select e.id,
            (select e.last_heartbeat_at is null or e.last_heartbeat_at <= v.since
               from dory.node_verdicts v where v.node_id = e.id and v.verdict in ('lost', 'silent', 'detached')) as back
       from edge_nodes e
      where e.id = proved.id
        and e.status is distinct from 'decommissioned'
        and (e.last_heartbeat_at is null or e.last_heartbeat_at < now() - make_interval(secs => $14))
        for no key update) e
),
node_beats as (
  update edge_nodes e set last_heartbeat_at = greatest(e.last_heartbeat_at, now()) where e.id = any ((select array_agg(id) from nodes)::uuid[])
),
moved as materialized (
  select dory.moved_on(array_agg(processor_id), array_agg(epoch)) as ids
    from located
   where placement_epoch = epoch and phase = 'active' and (select count(*) from nodes) >= 0
),
judged as materialized (
  select l.n, l.processor_id, l.epoch, l.placement_epoch, coalesce(l.from_node, l.target_node_id) as node_id, l.status, l.role, l.sdk_epoch,
         l.last_state_sync, l.state_size_bytes, l.uptime_sec, p.row, l.there and l.placement_epoch = l.epoch as leased,
         case when l.processor_id is null then 'node'
              when p.row is null and (select p.id from processors p where p.id = l.processor_id) is null then 'unknown'
              when coalesce(p.status, (select p.status from processors p where p.id = l.processor_id)) in ('terminated', 'failed') then 'ended'
              when l.epoch is null then 'unplaced'
              when l.placement_epoch > l.epoch then 'ahead'
              when not l.in_place or l.processor_id = any ((select ids from moved)::uuid[]) then 'stale'
              when l.phase = 'stopping' then 'stopping'
              else 'current' end as standing
    from located l
    left join lateral (
      select p.ctid as row, p.status from processors p where p.id = l.processor_id for no key update skip locked) p on true
   where (select count(*) from nodes) >= 0
),
health as (
  update processors p
     set last_health_check_at = now(),
         health_status = case when j.status = 'healthy' then '{"status":"healthy","healthy":true}'
                              else jsonb_build_object('status', j.status, 'healthy', false) end,
         consecutive_failures = case when j.status = 'healthy' then 0 when j.status = 'stopped' then p.consecutive_failures
                                     else coalesce(p.consecutive_failures, 0) + 1 end,
         status = case when p.status in ('pending', 'starting') and j.standing = 'current' and j.status is distinct from 'stopped' then 'running'
                       else p.status end
    from judged j
   where p.ctid = j.row and j.standing in ('current', 'stopping', 'unplaced')
),
kept as materialized (
  select jsonb_object_agg(processor_id, true) as leases from judged where leased and standing = 'stopping'
),
beats as (
  -- Not an update that joins: which row to look up first would be for the planner to choose, who can't know how many there are.
  insert into dory.beats as b (processor_id, ${Object.keys(beatColumns).join(', ')}, stop_acknowledged_at, lease_until)
  select j.processor_id, ${Object.values(beatColumns).join(', ')}, case when ${stopAcknowledged} then now() end, case when ${leasePromised} then ${leaseEnd} end
    from judged j
   where j.standing in ('current', 'stopping')
  on conflict (processor_id) do update
     set ${Object.keys(beatColumns).map((name) => `${name} = excluded.${name}`).join(', ')},
         -- Kept from the first report on; whoever reports anything else has not stopped.
         stop_acknowledged_at = case when excluded.stop_acknowledged_at is not null and b.epoch = excluded.epoch
                                     then coalesce(b.stop_acknowledged_at, excluded.stop_acknowledged_at) else excluded.stop_acknowledged_at end,
         -- Not extended any more while its agent is told to stop, and not forgotten either.
         lease_until = case when b.epoch = excluded.epoch and (select leases from kept) ? excluded.processor_id::text then b.lease_until
                            else excluded.lease_until end
   where b.epoch <= excluded.epoch
),
ahead as (
  insert into dory.events (kind, processor_id, evidence)
  select 'epoch-ahead', j.processor_id, jsonb_build_object('echoed', j.placement_epoch, 'known', j.epoch) from judged j where j.standing = 'ahead'
  on conflict do nothing
  returning 1
),
calls as (
  select 'edge_nodes' as about from nodes where back
  union
  select 'beats' from judged j where ${stopAcknowledged}
  union
  select 'events' from ahead
)
select n, standing, epoch, (select count(pg_notify('dory', about)) from calls) from judged`;

/**
 * For the connection that sends batches. A plan for each batch takes three times as long as one beat. The one that is kept may have
 * been made while a table was empty or not analysed, where reading all of it looks cheap: measured, that made batches 20 times as
 * slow until the next analysis. So only lookups are left to choose from. What is forbidden and chosen all the same, for there is no other way,
 * costs more than anything up to PostgreSQL 17: enough to compile the plan for each batch, which takes seconds.
 */
export const planOnce = [
  'set plan_cache_mode = force_generic_plan',
  'set jit = off',
  ...['seqscan', 'hashjoin', 'mergejoin', 'bitmapscan'].map((path) => `set enable_${path} = off`),
].join('; ');

interface BatchOptions {
  /** A pause in the record of intake longer than this is a gap, in seconds. */
  readonly gapSec: number;
  /** Beats were lost since the last batch: silence before now says nothing, so the record starts anew. */
  readonly restartCoverage: boolean;
  /** What agents at their current placement are promised, in seconds. */
  readonly leaseSec: number;
  /** A node that was written less long ago, in seconds, is not written again. */
  readonly nodeSec: number;
  /** After so long without a result the batch counts as failed, and the connection is dropped. */
  readonly timeoutMs: number;
}

/** Where a beat came from, as the database saw it. */
export interface JudgedBeat {
  readonly standing: Standing;
  /** Of the current placement; null where there is none. */
  readonly epoch: number | null;
}

type Row = [n: string, standing: Standing, epoch: string | null, calls: string];

/**
 * Stores a batch in one statement, its own transaction: when it resolves, the batch is durable. An empty batch extends the
 * record of intake only. At most one beat for each processor: which of two would count is not said.
 * @returns what each beat is, in their order.
 * @throws what the driver throws
 */
export async function writeBatch(client: Pick<Pool | PoolClient, 'query'>, beats: readonly Beat[], options: BatchOptions): Promise<JudgedBeat[]> {
  const query: QueryConfig & { readonly rowMode: 'array'; readonly query_timeout: number } = {
    name: 'dory-heartbeats',
    text: statement,
    rowMode: 'array',
    query_timeout: options.timeoutMs,
    values: [
      arrayOf(beats, ({ subject }) => (subject.kind === 'processor' ? subject.id : null)),
      sparse(beats, (beat) => beat.nodeId),
      sparse(beats, (beat) => quoted(beat.nodeName)),
      sparse(beats, (beat) => beat.placementEpoch),
      sparse(beats, (beat) => quoted(beat.status)),
      sparse(beats, (beat) => quoted(beat.role)),
      sparse(beats, (beat) => beat.sdkEpoch),
      sparse(beats, (beat) => beat.lastStateSync),
      sparse(beats, (beat) => beat.stateSizeBytes),
      sparse(beats, (beat) => beat.uptimeSec),
      options.gapSec,
      options.restartCoverage,
      options.leaseSec,
      options.nodeSec,
      beats.some(({ proven }) => proven) ? `{${beats.map(({ proven }) => (proven ? 't' : 'f')).join(',')}}` : null,
    ],
  };
  const { rows } = await client.query<Row>(query);
  const judged: JudgedBeat[] = beats.map(() => ({ standing: 'unstored', epoch: null }));
  for (const [n, standing, epoch] of rows) {
    const at = Number(n) - 1;
    const stranger = beats[at]?.subject.kind === 'stranger';
    judged[at] = { standing: stranger ? 'unknown' : standing, epoch: epoch === null ? null : Number(epoch) };
  }
  return judged;
}

/** What needs no quotes in an array of PostgreSQL's: a number, a uuid, or what `quoted` made. */
type Element = string | number | null;

/** A column of a batch, as PostgreSQL writes an array: the driver's own way of writing one costs more than all the rest here. */
function arrayOf(beats: readonly Beat[], element: (beat: Beat) => Element): string {
  return `{${beats.map((beat) => String(element(beat) ?? 'NULL')).join(',')}}`;
}

/** Null instead of nothing but nulls: `unnest` pads it to the length of the others. */
function sparse(beats: readonly Beat[], element: (beat: Beat) => Element): string | null {
  return beats.some((beat) => element(beat) !== null) ? arrayOf(beats, element) : null;
}

function quoted(value: string | null): string | null {
  if (value === null) return null;
  return /^[a-z0-9.-]+$/.test(value) && value !== 'null' ? value : `"${value.replaceAll(/["\\]/g, '\\$&')}"`;
}

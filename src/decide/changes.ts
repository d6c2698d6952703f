import type { PoolClient } from 'pg';
import { spending } from '../model/budget.ts';
import { Failure } from '../model/failure.ts';
import type { ProcessorSpec, Workload } from '../model/fleet.ts';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import { placementAfter, type Change } from '../model/plan.ts';
import { isHome, targetName, type Placement } from '../model/placement.ts';
import type { Instant } from '../model/time.ts';
import { digestText } from '../platform/digest.ts';
import { inBatches } from '../platform/pg.ts';

export interface ChangeSet {
  readonly revision: RevisionId;
  readonly at: Instant;
  /** At least one; sorted by processor. */
  readonly changes: readonly Change[];
  readonly specs: ReadonlyMap<ProcessorId, ProcessorSpec>;
  readonly workloads: ReadonlyMap<Digest, Workload>;
  readonly leaderEpoch: number;
  readonly renderer: string;
}

/** One change as the statements below read it. */
type Row = ReturnType<typeof toRow>;

export async function writeChanges(client: PoolClient, set: ChangeSet): Promise<void> {
  const rows = set.changes.map((change) => toRow(set, change));
  await client.query(
    `insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer, spent)
     values ($1, to_timestamp($2::float8 / 1000), $3, $4, $5, $6, $7)`,
    [set.revision, set.at, set.leaderEpoch, trigger(set.changes), inputsDigest(rows), set.renderer, set.changes.filter((change) => spending(change) !== null).length],
  );
  await writeWorkloads(client, set, rows);
  for (const batch of inBatches(rows, 5_000)) {
    await writeHistory(client, set.revision, batch);
    await writePlacements(client, set.revision, batch);
    await writeStatuses(client, batch);
    await writeEvents(client, set, batch);
  }
}

/**
 * Runs `sql` with these columns of the rows as `$1`, to be read by `jsonb_to_recordset`, unless there are none. Only what
 * a statement reads is sent to it: parsing the rest again each time took longer than writing.
 * @returns how many rows it wrote.
 */
async function write(client: PoolClient, sql: string, rows: readonly Row[], columns: readonly (keyof Row)[], ...others: readonly number[]): Promise<number> {
  if (rows.length === 0) return 0;
  const json = JSON.stringify(rows.map((row) => Object.fromEntries(columns.map((column) => [column, row[column]]))));
  return (await client.query(sql, [json, ...others])).rowCount ?? 0;
}

function toRow(set: ChangeSet, change: Change) {
  const placement = placementAfter(change, set.revision, set.at);
  const spec = placement === null ? null : needed(set.specs.get(change.processorId), `spec of ${change.processorId}`);
  return {
    processor_id: change.processorId,
    kind: change.kind,
    reason: change.reason,
    evidence: change.evidence,
    rejected: change.rejected,
    before: change.before,
    before_revision: change.before?.revision ?? null,
    placement,
    spec,
    ...placementColumns(placement),
    ...homeColumns(set, placement, spec),
  };
}

function placementColumns(placement: Placement | null) {
  const target = placement?.target.kind === 'edge' ? placement.target : null;
  return {
    epoch: placement?.epoch,
    target_kind: placement?.target.kind,
    target_node_id: target?.nodeId,
    target_node_name: target?.nodeName,
    phase: placement?.phase,
    placement_reason: placement?.reason,
    since: placement === null ? undefined : new Date(placement.since).toISOString(),
    spec_digest: placement?.specDigest,
  };
}

function homeColumns({ workloads }: ChangeSet, placement: Placement | null, spec: ProcessorSpec | null) {
  const home = spec?.home ?? null;
  return {
    workload: spec?.workload,
    template_id: spec === null ? undefined : needed(workloads.get(spec.workload), `workload of ${spec.id}`).templateId,
    home_node_id: home?.kind === 'edge' ? home.nodeId : null,
    at_home: home !== null && placement !== null && isHome(home, placement.target),
  };
}

function needed<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Error(`decide: no ${what}`);
  return value;
}

/** The reason that most changes share; the first by name among equals. */
function trigger(changes: readonly Change[]): string {
  const counts = new Map<string, number>();
  for (const { reason } of changes) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))[0]?.[0] ?? 'none';
}

/** Of the redacted inputs that this revision changes. */
function inputsDigest(rows: readonly Row[]): Digest {
  const lines = rows.map(({ processor_id: id, placement: p }) => p === null ? `${id} removed` : `${id} ${p.specDigest} ${targetName(p.target)} ${String(p.epoch)} ${p.phase}`);
  return digestText(lines.join('\n'));
}

async function writeWorkloads(client: PoolClient, { workloads }: ChangeSet, rows: readonly Row[]): Promise<void> {
  const used = [...new Set(rows.map(({ workload }) => workload).filter((digest) => digest !== undefined))];
  const bodies = used.map((digest) => ({ digest, body: needed(workloads.get(digest), `workload ${digest}`) }));
  await client.query(
    `insert into dory.workloads (digest, body)
     select digest, body from jsonb_to_recordset($1::jsonb) as r (digest text, body jsonb)
     on conflict (digest) do nothing`,
    [JSON.stringify(bodies)],
  );
}

async function writeHistory(client: PoolClient, revision: RevisionId, batch: readonly Row[]): Promise<void> {
  await write(
    client,
    `insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, before, placement, spec, workload)
     select processor_id, $2, kind, reason, evidence, rejected, before, placement, spec, workload
       from jsonb_to_recordset($1::jsonb) as r (processor_id uuid, kind text, reason text, evidence jsonb, rejected jsonb,
            before jsonb, placement jsonb, spec jsonb, workload text)`,
    batch,
    ['processor_id', 'kind', 'reason', 'evidence', 'rejected', 'before', 'placement', 'spec', 'workload'],
    revision,
  );
}

const placementFields = ['processor_id', 'epoch', 'target_kind', 'target_node_id', 'target_node_name', 'phase', 'placement_reason', 'since', 'spec_digest'] as const;
const placementTypes = `processor_id uuid, epoch bigint, target_kind text, target_node_id uuid, target_node_name text, phase text,
            placement_reason text, since timestamptz, spec_digest text`;

/** A row that is not as it was when it was planned means that another decision came in between. */
async function writePlacements(client: PoolClient, revision: RevisionId, batch: readonly Row[]): Promise<void> {
  const inserted = await write(
    client,
    `insert into dory.placements (processor_id, epoch, target_kind, target_node_id, target_node_name, phase, reason, since, spec_digest, revision)
     select processor_id, epoch, target_kind, target_node_id, target_node_name, phase, placement_reason, since, spec_digest, $2
       from jsonb_to_recordset($1::jsonb) as r (${placementTypes})
     on conflict (processor_id) do nothing`,
    batch.filter(({ kind }) => kind === 'place'),
    placementFields,
    revision,
  );
  const updated = await write(
    client,
    `update dory.placements p
        set epoch = r.epoch, target_kind = r.target_kind, target_node_id = r.target_node_id, target_node_name = r.target_node_name,
            phase = r.phase, reason = r.placement_reason, since = r.since, spec_digest = r.spec_digest, revision = $2
       from jsonb_to_recordset($1::jsonb) as r (${placementTypes}, before_revision bigint)
      where p.processor_id = r.processor_id and p.revision = r.before_revision and p.epoch <= r.epoch`,
    batch.filter(({ kind }) => kind !== 'place' && kind !== 'remove'),
    [...placementFields, 'before_revision'],
    revision,
  );
  const removed = await write(
    client,
    `with gone as (
       delete from dory.placements p
        using jsonb_to_recordset($1::jsonb) as r (processor_id uuid, before_revision bigint)
        where p.processor_id = r.processor_id and p.revision = r.before_revision
       returning p.processor_id, p.epoch, p.target_kind, p.target_node_id, p.target_node_name)
     insert into dory.retired_epochs as e (processor_id, epoch, target_kind, target_node_id, target_node_name) select * from gone
     on conflict (processor_id) do update
        set epoch = greatest(e.epoch, excluded.epoch), target_kind = excluded.target_kind, target_node_id = excluded.target_node_id,
            target_node_name = excluded.target_node_name`,
    batch.filter(({ kind }) => kind === 'remove'),
    ['processor_id', 'before_revision'],
  );
  const missing = batch.length - inserted - updated - removed;
  if (missing !== 0) throw new Failure('database-conflict', `${String(missing)} of ${String(batch.length)} placements changed while they were being decided`);
}

/** What the running system writes into its own tables, and nothing else: see domain.md. */
async function writeStatuses(client: PoolClient, batch: readonly Row[]): Promise<void> {
  const placed = batch.filter(({ kind, phase }) => (kind === 'place' && phase === 'active') || kind === 'move');
  await write(
    client,
    `update processors p set status = case when r.at_home then 'pending' else 'failover' end
       from jsonb_to_recordset($1::jsonb) as r (processor_id uuid, at_home boolean)
      where p.id = r.processor_id and p.status not in ('terminated', 'failed')`,
    placed.filter(({ kind, at_home: atHome }) => kind === 'move' || !atHome),
    ['processor_id', 'at_home'],
  );
  await write(
    client,
    `update edge_node_apps a
        set status = case when r.at_home then 'active' else 'failover' end, current_processor_id = r.processor_id
       from jsonb_to_recordset($1::jsonb) as r (processor_id uuid, at_home boolean, home_node_id uuid, template_id uuid)
      where a.edge_node_id = r.home_node_id and a.processor_config_id = r.template_id`,
    placed.filter(({ home_node_id: home }) => home !== null),
    ['processor_id', 'at_home', 'home_node_id', 'template_id'],
  );
}

async function writeEvents(client: PoolClient, { revision, at }: ChangeSet, batch: readonly Row[]): Promise<void> {
  await write(
    client,
    `insert into dory.events (at, kind, node_id, processor_id, reason, evidence, revision)
     select to_timestamp($3::float8 / 1000), kind, target_node_id, processor_id, reason, evidence, $2
       from jsonb_to_recordset($1::jsonb) as r (kind text, target_node_id uuid, processor_id uuid, reason text, evidence jsonb)`,
    batch,
    ['kind', 'target_node_id', 'processor_id', 'reason', 'evidence'],
    revision,
    at,
  );
  await write(
    client,
    `insert into edge_node_events (edge_node_id, processor_config_id, event_type, details, created_at)
     select home_node_id, template_id, case when at_home then 'failback' else 'failover' end,
            jsonb_build_object('processor_id', processor_id, 'epoch', epoch, 'target', coalesce(target_node_name, 'managed'),
                               'reason', reason, 'revision', $2::bigint), to_timestamp($3::float8 / 1000)
       from jsonb_to_recordset($1::jsonb) as r (home_node_id uuid, template_id uuid, at_home boolean, processor_id uuid,
            epoch bigint, target_node_name text, reason text)
      where home_node_id in (select id from edge_nodes)`,
    batch.filter(({ kind, home_node_id: home }) => kind === 'move' && home !== null),
    ['home_node_id', 'template_id', 'at_home', 'processor_id', 'epoch', 'target_node_name', 'reason'],
    revision,
    at,
  );
}

import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import { byText, type Digest, type Epoch, type NodeId, type NodeName, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { unknown } from '../model/observed.ts';
import type { Placement, Target } from '../model/placement.ts';
import { reasonCodes, type ReasonCode } from '../model/reasons.ts';
import type { Snapshot, AgentSignals } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { rawText } from './tables.ts';

const reasons: ReadonlyMap<string, ReasonCode> = new Map(reasonCodes.map((code) => [code, code]));

/** Rows that are held at once beside what they are parsed to: those of a large fleet would stay with the heap for good. */
const rowsAtOnce = 5_000;

/** What `dory.state` says of decisions. */
export interface StateAt {
  /** Raised by one by each decision, and by whatever else changes placements. */
  readonly version: number;
  readonly revision: number;
}

/** All of `dory.placements`, as of one state. */
export interface PlacementsAt {
  readonly state: StateAt;
  /** Sorted. */
  readonly placements: readonly Placement[];
  /** Those on one node share their target, so that a copy of its name is not kept for each. */
  readonly targets: Map<string, Target>;
}

/** Reads what changed since `before`; the very same where nothing did. */
export async function readPlacements(client: PoolClient, state: StateAt, before: PlacementsAt | null): Promise<PlacementsAt> {
  if (before?.state.version === state.version) return before;
  const targets = before?.targets ?? new Map<string, Target>();
  const changed = before !== null && onlyDecided(before.state, state) ? await readChanged(client, before.state.revision, targets) : null;
  const placements = before === null || changed === null ? await readAll(client, targets) : replaced(before.placements, changed);
  return { state, placements, targets };
}

/** Whether all that changed placements were decisions, of each of which `dory.changes` has the record. */
function onlyDecided(before: StateAt, now: StateAt): boolean {
  return before.revision > 0 && now.revision > before.revision && now.version - before.version === now.revision - before.revision;
}

const columns = `epoch::text, target_node_id::text, target_node_name, phase, reason, ${ms('since')}, spec_digest, revision::text`;

/** Null for what has no placement any more; null for all if that is too much to be held beside everything else. */
async function readChanged(client: PoolClient, after: number, targets: Map<string, Target>): Promise<ReadonlyMap<ProcessorId, Placement | null> | null> {
  const { rows } = await client.query<PlacementRow>({
    text: `select processor_id::text, ${columns}
             from (select distinct processor_id from dory.changes where revision > $1) c left join dory.placements p using (processor_id)
            limit ${String(rowsAtOnce + 1)}`,
    values: [after],
    rowMode: 'array',
    types: rawText,
  });
  if (rows.length > rowsAtOnce) return null;
  return new Map(rows.map((row) => [(row[0] ?? '') as ProcessorId, row[1] === null ? null : toPlacement(row, targets)]));
}

function replaced(before: readonly Placement[], changed: ReadonlyMap<ProcessorId, Placement | null>): readonly Placement[] {
  const now = [...changed.values()].filter((placement) => placement !== null);
  const kept = before.filter(({ processorId }) => !changed.has(processorId));
  return [...kept, ...now].sort((a, b) => byText(a.processorId, b.processorId));
}

async function readAll(client: PoolClient, targets: Map<string, Target>): Promise<readonly Placement[]> {
  const placements: Placement[] = [];
  for (let last: string | null = null; ; ) {
    const { rows }: { rows: PlacementRow[] } = await client.query<PlacementRow>({
      text: `select processor_id::text, ${columns}
               from dory.placements where $1::uuid is null or processor_id > $1::uuid order by processor_id limit ${String(rowsAtOnce)}`,
      values: [last],
      rowMode: 'array',
      types: rawText,
    });
    for (const row of rows) placements.push(toPlacement(row, targets));
    last = rows.length < rowsAtOnce ? null : (rows.at(-1)?.[0] ?? null);
    if (last === null) return placements;
  }
}

type PlacementRow = (string | null)[];

function toPlacement([id, epoch, nodeId = null, nodeName, phase, code, since, specDigest, revision]: PlacementRow, targets: Map<string, Target>): Placement {
  const reason = reasons.get(code ?? '');
  if (reason === undefined) {
    throw new Failure('schema-incompatible', `dory.placements has the reason '${code ?? ''}', which this version does not know.`, {
      mend: 'It was written by a newer version of dory: use that version.',
    });
  }
  return {
    processorId: (id ?? '') as ProcessorId,
    epoch: Number(epoch) as Epoch,
    target: targetOf(nodeId, nodeName ?? '', targets),
    phase: phase === 'stopping' ? 'stopping' : 'active',
    reason,
    since: instant(Number(since)),
    specDigest: (specDigest ?? '') as Digest,
    revision: Number(revision) as RevisionId,
  };
}

/** A node that was renamed is another target for those that were placed under its old name. */
function targetOf(nodeId: string | null, nodeName: string, targets: Map<string, Target>): Target {
  const key = `${nodeId ?? ''} ${nodeName}`;
  const known = targets.get(key);
  if (known !== undefined) return known;
  const target: Target = nodeId === null ? { kind: 'managed' } : { kind: 'edge', nodeId: nodeId as NodeId, nodeName: nodeName as NodeName };
  targets.set(key, target);
  return target;
}

/** The last placements of desired processors that have none now. */
export async function readRetired(client: PoolClient): Promise<Snapshot['retired']> {
  const { rows } = await client.query<{ id: ProcessorId; epoch: string; kind: string | null; node_id: string | null; node_name: string | null }>(
    `select r.processor_id as id, r.epoch, r.target_kind as kind, r.target_node_id as node_id, r.target_node_name as node_name
       from dory.retired_epochs r join processors p on p.id = r.processor_id
      where p.status::text not in ('terminated', 'failed') and not exists (select from dory.placements where processor_id = r.processor_id)
      order by r.processor_id`,
  );
  const targets = new Map<string, Target>();
  return rows.map(({ id, epoch, kind, node_id: nodeId, node_name: nodeName }) => ({
    processorId: id, epoch: Number(epoch) as Epoch, target: kind === null ? null : targetOf(nodeId, nodeName ?? '', targets),
  }));
}

/**
 * What is known of the agent of each placement that is stopping, or on one of `doubtful`. Beats and confirmations of other
 * epochs say nothing about this one.
 */
export async function readAgents(client: PoolClient, placements: readonly Placement[], doubtful: ReadonlySet<NodeId>): Promise<readonly AgentSignals[]> {
  const asked = placements.filter(({ phase, target }) => phase === 'stopping' || (target.kind === 'edge' && doubtful.has(target.nodeId)));
  if (asked.length === 0) return [];
  const { rows } = await client.query<{ id: ProcessorId; epoch: string; beat: string | null; lease: string | null; published: string | null; acknowledged: string | null; confirmed: string | null; by: string | null }>(
    `select p.processor_id as id, p.epoch, ${ms('b.last_beat_at')} as beat, ${ms('b.lease_until')} as lease, ${ms('r.committed_at')} as published,
            ${ms('b.stop_acknowledged_at')} as acknowledged, ${ms('c.confirmed_at')} as confirmed, c.confirmed_by as by
       from dory.placements p
       join dory.revisions r on r.id = p.revision
       left join dory.beats b on b.processor_id = p.processor_id and b.epoch = p.epoch
       left join dory.stop_confirmations c on c.processor_id = p.processor_id and c.epoch = p.epoch
      where p.processor_id = any($1::uuid[])
      order by p.processor_id`,
    [asked.map(({ processorId }) => processorId)],
  );
  return rows.map(({ id, epoch, beat, lease, published, acknowledged, confirmed, by }) => ({
    processorId: id,
    epoch: Number(epoch) as Epoch,
    lastBeatAt: moment(beat),
    leaseUntil: moment(lease),
    publishedAt: moment(published),
    acknowledgedAt: moment(acknowledged),
    confirmed: confirmed === null ? null : { at: instant(Number(confirmed)), by: by ?? '' },
    pods: unknown('not-configured'),
  }));
}

function moment(text: string | null): Instant | null {
  return text === null ? null : instant(Number(text));
}

import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { Digest, Epoch, NodeId, NodeName, ProcessorId, RevisionId } from '../model/ids.ts';
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

/** All of `dory.placements`, sorted. Those on one node share their target, so that a copy of its name is not kept for each. */
export async function readPlacements(client: PoolClient): Promise<readonly Placement[]> {
  const placements: Placement[] = [];
  const targets = new Map<string, Target>();
  for (let last: string | null = null; ; ) {
    const { rows }: { rows: PlacementRow[] } = await client.query<PlacementRow>({
      text: `select processor_id::text, epoch::text, target_node_id::text, target_node_name, phase, reason, ${ms('since')}, spec_digest, revision::text
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

import type { Pool } from 'pg';
import { uuid } from '../model/ids.ts';
import type { Millis } from '../model/time.ts';
import { inBatches } from '../platform/pg.ts';
import { deletePod, kubeletReader, listPods, readPod, type KubeletReader, type LivePod, type PodCalls, type PodRef } from './pods.ts';
import { recordOnce } from './record.ts';
import { fateOf, type Fate } from './stuck-pods.ts';

/** A pod of ours that no StatefulSet wants any more, as the watch shows it. */
interface Orphan extends PodRef {
  readonly processorId: string;
  readonly epoch: number;
}

export interface SweepOptions extends PodCalls {
  readonly pool: Pool;
  /** Null while it is not known for certain. */
  readonly orphans: () => readonly Orphan[] | null;
  /** Reads the lease again. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
  /** As `Surroundings.bound`. */
  readonly bound: Millis;
}

export interface Swept {
  readonly orphan: Orphan;
  /** `failed`: it could not be looked at, or the cluster refused. */
  readonly fate: Fate | { readonly kind: 'failed'; readonly error: unknown };
  /** It was not decided before that it goes. */
  readonly first: boolean;
}

/** A pod and a node are asked for each: enough to clear a large node within a few seconds, and few beside all else. */
const atOnce = 8;

/**
 * Removes what moves left behind, as `stuck-pods.ts` says. Where nothing is left it asks neither the database nor the cluster.
 * One that can't be looked at, or that the cluster refuses to delete, holds up no other.
 * @throws Failure of the database, `not-leader`; what was not done is done next time
 */
export async function sweep(options: SweepOptions): Promise<readonly Swept[]> {
  const orphans = options.orphans() ?? [];
  if (orphans.length === 0) return [];
  const left = await readDepartures(options.pool, orphans);
  if (left.length === 0) return [];
  const kubelets = kubeletReader(options);
  const swept: Swept[] = [];
  for (const batch of inBatches(left, atOnce)) {
    await options.assertLeading();
    swept.push(...(await Promise.all(batch.map((departed) => looked(options, departed, kubelets)))).flat());
  }
  return swept;
}

async function looked(options: SweepOptions, departed: Departed, kubelets: KubeletReader): Promise<readonly Swept[]> {
  try {
    return await sweepOne(options, departed, kubelets);
  } catch (error) {
    return [{ orphan: departed.orphan, fate: { kind: 'failed', error }, first: false }];
  }
}

interface Departed {
  readonly orphan: Orphan;
  /** The current placement's, as its last commit has it; where its row was removed, the last one's. */
  readonly epoch: number;
  readonly namespace: string;
  /** Its agent has beaten, and echoed this epoch: a beat that names neither epoch nor node may be the leftover's own. */
  readonly beats: boolean;
  readonly committed: boolean;
  readonly fence: string | null;
  readonly removed: boolean;
}

/**
 * Those of which the processor is placed under a higher epoch, or whose row was removed, each with the move that left it: the first
 * change to an epoch above its own.
 */
async function readDepartures(pool: Pool, orphans: readonly Orphan[]): Promise<readonly Departed[]> {
  const { rows } = await pool.query<Omit<Departed, 'orphan' | 'epoch' | 'namespace'> & { readonly uid: string; readonly epoch: string; readonly namespace: string | null }>(
    `select o.uid, coalesce(p.epoch, e.epoch) as epoch, l.namespace, coalesce(b.last_beat_at >= p.since and b.lease_until is not null, false) as beats,
            coalesce(case when p.epoch is null then g.committed else m.committed end, false) as committed, m.fence, p.epoch is null as removed
       from jsonb_to_recordset($1::jsonb) as o (uid text, processor_id uuid, epoch bigint)
       left join dory.placements p on p.processor_id = o.processor_id
       left join dory.retired_epochs e on e.processor_id = o.processor_id and e.epoch >= o.epoch
       left join dory.beats b on b.processor_id = p.processor_id and b.epoch = p.epoch
       left join lateral (
         select r.committed_at is not null as committed,
                coalesce(c.evidence ->> 'fence', case when c.evidence -> 'unfenced' = 'true' then 'unfenced' end) as fence
           from dory.changes c join dory.revisions r on r.id = c.revision
          where c.processor_id = o.processor_id and c.kind in ('move', 'resume') and (c.placement ->> 'epoch')::bigint > o.epoch
          order by c.revision limit 1) m on true
       left join lateral (
         select r.committed_at is not null as committed
           from dory.changes c join dory.revisions r on r.id = c.revision
          where c.processor_id = o.processor_id and c.kind = 'remove'
          order by c.revision desc limit 1) g on true
       left join lateral (
         select c.spec ->> 'namespace' as namespace from dory.changes c
          where c.processor_id = o.processor_id and c.spec is not null order by c.revision desc limit 1) l on true
      where case when p.epoch is not null then p.epoch > o.epoch and p.phase = 'active'
                 -- What is desired again is placed once more, where it was under the same epoch.
                 else e.epoch is not null and not exists (select from processors d where d.id = o.processor_id and d.status::text not in ('terminated', 'failed')) end`,
    // A label is what somebody wrote: one that is no id of a row is nobody's, and holds up no other.
    [JSON.stringify(orphans.filter(({ processorId }) => uuid.test(processorId)).map(({ uid, processorId, epoch }) => ({ uid, processor_id: processorId, epoch })))],
  );
  const byUid = new Map(orphans.map((orphan) => [orphan.uid, orphan]));
  return rows.flatMap(({ uid, epoch, namespace, ...row }) => {
    const orphan = byUid.get(uid);
    return orphan === undefined ? [] : [{ ...row, orphan, epoch: Number(epoch), namespace: namespace ?? orphan.namespace }];
  });
}

async function sweepOne(options: SweepOptions, departed: Departed, kubelets: KubeletReader): Promise<readonly Swept[]> {
  const { orphan, beats, fence } = departed;
  // As it is now, not as the watch saw it.
  const pod = await readPod(options, orphan);
  if (pod === null) return [];
  const found = fateOf(pod, departed, { kubelet: pod.node === null ? 'gone' : await kubelets(pod.node), bound: options.bound });
  const isFree = found.kind === 'wait' && found.why === 'successor' && (beats || (await successorIsReady(options, departed)));
  const fate: Fate = isFree ? { kind: 'delete' } : found;
  const evidence = { pod: pod.name, namespace: pod.namespace, uid: pod.uid, node: pod.node, epoch: orphan.epoch, fence };
  const told = (kind: string, more: Readonly<Record<string, number | boolean>>): Promise<boolean> => recordOnce(options.pool, { kind, processorId: orphan.processorId, uid: pod.uid, evidence: { ...evidence, ...more } });
  if (fate.kind === 'overdue') return [{ orphan, fate, first: await told('leftover-overdue', { overMs: fate.over }) }];
  if (fate.kind === 'wait') return [{ orphan, fate, first: false }];
  const first = await told('leftover-removed', { forced: fate.kind === 'force' });
  await deletePod(options, pod, { force: fate.kind === 'force' });
  return [{ orphan, fate, first }];
}

async function successorIsReady(options: SweepOptions, { orphan, epoch, namespace }: Departed): Promise<boolean> {
  const pods: readonly LivePod[] = await listPods(options, namespace, `processor-id=${orphan.processorId},dory.io/epoch=${String(epoch)}`);
  return pods.some(({ ready, overdue }) => ready && overdue === null);
}

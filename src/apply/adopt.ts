import type { Pool } from 'pg';
import { elapsed, instant, type Millis } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { deletePod, kubeletReader, listPods, readPod, type KubeletReader, type LivePod, type PodCalls } from './pods.ts';
import { runningPredecessor, type PredecessorPlace } from './predecessor.ts';
import { recordOnce } from './record.ts';

/**
 * Takes processors over from the system that ran here before, those that a person asked for (`dory.handovers`), a few at a time.
 *
 *   left ─its pod is deleted, by UID─▶ ending ─the pod is gone─▶ ours ─it beats or is Ready─▶ done
 *
 * Nothing of ours is placed while a pod of the other system is left: `plan` holds it (`not-adopted`). So between the two no pod runs,
 * and never two. Who is killed in the middle leaves a row of `dory.adoptions`, from which the next one goes on. While one of the few
 * does not get to work, no further one is begun: a release that can't start takes down a few and not all.
 */
export interface AdoptOptions extends PodCalls {
  readonly pool: Pool;
  readonly predecessor: PredecessorPlace;
  /** Whether the watch shows pods that bear no epoch: where it shows none, none are listed. */
  readonly anyLeft: () => boolean;
  /** Reads the lease again. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
  /** A pod that ends for longer than its grace and this is told of. */
  readonly bound: Millis;
}

export interface AdoptStep {
  /** Under way, with those that were begun now. */
  readonly open: number;
  readonly begun: number;
  /** Nothing was begun although something is left to do: the other system runs. */
  readonly refused: boolean;
}

/** Of all that the other system runs, so many may be without a pod at once. */
export const mostAtOnce = 5;
/** Of pods that have no epoch. */
export const bareSelector = 'managed-by=dory-orchestrator,!dory.io/epoch';

/** One step further. Where nobody asked for anything, the database is asked and not the cluster. @throws Failure of the database or the cluster, `not-leader` */
export async function adoptFurther(options: AdoptOptions): Promise<AdoptStep> {
  const { rows } = await options.pool.query<{ asked: boolean }>(`select exists (select from dory.handovers where towards = 'ours') as asked`);
  if (rows[0]?.asked !== true) return { open: 0, begun: 0, refused: false };
  await options.assertLeading();
  const kubelets = kubeletReader(options);
  const open = await openAdoptions(options, kubelets);
  const next = open >= mostAtOnce || !options.anyLeft() ? [] : await askedPods(options);
  if (next.length === 0) return { open, begun: 0, refused: false };
  if ((await runningPredecessor(options.client, options.predecessor)) !== null) return { open, begun: 0, refused: true };
  let begun = 0;
  for (const pod of next) {
    if (open + begun < mostAtOnce && (await begin(options, pod, kubelets))) begun += 1;
  }
  return { open: open + begun, begun, refused: false };
}

interface Open {
  readonly uid: string;
  readonly processor_id: string;
  readonly namespace: string;
  readonly pod: string;
  readonly gone: boolean;
  readonly epoch: string | null;
  readonly beats: boolean;
  readonly begun_ms: string;
  readonly now_ms: string;
}

/** How many are still under way, after each was looked at. */
async function openAdoptions(options: AdoptOptions, kubelets: KubeletReader): Promise<number> {
  const { rows } = await options.pool.query<Open>(
    `select a.pod_uid as uid, a.processor_id, a.namespace, a.pod, a.gone_at is not null as gone, p.epoch, ${ms('a.begun_at')} as begun_ms, ${ms('now()')} as now_ms,
            coalesce(b.last_beat_at >= p.since, false) as beats
       from dory.adoptions a
       left join dory.placements p on p.processor_id = a.processor_id and p.phase = 'active'
       left join dory.beats b on b.processor_id = p.processor_id and b.epoch = p.epoch
      where a.ended_at is null order by a.begun_at, a.pod_uid`,
  );
  const still = await Promise.all(rows.map((row) => isStillOpen(options, row, kubelets)));
  return still.filter(Boolean).length;
}

async function isStillOpen(options: AdoptOptions, row: Open, kubelets: KubeletReader): Promise<boolean> {
  const { pool } = options;
  const { uid, processor_id: processorId, namespace, pod: name } = row;
  if (!row.gone) {
    const pod = await readPod(options, { uid, namespace, name });
    if (pod !== null) {
      await tellIfOverdue(options, row, pod);
      // Who wrote the row may have been killed before the request.
      if (pod.overdue === null) await begin(options, pod, kubelets);
      return true;
    }
    await pool.query('update dory.adoptions set gone_at = now() where pod_uid = $1', [uid]);
  }
  const works = row.epoch !== null && (row.beats || (await isReady(options, row, row.epoch)));
  if (!works && (await isDesired(pool, processorId))) return true;
  if (works) await recordOnce(pool, { kind: 'adopted', processorId, uid, evidence: { uid, pod: name, namespace, tookMs: elapsed(instant(Number(row.begun_ms)), instant(Number(row.now_ms))) } });
  await pool.query('update dory.adoptions set ended_at = now() where pod_uid = $1', [uid]);
  return false;
}

async function tellIfOverdue({ pool, bound }: AdoptOptions, { uid, processor_id: processorId, namespace }: Open, pod: LivePod): Promise<void> {
  if (pod.overdue === null || pod.overdue <= bound) return;
  await recordOnce(pool, { kind: 'adoption-overdue', processorId, uid, evidence: { uid, pod: pod.name, namespace, node: pod.node, overMs: pod.overdue } });
}

async function isReady(options: AdoptOptions, { processor_id: id, namespace }: Open, epoch: string): Promise<boolean> {
  const pods = await listPods(options, namespace, `processor-id=${id},dory.io/epoch=${epoch}`);
  return pods.some(({ ready, overdue }) => ready && overdue === null);
}

/** A row that was removed meanwhile, or handed back, starts nowhere, and holds up nobody. */
async function isDesired(pool: Pool, id: string): Promise<boolean> {
  const { rows } = await pool.query<{ desired: boolean }>(
    `select exists (select from processors where id = $1 and status not in ('terminated', 'failed'))
        and coalesce((select towards from dory.handovers where subject = 'processor/' || $1::text), (select towards from dory.handovers where subject = 'fleet'), 'ours') = 'ours' as desired`,
    [id],
  );
  return rows[0]?.desired === true;
}

/** Pods of the other system that a person asked us to take over and that we have not begun with, by name. */
async function askedPods(options: AdoptOptions): Promise<readonly LivePod[]> {
  const pods = await listPods(options, null, bareSelector);
  if (pods.length === 0) return [];
  const { rows } = await options.pool.query<{ uid: string }>(
    `select o.uid from jsonb_to_recordset($1::jsonb) as o (uid uuid, id text)
       join processors p on p.id::text = lower(o.id) and p.status not in ('terminated', 'failed')
       left join dory.handovers own on own.subject = 'processor/' || p.id
       left join dory.handovers fleet on fleet.subject = 'fleet'
      where coalesce(own.towards, fleet.towards) = 'ours' and not exists (select from dory.adoptions a where a.pod_uid = o.uid)`,
    [JSON.stringify(pods.map(({ uid, processorId }) => ({ uid, id: processorId })))],
  );
  const asked = new Set(rows.map(({ uid }) => uid));
  return pods.filter(({ uid }) => asked.has(uid)).sort((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1));
}

/** False: its kubelet is silent, so nobody could see it end; unless a person said that the node has no power. */
async function begin(options: AdoptOptions, pod: LivePod, kubelets: KubeletReader): Promise<boolean> {
  const kubelet = pod.node === null ? 'answers' : await kubelets(pod.node);
  const off = kubelet !== 'answers' && (await isPoweredOff(options.pool, pod.node ?? ''));
  if (kubelet !== 'answers' && !off) return false;
  await options.pool.query(
    'insert into dory.adoptions (pod_uid, processor_id, namespace, pod) values ($1, $2, $3, $4) on conflict (pod_uid) do nothing',
    [pod.uid, pod.processorId, pod.namespace, pod.name],
  );
  await deletePod(options, pod, { force: off });
  return true;
}

async function isPoweredOff(pool: Pool, node: string): Promise<boolean> {
  const { rows } = await pool.query('select from dory.power_offs where node_name = $1', [node]);
  return rows.length > 0;
}

import type { Pool } from 'pg';
import { elapsed, instant, type Millis } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { inTurn } from './in-turn.ts';
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
  /** Of those that were under way, ours was seen to work now. */
  readonly taken: number;
  /** Nothing was begun although something is left to do: the other system runs. */
  readonly refused: boolean;
  /** The first thing that failed; one pod that the cluster refuses to delete holds up no other. */
  readonly failed: { readonly error: unknown } | null;
}

/** Of all that the other system runs, so many may be without a pod at once. */
export const mostAtOnce = 5;
/** Of pods that have no epoch. */
export const bareSelector = 'managed-by=dory-orchestrator,!dory.io/epoch';

/** One step further. Where nobody asked for anything, the database is asked and not the cluster. @throws Failure of the database, `not-leader` */
export async function adoptFurther(options: AdoptOptions): Promise<AdoptStep> {
  const { rows } = await options.pool.query<{ asked: boolean }>(`select exists (select from dory.handovers where towards = 'ours') as asked`);
  if (rows[0]?.asked !== true) return { open: 0, begun: 0, taken: 0, refused: false, failed: null };
  await options.assertLeading();
  const round: Round = { ...options, kubelets: kubeletReader(options), otherRuns: once(async () => (await runningPredecessor(options.client, options.predecessor)) !== null) };
  const before = await readOpen(options.pool);
  let [open, begun, taken, refused] = [before.length, 0, 0, false];
  const lookAt = async (row: Open): Promise<void> => {
    const state = await stateOf(round, row);
    if (state !== 'open') open -= 1;
    if (state === 'taken') taken += 1;
  };
  const beginWith = async (pod: LivePod): Promise<void> => {
    if (open >= mostAtOnce || !(await begin(round, pod))) return;
    open += 1;
    begun += 1;
  };
  const goOn = async (): Promise<void> => {
    const next = open >= mostAtOnce || !options.anyLeft() ? [] : await askedPods(options);
    refused = next.length > 0 && (await round.otherRuns());
    const failed = refused ? null : await inTurn(next.map((pod) => () => beginWith(pod)));
    if (failed !== null) throw failed.error;
  };
  const failed = await inTurn([...before.map((row) => () => lookAt(row)), goOn]);
  return { open, begun, taken, refused, failed };
}

/** What is asked once in it, and only if it matters. */
interface Round extends AdoptOptions {
  readonly kubelets: KubeletReader;
  readonly otherRuns: () => Promise<boolean>;
}

function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | null = null;
  return () => (asked ??= ask());
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

async function readOpen(pool: Pool): Promise<readonly Open[]> {
  const { rows } = await pool.query<Open>(
    `select a.pod_uid as uid, a.processor_id, a.namespace, a.pod, a.gone_at is not null as gone, p.epoch, ${ms('a.begun_at')} as begun_ms, ${ms('now()')} as now_ms,
            coalesce(b.last_beat_at >= p.since, false) as beats
       from dory.adoptions a
       left join dory.placements p on p.processor_id = a.processor_id and p.phase = 'active'
       left join dory.beats b on b.processor_id = p.processor_id and b.epoch = p.epoch
      where a.ended_at is null order by a.begun_at, a.pod_uid`,
  );
  return rows;
}

/** `unwanted`: a row that was removed meanwhile, or handed back, starts nowhere, and holds up nobody. */
async function stateOf(round: Round, row: Open): Promise<'open' | 'taken' | 'unwanted'> {
  const { pool } = round;
  const { uid, processor_id: processorId, namespace, pod: name } = row;
  const end = (taken: boolean): Promise<unknown> => pool.query('update dory.adoptions set ended_at = now(), taken = $2 where pod_uid = $1', [uid, taken]);
  const desired = await isDesired(pool, processorId);
  if (!row.gone) {
    const pod = await readPod(round, { uid, namespace, name });
    if (pod !== null && (desired || pod.overdue !== null)) {
      await tellIfOverdue(round, row, pod);
      // Who wrote the row may have been killed before the request.
      if (pod.overdue === null && !(await round.otherRuns())) await begin(round, pod);
      return 'open';
    }
    // Nobody deleted it, and it may stay. Should it be asked for once more, it is begun with anew.
    if (pod !== null) return pool.query('delete from dory.adoptions where pod_uid = $1', [uid]).then(() => 'unwanted');
    await pool.query('update dory.adoptions set gone_at = now() where pod_uid = $1', [uid]);
  }
  if (row.epoch !== null && (row.beats || (await isReady(round, row, row.epoch)))) {
    await recordOnce(pool, { kind: 'adopted', processorId, uid, evidence: { uid, pod: name, namespace, tookMs: elapsed(instant(Number(row.begun_ms)), instant(Number(row.now_ms))) } });
    await end(true);
    return 'taken';
  }
  if (desired) return 'open';
  await end(false);
  return 'unwanted';
}

async function tellIfOverdue({ pool, bound }: AdoptOptions, { uid, processor_id: processorId, namespace }: Open, pod: LivePod): Promise<void> {
  if (pod.overdue === null || pod.overdue <= bound) return;
  await recordOnce(pool, { kind: 'adoption-overdue', processorId, uid, evidence: { uid, pod: pod.name, namespace, node: pod.node, overMs: pod.overdue } });
}

/** In whichever namespace its row names: the other system may have had it elsewhere. */
async function isReady(options: AdoptOptions, { processor_id: id }: Open, epoch: string): Promise<boolean> {
  const pods = await listPods(options, null, `processor-id=${id},dory.io/epoch=${epoch}`);
  return pods.some(({ ready, overdue }) => ready && overdue === null);
}

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
async function begin(round: Round, pod: LivePod): Promise<boolean> {
  const kubelet = pod.node === null ? 'answers' : await round.kubelets(pod.node);
  const off = kubelet !== 'answers' && (await isPoweredOff(round.pool, pod.node ?? ''));
  if (kubelet !== 'answers' && !off) return false;
  await round.pool.query(
    'insert into dory.adoptions (pod_uid, processor_id, namespace, pod) values ($1, $2, $3, $4) on conflict (pod_uid) do nothing',
    [pod.uid, pod.processorId, pod.namespace, pod.name],
  );
  await deletePod(round, pod, { force: off });
  return true;
}

async function isPoweredOff(pool: Pool, node: string): Promise<boolean> {
  const { rowCount } = await pool.query(
    'select from dory.power_offs p where node_name = $1 and not exists (select from edge_nodes n where n.id = p.node_id and n.last_heartbeat_at > p.confirmed_at)',
    [node],
  );
  return rowCount !== null && rowCount > 0;
}

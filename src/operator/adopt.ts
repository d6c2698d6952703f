import type { Pool, PoolClient } from 'pg';
import { z } from 'zod';
import { bareSelector, mostAtOnce } from '../apply/adopt.ts';
import { eachObject, kubeletReader, listPods, type LivePod } from '../apply/pods.ts';
import { runningPredecessor, type Predecessor, type PredecessorPlace } from '../apply/predecessor.ts';
import { Failure } from '../model/failure.ts';
import { byText, type Epoch, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { millis } from '../model/time.ts';
import { createMembers, readPod, readStatefulSet } from '../observe/cluster-pods.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import { objectSchema } from '../platform/kube/object.ts';
import { inTransaction } from '../platform/pg.ts';
import { reason } from './fields.ts';
import { operation, type Caller, type OperatorContext } from './operation.ts';
import { recordAct } from './record.ts';
import { findProcessor } from './subjects.ts';

/** Beyond, a list is for nobody; the counts say the rest. */
const listed = 1000;
const states = ['left', 'asked', 'ending', 'starting', 'unreachable', 'unknown', 'stopping', 'stopped'] as const;
type State = (typeof states)[number];

const item = z.object({
  processor: z.string(),
  pod: z.string().nullable().describe("NAMESPACE/NAME of the other system's pod; null where none is left."),
  node: z.string().nullable(),
  state: z.enum(states),
});

const report = z.object({
  running: z.object({ deployment: z.string(), replicas: z.int(), pods: z.array(z.string()) }).nullable().describe('What still runs of the system before this one; nothing is taken over until it is null.'),
  counts: z.record(z.enum(states), z.int()).describe(
    'left: its pod runs, and nobody asked to take it over; asked: its turn comes; ending: its pod was deleted and ends; starting: its pod is gone, ours is not seen to work yet; '
    + 'unreachable: its node is silent; unknown: no desired row has this id, so it is left alone; stopping: handed back, ours is not stopped yet; stopped: handed back, and nothing of ours runs.',
  ),
  taken: z.int().describe('Taken over so far, and not handed back since.'),
  items: z.array(item).describe(`At most ${String(listed)}.`),
});
export type AdoptReport = z.output<typeof report>;

export const adopt = operation({
  name: 'adopt',
  method: 'GET',
  path: '/api/v1/adoption',
  summary: 'what the system that ran here before left, and how far its take-over is; changes nothing',
  changesState: false,
  input: z.strictObject({}),
  output: report,
  run: (context) => withCluster(context, (client) => reportOf(context, client)),
});

const which = {
  processors: z.array(z.string().max(300), { error: 'give processors by id or name' }).max(1000, { error: 'give at most 1000 processors' }).optional().describe('Only these, by id or name; all of the fleet unless given.'),
  reason,
};
const asked = z.object({ processors: z.int().nullable().describe('How many were named; null: all of the fleet.') });

export const adoptStart = operation({
  name: 'adopt.start',
  method: 'POST',
  path: '/api/v1/adoption/start',
  summary: 'take processors over from the system that ran here before: each pod of it is deleted, and ours starts when it is gone',
  changesState: true,
  input: z.strictObject(which),
  output: asked,
  run: (context, input, caller) =>
    withCluster(context, async (client) => {
      const running = await runningPredecessor(client, context.predecessor);
      if (running !== null) throw stillRuns(context.predecessor, running);
      return handOver(context.pool, { ...input, towards: 'ours' }, caller);
    }),
});

export const adoptBack = operation({
  name: 'adopt.back',
  method: 'POST',
  path: '/api/v1/adoption/back',
  summary: 'hand processors back to the system that ran here before: ours are stopped, and not started again',
  changesState: true,
  input: z.strictObject(which),
  output: asked,
  run: ({ pool }, input, caller) => handOver(pool, { ...input, towards: 'theirs' }, caller),
});

/** @throws Failure `conflict` without a cluster */
function withCluster<T>(context: OperatorContext, use: (client: KubeClient) => Promise<T>): Promise<T> {
  return context.withKube((client) => {
    if (client === null) throw new Failure('conflict', 'No cluster is configured, so nobody can say what another system left in it.', { mend: 'Set kubeconfig, or ask a server that runs in the cluster (--server).' });
    return use(client);
  });
}

function stillRuns({ namespace, deployment }: PredecessorPlace, { replicas, pods }: Predecessor): Failure {
  return new Failure('conflict', `The system that ran here before still runs: ${namespace}/${deployment} is to have ${String(replicas)} pods, and has ${pods.length === 0 ? 'none' : pods.join(', ')}.`, {
    mend: `It would start anew what is taken from it: kubectl -n ${namespace} scale deployment ${deployment} --replicas=0, or replace it by ours, and wait for the end of its pod.`,
  });
}

interface Handover {
  readonly towards: 'ours' | 'theirs';
  readonly processors?: readonly string[] | undefined;
  readonly reason: string;
}

function handOver(pool: Pool, { towards, processors, reason: why }: Handover, caller: Caller): Promise<z.output<typeof asked>> {
  return inTransaction(pool, {}, async (client) => {
    // A decision that is being written comes before this, and is seen by whoever asks what has stopped; or after it, and sees this.
    await client.query('select from dory.state for update');
    const ids = processors === undefined ? null : await idsOf(client, processors);
    // What is said of all goes over what was said of single ones before.
    if (ids === null) await client.query('delete from dory.handovers');
    for (const subject of ids?.map((id) => `processor/${id}`) ?? ['fleet']) {
      await client.query(
        `insert into dory.handovers (subject, towards, asked_by, reason) values ($1, $2, $3, $4)
         on conflict (subject) do update set towards = excluded.towards, asked_by = excluded.asked_by, reason = excluded.reason, asked_at = now()`,
        [subject, towards, caller.name, why],
      );
    }
    await recordAct(client, caller, { kind: towards === 'ours' ? 'adoption-asked' : 'handed-back', evidence: { processors: ids?.length ?? null, reason: why } });
    return { processors: ids?.length ?? null };
  });
}

async function idsOf(client: PoolClient, names: readonly string[]): Promise<readonly string[]> {
  const ids: string[] = [];
  for (const name of names) ids.push((await findProcessor(client, name)).id);
  return [...new Set(ids)];
}

interface Row {
  readonly id: string;
  readonly towards: 'ours' | 'theirs' | null;
  /** Of its placement; null: it has none. */
  readonly epoch: string | null;
  readonly revision: string | null;
  readonly phase: 'active' | 'stopping' | null;
  /** Of an adoption that is under way. */
  readonly open: boolean;
}

async function reportOf({ pool, predecessor }: OperatorContext, client: KubeClient): Promise<AdoptReport> {
  const running = await runningPredecessor(client, predecessor);
  const pods = await listPods({ client }, null, bareSelector);
  const { rows } = await pool.query<Row>(
    `select p.id, coalesce(own.towards, fleet.towards) as towards, pl.epoch, pl.revision, pl.phase,
            exists (select from dory.adoptions a where a.processor_id = p.id and a.ended_at is null) as open
       from processors p
       left join dory.handovers own on own.subject = 'processor/' || p.id
       left join dory.handovers fleet on fleet.subject = 'fleet'
       left join dory.placements pl on pl.processor_id = p.id
      where p.status not in ('terminated', 'failed')`,
  );
  const left = await leftItems(client, pods, new Map(rows.map((row) => [row.id, row])));
  const withPod = new Set(left.map(({ processor }) => processor));
  const others = await withoutPod(client, rows.filter(({ id }) => !withPod.has(id)));
  const items = [...left, ...others].sort((a, b) => byText(a.state, b.state) || byText(a.processor, b.processor) || byText(a.pod ?? '', b.pod ?? ''));
  const { rows: [taken] } = await pool.query<{ count: string }>(
    `select count(distinct a.processor_id)
       from dory.adoptions a
       left join dory.handovers own on own.subject = 'processor/' || a.processor_id
       left join dory.handovers fleet on fleet.subject = 'fleet'
      where a.taken and coalesce(own.towards, fleet.towards) is distinct from 'theirs'`,
  );
  return {
    running: running === null ? null : { deployment: `${predecessor.namespace}/${predecessor.deployment}`, replicas: running.replicas, pods: [...running.pods] },
    counts: Object.fromEntries(states.map((state) => [state, items.filter((each) => each.state === state).length])) as AdoptReport['counts'],
    taken: Number(taken?.count ?? 0),
    items: items.slice(0, listed),
  };
}

/** Of what still has a pod of the other system. */
async function leftItems(client: KubeClient, pods: readonly LivePod[], rows: ReadonlyMap<string, Row>): Promise<AdoptReport['items']> {
  const kubelets = kubeletReader({ client });
  return Promise.all(pods.map(async (pod) => {
    const { processorId, node, overdue, namespace, name } = pod;
    const row = rows.get((processorId ?? '').toLowerCase());
    const silent = node !== null && (await kubelets(node)) !== 'answers';
    const state: State = row === undefined ? 'unknown' : silent ? 'unreachable' : overdue !== null ? 'ending' : row.towards === 'ours' ? 'asked' : 'left';
    return { processor: processorId ?? '', pod: `${namespace}/${name}`, node, state };
  }));
}

/** What is on its way to us, or was handed back. */
async function withoutPod(client: KubeClient, rows: readonly Row[]): Promise<AdoptReport['items']> {
  const starting = rows.filter(({ open, towards }) => open && towards !== 'theirs').map(({ id }) => ({ processor: id, pod: null, node: null, state: 'starting' as const }));
  const back = rows.filter(({ towards }) => towards === 'theirs');
  if (back.length === 0) return starting;
  const stopped = await stoppedOf(client, back);
  return [...starting, ...back.map(({ id }) => ({ processor: id, pod: null, node: null, state: stopped.has(id) ? ('stopped' as const) : ('stopping' as const) }))];
}

/**
 * Those of which nothing of ours runs, or is still to be started by whoever applies an earlier commit: the same proof of an end that a
 * move rests on. Without a placement there was never one, or it was taken away with its row.
 */
async function stoppedOf(client: KubeClient, rows: readonly Row[]): Promise<ReadonlySet<string>> {
  const members = createMembers();
  const labelSelector = 'managed-by=dory-orchestrator';
  for await (const { object } of eachObject(client, '/apis/apps/v1/statefulsets', labelSelector)) members.onStatefulSet(null, readStatefulSet(objectSchema.parse(object), null, millis(0)));
  for await (const { object } of eachObject(client, '/api/v1/pods', `${labelSelector},dory.io/epoch`)) members.onPod(null, readPod(objectSchema.parse(object), null, millis(0)), millis(0));
  return new Set(rows.filter(({ id, epoch, revision, phase }) => {
    if (epoch === null) return members.of(id).pods.length === 0 && members.of(id).sets.length === 0;
    return phase === 'stopping' && members.pods({ processorId: id as ProcessorId, epoch: Number(epoch) as Epoch, revision: Number(revision) as RevisionId }) === 'gone';
  }).map(({ id }) => id));
}

/** For `--help`. */
export const adoptPace = mostAtOnce;

import type { PoolClient } from 'pg';
import { z } from 'zod';
import type { Head } from '../commit/repository.ts';
import { readState, type StateRow } from '../commit/revisions.ts';
import { writeChanges } from '../decide/changes.ts';
import { Failure } from '../model/failure.ts';
import type { Workload } from '../model/fleet.ts';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import { targetName } from '../model/placement.ts';
import type { Change } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { readLastGood } from '../observe/last-good.ts';
import { inTransaction, withClient } from '../platform/pg.ts';
import { reason } from './fields.ts';
import { operation, type Caller, type OperatorContext } from './operation.ts';
import { recordAct } from './record.ts';
import { planRepair, type RepairInput, type RepairPlan } from './repair-plan.ts';
import { readLayout, readShown } from './shown.ts';

const side = z.object({ target: z.string(), epoch: z.int(), phase: z.string() }).nullable();

const report = z.object({
  applied: z.boolean(),
  git: z.int().nullable().describe('The newest revision that Git shows; null: none.'),
  database: z.int().describe('The newest revision that the database knew.'),
  revision: z.int().nullable().describe('The revision that the repair made; null: no placement changes.'),
  changes: z.array(z.object({ processor: z.string(), before: side, after: side })).describe('Placements that are adopted from Git, or removed as Git removed them.'),
  floors: z.array(z.object({ processor: z.string(), epoch: z.int() })).describe('Processors without a placement: the next one starts above this epoch.'),
  unexplained: z.array(z.object({ processor: z.string(), echoed: z.int(), shown: z.int() })).describe('Agents that echo an epoch above the one that Git shows: look at them.'),
});

export const repairEpochs = operation({
  name: 'repair.epochs',
  method: 'POST',
  path: '/api/v1/repair/epochs',
  summary: 'after a restored backup: adopt from Git what runs, and raise epochs above all that was seen',
  changesState: true,
  input: z.strictObject({
    reason,
    dryRun: z.boolean().default(false).describe('Only say what would be done.'),
    dropUnknown: z.boolean().default(false).describe('Let go of processors that Git shows and no row of the database knows: their files are removed.'),
  }),
  output: report,
  run: (context, { reason: why, ...options }, caller) => repair(context, { ...options, why, caller }),
});

interface Wish {
  readonly dryRun: boolean;
  readonly dropUnknown: boolean;
  readonly why: string;
  readonly caller: Caller;
}

/** What was read before anything is written. */
interface Seen {
  readonly state: StateRow;
  readonly head: Head;
  readonly snapshot: Snapshot;
  readonly input: RepairInput;
  /** How Git's folders are laid out; null if it does not tell. */
  readonly layout: string | null;
  /** Of `input.formerSpecs`. */
  readonly formerWorkloads: readonly Workload[];
}

async function repair(context: OperatorContext, wish: Wish): Promise<z.output<typeof report>> {
  const seen = await read(context, wish.dropUnknown);
  const { input, state, head } = seen;
  const planned = planRepair(input);
  refuseProblems(planned);
  const atRest = planned.changes.length === 0 && planned.floors.length === 0 && input.shownRevision <= input.known;
  const revision = wish.dryRun || atRest ? null : await inTransaction(context.pool, {}, (client) => write(client, seen, planned, wish));
  return {
    applied: !wish.dryRun && !atRest,
    git: head.revision,
    database: state.revision,
    revision,
    changes: planned.changes.map(({ processorId, before, after }) => ({ processor: processorId, before: sideOf(before), after: sideOf(after) })),
    floors: planned.floors.map(({ processorId, epoch }) => ({ processor: processorId, epoch })),
    unexplained: planned.unexplained.map(({ processorId, ...epochs }) => ({ processor: processorId, ...epochs })),
  };
}

function sideOf(placement: Change['before'] | Change['after']): z.output<typeof side> {
  return placement === null ? null : { target: targetName(placement.target), epoch: placement.epoch, phase: placement.phase };
}

/** As many as fit into a message; the dry run of a mended database tells the rest. */
const problemsShown = 5;

/** @throws Failure `conflict` */
function refuseProblems({ problems }: RepairPlan): void {
  const [first] = problems;
  if (first === undefined) return;
  const told = problems.slice(0, problemsShown).map(({ name, problem }) => `${name}: ${problem}`).join('; ');
  const more = problems.length > problemsShown ? `; and ${String(problems.length - problemsShown)} more` : '';
  throw new Failure('conflict', `What Git shows can't be adopted. ${told}${more}.`, { mend: first.mend });
}

async function read(context: OperatorContext, dropUnknown: boolean): Promise<Seen> {
  const { pool } = context;
  const state = await readState(pool);
  const snapshot = await context.observe();
  const { fleet, placements } = snapshot;
  const desired = new Set([...fleet.processors, ...fleet.quarantined].map(({ id }) => id));
  const former = placements.map(({ processorId }) => processorId).filter((id) => !desired.has(id));
  const lastGood = await withClient(pool, (client) => readLastGood(client, former));
  return context.withRepository(async (repository) => {
    const head = await repository.head();
    const shown = await readShown(repository, head, [...desired, ...former]);
    return {
      state, head, snapshot,
      layout: await readLayout(repository, head),
      input: {
        snapshot, shown, dropUnknown,
        known: state.revision,
        shownRevision: head.revision ?? 0,
        formerSpecs: new Map([...lastGood].map(([id, { spec }]) => [id, spec])),
        retired: await readRetired(context),
        echoed: await readEchoed(context),
      },
      formerWorkloads: [...lastGood.values()].map(({ workload }) => workload),
    };
  });
}

async function readRetired({ pool }: OperatorContext): Promise<ReadonlyMap<ProcessorId, number>> {
  const { rows } = await pool.query<{ id: ProcessorId; epoch: string }>('select processor_id as id, epoch from dory.retired_epochs');
  return new Map(rows.map(({ id, epoch }) => [id, Number(epoch)]));
}

/** Since the last repair. */
async function readEchoed({ pool }: OperatorContext): Promise<ReadonlyMap<ProcessorId, number>> {
  const { rows } = await pool.query<{ id: ProcessorId; epoch: string }>(
    `select e.processor_id as id, max((e.evidence ->> 'echoed')::bigint) as epoch
       from dory.events e left join dory.placements p on p.processor_id = e.processor_id left join dory.retired_epochs r on r.processor_id = e.processor_id
      where e.kind = 'epoch-ahead' and e.processor_id is not null and (e.evidence ->> 'echoed')::bigint > greatest(p.epoch, r.epoch, 0)
        and e.id > coalesce((select max(id) from dory.events where kind = 'epochs-repaired'), 0)
      group by e.processor_id`,
  );
  return new Map(rows.map(({ id, epoch }) => [id, Number(epoch)]));
}

async function write(client: PoolClient, seen: Seen, planned: RepairPlan, { caller, why }: Wish): Promise<RevisionId | null> {
  const { input, head, layout } = seen;
  const { rows } = await client.query<{ revision: string }>('select revision from dory.state for update');
  if (Number(rows[0]?.revision) !== input.known) throw new Failure('database-conflict', 'Something was decided while this was being repaired.');
  const newest = Math.max(input.known, input.shownRevision);
  // What the backup held as pending has long been published.
  await client.query('update dory.revisions set committed_at = clock_timestamp(), commit_sha = $2 where id <= $1 and committed_at is null', [input.shownRevision, head.ours?.commit ?? head.commit]);
  const revision = planned.changes.length === 0 ? null : ((newest + 1) as RevisionId);
  if (revision !== null) await writeRevision(client, seen, planned.changes, revision);
  await client.query(
    // A floor is no epoch that ran: where it ran under that one is not known.
    `insert into dory.retired_epochs as e (processor_id, epoch) select * from unnest($1::uuid[], $2::bigint[])
     on conflict (processor_id) do update set epoch = excluded.epoch, target_kind = null, target_node_id = null, target_node_name = null
      where e.epoch < excluded.epoch`,
    [planned.floors.map(({ processorId }) => processorId), planned.floors.map(({ epoch }) => epoch)],
  );
  await client.query('update dory.state set version = version + 1, revision = $1, layout = coalesce(layout, $2)', [revision ?? newest, layout]);
  const { changes, floors, unexplained } = planned;
  await recordAct(client, caller, { kind: 'epochs-repaired', evidence: { reason: why, git: head.revision, database: input.known, revision, changes: changes.length, floors: floors.length, unexplained: unexplained.length } });
  return revision;
}

async function writeRevision(client: PoolClient, { snapshot, input, formerWorkloads }: Seen, changes: readonly Change[], revision: RevisionId): Promise<void> {
  const { fleet } = snapshot;
  const lastGood = fleet.quarantined.flatMap((row) => row.lastGood ?? []);
  const specs = new Map([...input.formerSpecs, ...[...fleet.processors, ...lastGood].map((spec) => [spec.id, spec] as const)]);
  const workloads = new Map<Digest, Workload>([...formerWorkloads, ...fleet.workloads].map((workload) => [workload.digest, workload]));
  const { rows } = await client.query<{ epoch: string }>('select epoch from dory.leader');
  await writeChanges(client, { revision, at: snapshot.at, changes, specs, workloads, leaderEpoch: Number(rows[0]?.epoch ?? 0), renderer: 'dory repair epochs' });
}

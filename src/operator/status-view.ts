import type { Pool } from 'pg';
import { z } from 'zod';
import type { Home } from '../model/fleet.ts';
import { byText, type NodeId, type ProcessorId } from '../model/ids.ts';
import type { Hold, Plan } from '../model/plan.ts';
import { sentence } from '../model/reasons.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { elapsed, formatInstant, instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { plan } from '../plan/plan.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { appliedSchema, commitsSchema, readApplied, readCommits } from './applied-view.ts';
import { argocdSchema, readArgocd } from './argocd-view.ts';
import { capacityOf, capacitySchema } from './capacity.ts';
import { moment } from './fields.ts';
import { mendOf } from './mend.ts';
import { operation } from './operation.ts';
import { readRollouts, rolloutsSchema } from './rollouts-view.ts';

/** Beyond, a list is for nobody; the counts say the rest. */
const listed = 1000;

const said = { reason: z.string().describe('A reason code.'), why: z.string().describe('The reason as a sentence.') };
const document = z.object({
  at: moment,
  revision: z.int().describe('The newest that was decided.'),
  pending: z.int().describe('Revisions that are not yet on the remote.'),
  commit: z.string().nullable(),
  committedAt: moment.nullable(),
  leader: z.string().nullable().describe('Null: nobody leads.'),
  leaderEpoch: z.int(),
  behind: z.object({ git: z.int(), database: z.int() }).nullable().describe('Git shows a revision that the database does not know: nothing is decided until `dory repair epochs`.'),
  paused: z.object({ by: z.string(), reason: z.string(), since: moment }).nullable(),
  guard: z.object({ state: z.enum(['calm', 'site-out', 'degraded', 'panic']), since: moment, ...said }),
  intake: z.string().nullable().describe('Why silence says nothing now; null: heartbeats can be stored.'),
  argocd: argocdSchema(listed),
  applied: appliedSchema(listed),
  commits: commitsSchema,
  rollouts: rolloutsSchema(listed),
  capacity: capacitySchema,
  processors: z.object({ desired: z.int(), placed: z.int(), managed: z.int().describe('Placed in the managed pool.'), stopping: z.int() }),
  changes: z.int().describe('Decided by the next cycle, if nothing changes.'),
  verdicts: z.record(z.string(), z.int()).describe('How many nodes have each.'),
  nodes: z.array(z.object({ name: z.string(), verdict: z.string(), since: moment, ageMs: z.int(), processors: z.int().describe('Placed there.'), ...said })).describe(`At most ${String(listed)}, those that are not healthy first.`),
  locks: z.array(z.object({ subject: z.string(), owner: z.string(), reason: z.string(), until: moment })),
  refusals: z.array(z.object({ subject: z.string(), ...said, mend: z.string() })).describe('Holds on everything.'),
  held: z.int(),
  holds: z
    .array(z.object({ processor: z.string(), name: z.string(), needsPerson: z.boolean(), ...said, mend: z.string().nullable().describe('What a person can do about it.'), rejected: z.array(z.string()) }))
    .describe(`What should happen and does not; at most ${String(listed)}, those that need a person first.`),
  quarantine: z.int(),
  quarantined: z
    .array(z.object({ processor: z.string(), problems: z.array(z.object({ code: z.string(), field: z.string(), value: z.string().nullable(), mend: z.string() })) }))
    .describe(`Rows that can't be rendered; at most ${String(listed)}.`),
});
export type Status = z.output<typeof document>;

export const status = operation({
  name: 'status',
  method: 'GET',
  path: '/api/v1/status',
  summary: 'the fleet at a glance: revision, leader, guard, locks, nodes, what is held, what is in quarantine and how to mend it',
  changesState: false,
  input: z.strictObject({}),
  output: document,
  run: async (context) => {
    const snapshot = await context.observe();
    const head = await readHead(context.pool);
    const rollouts = await readRollouts(context.pool, listed);
    const capacity = rollouts === null || rollouts.live < rollouts.of ? await capacityOf(context, null) : [];
    const { pool, settings: { apply, cluster } } = context;
    return summarize(snapshot, plan(snapshot), {
      ...head, rollouts, capacity,
      commits: await readCommits(pool),
      applied: apply === 'ssa' ? await readApplied(pool, listed) : null,
      argocd: apply === 'argocd' ? await readArgocd(pool, cluster, listed) : null,
    });
  },
});

type Head = Pick<Status, 'revision' | 'pending' | 'commit' | 'committedAt' | 'leader' | 'leaderEpoch' | 'behind' | 'locks' | 'argocd' | 'applied' | 'commits' | 'rollouts' | 'capacity'>;

interface HeadRow {
  readonly revision: string;
  readonly pending: string;
  readonly commit_sha: string | null;
  readonly committed_ms: string | null;
  readonly holder: string | null;
  readonly epoch: string;
  readonly behind: Status['behind'];
  readonly locks: readonly { readonly subject: string; readonly owner: string; readonly reason: string; readonly until: number }[];
}

async function readHead(pool: Pool): Promise<Omit<Head, 'argocd' | 'applied' | 'commits' | 'rollouts' | 'capacity'>> {
  const { rows } = await pool.query<HeadRow>(
    `select s.revision, (select count(*) from dory.revisions where committed_at is null) as pending, r.commit_sha,
            ${ms('r.committed_at')} as committed_ms,
            case when l.expires_at > clock_timestamp() then l.holder end as holder, l.epoch,
            (select case when kind = 'database-behind' then evidence end from dory.events where kind in ('database-behind', 'epochs-repaired') order by id desc limit 1) as behind,
            (select coalesce(jsonb_agg(jsonb_build_object('subject', scope || '/' || name, 'owner', owner, 'reason', reason,
                       'until', ${ms('expires_at')}) order by id), '[]')
               from dory.locks where ended_at is null and expires_at > now()) as locks
       from dory.state s cross join dory.leader l
       left join lateral (select commit_sha, committed_at from dory.revisions where committed_at is not null order by id desc limit 1) r on true`,
  );
  const [row] = rows;
  if (row === undefined) throw new Error('status: dory.state has no row');
  return {
    revision: Number(row.revision),
    pending: Number(row.pending),
    commit: row.commit_sha,
    committedAt: row.committed_ms === null ? null : formatInstant(instant(Number(row.committed_ms))),
    leader: row.holder,
    leaderEpoch: Number(row.epoch),
    behind: row.behind,
    locks: row.locks.map(({ until, ...lock }) => ({ ...lock, until: formatInstant(instant(until)) })),
  };
}

function summarize(snapshot: Snapshot, planned: Plan, head: Head): Status {
  const { paused } = snapshot.pause;
  const { guard, holds, quarantined } = planned;
  const placed = countBy(snapshot.placements, ({ target }) => (target.kind === 'edge' ? target.nodeId : 'managed'));
  return {
    ...head,
    at: formatInstant(snapshot.at),
    paused: paused === null ? null : { by: paused.by, reason: paused.reason, since: formatInstant(paused.since) },
    guard: { state: guard.state, since: formatInstant(guard.since), reason: guard.reason, why: sentence(guard.reason, guard.evidence) },
    intake: snapshot.intake.covered ? null : snapshot.intake.detail,
    processors: {
      desired: snapshot.fleet.processors.length,
      placed: snapshot.placements.length,
      managed: placed.get('managed') ?? 0,
      stopping: snapshot.placements.filter(({ phase }) => phase === 'stopping').length,
    },
    changes: planned.changes.length,
    verdicts: Object.fromEntries([...countBy(planned.verdicts, ({ verdict }) => verdict)].sort(([a], [b]) => byText(a, b))),
    nodes: nodesOf(snapshot, planned, placed),
    refusals: planned.refusals.map(({ subject, reason, evidence }) => ({ subject, reason, why: sentence(reason, evidence), mend: `dory approve ${subject} --reason …` })),
    held: holds.length,
    holds: holdsOf(snapshot, [...holds.filter(({ needsPerson }) => needsPerson), ...holds.filter(({ needsPerson }) => !needsPerson)].slice(0, listed)),
    quarantine: quarantined.length,
    quarantined: quarantined.slice(0, listed).map(({ id, problems }) => ({ processor: id, problems: problems.map((problem) => ({ ...problem })) })),
  };
}

function nodesOf({ fleet, at }: Snapshot, { verdicts }: Plan, placed: ReadonlyMap<string, number>): Status['nodes'] {
  const names = new Map<NodeId, string>(fleet.nodes.map(({ id, name }) => [id, name]));
  const nodes = verdicts.map(({ nodeId, verdict, since, reason, evidence }) => ({
    name: names.get(nodeId) ?? nodeId, verdict, since: formatInstant(since), ageMs: elapsed(since, at), processors: placed.get(nodeId) ?? 0, reason, why: sentence(reason, evidence),
  }));
  const rank = (verdict: string): number => (verdict === 'healthy' ? 1 : 0);
  return nodes.sort((a, b) => rank(a.verdict) - rank(b.verdict) || byText(a.name, b.name)).slice(0, listed);
}

function holdsOf({ fleet }: Snapshot, holds: readonly Hold[]): Status['holds'] {
  const held = new Set(holds.map(({ processorId }) => processorId));
  const slugs = new Map(fleet.workloads.map(({ digest, slug }) => [digest, slug]));
  const nodes = new Map<NodeId, string>(fleet.nodes.map(({ id, name }) => [id, name]));
  const known = new Map<ProcessorId, { readonly name: string; readonly home: Home }>();
  for (const { id, workload, home } of [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])]) {
    if (held.has(id)) known.set(id, { name: processorStem(slugs.get(workload) ?? 'processor', processorHash(id)), home });
  }
  return holds.map(({ processorId, reason, evidence, rejected, needsPerson }) => {
    const { name = processorId, home = null } = known.get(processorId) ?? {};
    const { approve } = evidence;
    const node = home?.kind === 'edge' ? (nodes.get(home.nodeId) ?? null) : null;
    return {
      processor: processorId, name, needsPerson, reason,
      why: sentence(reason, evidence),
      mend: typeof approve === 'string' ? `dory approve ${approve} --reason …` : mendOf(reason, name, node),
      rejected: rejected.map((other) => sentence(other.reason, other.evidence)),
    };
  });
}

function countBy<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

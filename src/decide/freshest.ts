import type { PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { NodeId, NodeName, ProcessorId } from '../model/ids.ts';
import type { Change, Plan } from '../model/plan.ts';
import { targetName, type Target } from '../model/placement.ts';
import type { NodeCondition, Snapshot } from '../model/snapshot.ts';
import { ms, msBefore } from '../platform/pg.ts';

/**
 * The last look before the irreversible step. What a move rests on must still be so: a lost node has not spoken since the
 * snapshot, and its kubelet is not back; a silent agent has not beaten, and no lease was given; one that stopped has not
 * started again; the node that takes it is still in service and ready; nobody locked or paused anything. Whatever changed
 * makes the whole decision stale, and the next plan sees it. That policy or an approval changed does not: it was valid.
 *
 * The rows of all nodes concerned are locked, so that a beat is either seen here or sees what is decided; in the order in
 * which heartbeats lock them, so that neither waits for the other in a circle.
 * @throws Failure `database-conflict`
 */
export async function lookAgain(client: PoolClient, snapshot: Snapshot, plan: Plan, conditionOf: ConditionOf | null): Promise<void> {
  const moves = plan.changes.filter((change): change is Move => isMove(change));
  await lockNodes(client, snapshot, plan, moves);
  if (plan.changes.length > 0) await lookAtControls(client, snapshot);
  await lookAtHandovers(client, plan);
  if (moves.length === 0) return;
  await lookAtWords(client, moves);
  await lookAtAgents(client, snapshot, moves);
  if (conditionOf !== null) lookAtCluster(snapshot, plan, moves, conditionOf);
}

/** What the cluster says of a node at this moment; null where it gives no news. */
export type ConditionOf = (name: NodeName) => NodeCondition | null;

type Move = Change & { readonly before: NonNullable<Change['before']>; readonly after: NonNullable<Change['after']> };

/** What is resumed behind a fence is renamed: it starts anew, as what is moved does. */
function isMove({ kind, evidence }: Change): boolean {
  return kind === 'move' || (kind === 'resume' && typeof evidence['fence'] === 'string');
}

function conflict(what: string): Failure {
  return new Failure('database-conflict', `${what} while a decision was being written`);
}

async function lockNodes(client: PoolClient, snapshot: Snapshot, plan: Plan, moves: readonly Move[]): Promise<void> {
  const left = lostSources(plan, moves);
  const taking = new Set(moves.flatMap(({ after }) => nodeOf(after.target)));
  const touched = moves.flatMap(({ before, after }) => [...nodeOf(before.target), ...nodeOf(after.target)]);
  const nodes = [...new Set([...touched, ...plan.transitions.map(({ nodeId }) => nodeId)])].sort();
  if (nodes.length === 0) return;
  const { rows } = await client.query<{ id: NodeId; name: string; status: string | null; at: string | null }>(
    `select id, name, status, ${msBefore('last_heartbeat_at')} as at
       from edge_nodes where id = any($1::uuid[]) order by id for no key update`,
    [nodes],
  );
  const seen = new Map(snapshot.nodes.map(({ nodeId, heartbeat }) => [nodeId, heartbeat.known ? heartbeat.at : null]));
  for (const { id, name, status, at } of rows) {
    if (left.has(id) && at !== null && Number(at) > (seen.get(id) ?? 0)) throw conflict(`node ${name} sent a heartbeat`);
    if (taking.has(id) && status === 'decommissioned') throw conflict(`node ${name} was decommissioned`);
  }
}

function lostSources(plan: Plan, moves: readonly Move[]): ReadonlySet<NodeId> {
  const lost = new Set(plan.verdicts.filter(({ verdict }) => verdict === 'lost').map(({ nodeId }) => nodeId));
  return new Set(moves.flatMap(({ before }) => nodeOf(before.target)).filter((id) => lost.has(id)));
}

function nodeOf(target: Target): readonly NodeId[] {
  return target.kind === 'edge' ? [target.nodeId] : [];
}

async function lookAtControls(client: PoolClient, { locks, pause }: Snapshot): Promise<void> {
  const { rows } = await client.query<{ name: string | null; paused: boolean }>(
    `select (select name from dory.locks where ended_at is null and expires_at > now() and id <> all($1::bigint[]) limit 1) as name,
            (select paused from dory.pause) as paused`,
    [locks.map(({ id }) => id)],
  );
  const { name = null, paused = false } = rows[0] ?? {};
  if (name !== null) throw conflict(`${name} was locked`);
  if (paused && pause.paused === null) throw conflict('automation was paused');
}

/** What was handed back meanwhile may be started by the system that has it now. */
async function lookAtHandovers(client: PoolClient, { changes }: Plan): Promise<void> {
  const starting = changes.filter(({ kind, after }) => kind !== 'update' && after?.phase === 'active').map(({ processorId }) => processorId);
  if (starting.length === 0) return;
  const { rows } = await client.query<{ id: ProcessorId }>(
    `select s.id from unnest($1::uuid[]) as s (id)
       left join dory.handovers own on own.subject = 'processor/' || s.id
       left join dory.handovers fleet on fleet.subject = 'fleet'
      where coalesce(own.towards, fleet.towards) = 'theirs' limit 1`,
    [starting],
  );
  const [handed] = rows;
  if (handed !== undefined) throw conflict(`${handed.id} was handed back`);
}

/** What was said of a node without power is over when it shows life; the row is locked, so that who ends it sees what was decided on it. */
async function lookAtWords(client: PoolClient, moves: readonly Move[]): Promise<void> {
  const confirmed = moves.filter(({ evidence }) => evidence['fence'] === 'fence-confirmed');
  if (confirmed.length === 0) return;
  const { rows: off } = await client.query<{ id: NodeId }>(
    `select o.node_id as id from dory.power_offs o
      where o.node_id = any($1::uuid[]) and not exists (select from edge_nodes n where n.id = o.node_id and n.last_heartbeat_at > o.confirmed_at)
        for share of o`,
    [confirmed.flatMap(({ before }) => nodeOf(before.target))],
  );
  const without = new Set(off.map(({ id }) => id));
  const { rows: said } = await client.query<{ id: ProcessorId; epoch: string }>(
    'select processor_id as id, epoch from dory.stop_confirmations where processor_id = any($1::uuid[])',
    [confirmed.map(({ processorId }) => processorId)],
  );
  const stands = new Set(said.map(({ id, epoch }) => `${id}/${epoch}`));
  const over = confirmed.find(({ processorId, before }) => !stands.has(`${processorId}/${String(before.epoch)}`) && !nodeOf(before.target).some((id) => without.has(id)));
  if (over !== undefined) throw conflict(`the word that ${targetName(over.before.target)} has no power was over`);
}

/** Proofs that a beat since would undo. A person's word, and pods that are gone, stand. */
const lasting: ReadonlySet<unknown> = new Set(['fence-confirmed', 'fence-pods-gone']);

async function lookAtAgents(client: PoolClient, { agents, at }: Snapshot, moves: readonly Move[]): Promise<void> {
  const asked = new Map(moves.filter(({ evidence }) => !lasting.has(evidence['fence'])).map((move) => [move.processorId, move]));
  const { rows } = await client.query<{ id: ProcessorId; epoch: string; beat: string; lease: string | null; stopped: boolean }>(
    `select processor_id as id, epoch, ${ms('last_beat_at')} as beat, ${ms('lease_until')} as lease, stop_acknowledged_at is not null as stopped
       from dory.beats where processor_id = any($1::uuid[])`,
    [[...asked.keys()]],
  );
  const seen = new Map(agents.map((agent) => [agent.processorId, agent]));
  for (const { id, epoch, beat, lease, stopped } of rows) {
    const move = asked.get(id);
    if (move?.before.epoch !== Number(epoch)) continue;
    const known = seen.get(id) ?? { lastBeatAt: at, leaseUntil: null };
    if (move.evidence['fence'] === 'fence-acknowledged') {
      if (!stopped) throw conflict(`the agent of ${id} on ${targetName(move.before.target)} started again`);
    } else if (Number(beat) > (known.lastBeatAt ?? 0) || Number(lease ?? 0) > (known.leaseUntil ?? 0)) {
      throw conflict(`the agent of ${id} on ${targetName(move.before.target)} sent a heartbeat`);
    }
  }
}

function lookAtCluster(snapshot: Snapshot, plan: Plan, moves: readonly Move[], conditionOf: ConditionOf): void {
  const left = lostSources(plan, moves);
  const seen = new Map(snapshot.nodes.map(({ nodeId, kubernetes }) => [nodeId, kubernetes.known ? kubernetes.value.ready : null]));
  const names = new Map(moves.flatMap(({ before, after }) => [before.target, after.target]).flatMap((target) => (target.kind === 'edge' ? [[target.nodeId, target.nodeName] as const] : [])));
  for (const [id, name] of names) {
    const before = seen.get(id) ?? null;
    const now = conditionOf(name)?.ready ?? null;
    if (before === null || now === null || (before === 'true') === (now === 'true')) continue;
    if (left.has(id) && now === 'true') throw conflict(`node ${name} became ready`);
    if (!left.has(id) && now !== 'true') throw conflict(`node ${name} is ready no more`);
  }
}

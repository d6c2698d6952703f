import type { RevisionId } from '../../src/model/ids.ts';
import { placementAfter, type Plan } from '../../src/model/plan.ts';
import type { Snapshot } from '../../src/model/snapshot.ts';
import type { Instant } from '../../src/model/time.ts';
import { guardChanged } from '../../src/decide/guard.ts';
import { Refused } from './database.ts';
import { assertLeader } from './leader.ts';
import type { Mutation } from './mutations.ts';
import type { Rows } from './rows.ts';
import type { View } from './view.ts';

export interface Decider {
  readonly leaderEpoch: number;
  readonly view: View | null;
  readonly mutation: Mutation | null;
}

/** Whether there is anything to write; without a transaction, as `src/decide/decide.ts` asks before it opens one. */
export function wantsToWrite(snapshot: Snapshot, plan: Plan, recorded: Pick<Rows, 'holds' | 'locks'>, mutation: Mutation | null): boolean {
  if (mutation === 'idle-cycle-writes' || recorded.locks.some(({ endedAt, until }) => endedAt === null && until <= snapshot.at)) return true;
  return plan.changes.length > 0 || plan.transitions.length > 0 || guardChanged(snapshot.guard, plan.guard) || holdsChanged(plan, recorded.holds);
}

/** The decision's transaction: all of it or nothing. */
export function decide(rows: Rows, moment: { at: Instant; clock: Instant }, decision: { snapshot: Snapshot; plan: Plan }, decider: Decider): void {
  const { snapshot, plan } = decision;
  const { mutation } = decider;
  if (mutation !== 'leader-not-asserted') assertLeader(rows, moment.clock, decider.leaderEpoch);
  if (mutation !== 'freshest-dropped') lookOnceMore(rows, decision, decider);
  assertUnchanged(rows, plan);
  if (plan.changes.length > 0) writeChanges(rows, snapshot, plan, decider.leaderEpoch);
  for (const { nodeId, verdict, since, flaps } of plan.transitions) rows.verdicts.set(nodeId, { verdict, since, flaps });
  if (guardChanged(snapshot.guard, plan.guard)) rows.guard = { state: plan.guard.state, since: plan.guard.since, leftPanicAt: plan.guard.leftPanicAt };
  rows.locks.forEach((lock, i) => { if (lock.endedAt === null && lock.until <= moment.at) rows.locks[i] = { ...lock, endedAt: lock.until }; });
  if (plan.refusals.length > 0) return;
  const before = new Map(rows.holds);
  rows.holds.clear();
  for (const { processorId, reason, needsPerson } of plan.holds) {
    const row = before.get(processorId);
    rows.holds.set(processorId, { reason, needsPerson, since: row?.reason === reason ? row.since : snapshot.at });
  }
}

function writeChanges(rows: Rows, snapshot: Snapshot, plan: Plan, leaderEpoch: number): void {
  rows.revision += 1;
  const revision = rows.revision as RevisionId;
  rows.revisions.push({ id: revision, decidedAt: snapshot.at, leaderEpoch, changes: plan.changes, committedAt: null });
  for (const change of plan.changes) {
    const after = placementAfter(change, revision, snapshot.at);
    if (after !== null) rows.placements.set(change.processorId, after);
    else {
      rows.placements.delete(change.processorId);
      if (change.before !== null) rows.retired.set(change.processorId, { epoch: change.before.epoch, target: change.before.target });
    }
  }
}

/** Another decision came in between: `writePlacements` of `src/decide/changes.ts`. */
function assertUnchanged(rows: Rows, plan: Plan): void {
  for (const { before, processorId } of plan.changes) {
    if ((rows.placements.get(processorId)?.revision ?? null) !== (before?.revision ?? null)) throw new Refused('conflict');
  }
}

/** The last look of `src/decide/freshest.ts`: what the decision rests on must not have changed since. */
function lookOnceMore(rows: Rows, { snapshot, plan }: { snapshot: Snapshot; plan: Plan }, { view, mutation }: Decider): void {
  lookAtControls(rows, { snapshot, plan }, mutation);
  for (const { kind, after, processorId } of plan.changes) {
    if (kind !== 'update' && after?.phase === 'active' && (rows.handovers.get(processorId) ?? rows.handovers.get('fleet')) === 'theirs') throw new Refused('conflict');
  }
  const verdicts = new Map<string, string>(plan.verdicts.map(({ nodeId, verdict }) => [nodeId, verdict]));
  const beats = new Map<string, number>(snapshot.nodes.map(({ nodeId, heartbeat }) => [nodeId, heartbeat.known ? heartbeat.at : 0]));
  const agents = new Map(snapshot.agents.map((agent) => [agent.processorId, agent]));
  for (const { kind, before, after, processorId, evidence } of plan.changes) {
    if (!(kind === 'move' || (kind === 'resume' && typeof evidence['fence'] === 'string')) || before === null || after === null) continue;
    if (after.target.kind === 'edge' && rows.decommissioned.has(after.target.nodeId)) throw new Refused('conflict');
    const node = before.target.kind === 'edge' ? before.target.nodeId : null;
    if (node !== null && verdicts.get(node) === 'lost') {
      if ((rows.heartbeats.get(node) ?? 0) > (beats.get(node) ?? 0)) throw new Refused('conflict');
      if (view?.readyNow(node) === 'true') throw new Refused('conflict');
    }
    if (mutation === 'lease-ignored' || mutation === 'old-acknowledgement-counts') continue;
    const agent = agents.get(processorId);
    const now = rows.beats.get(processorId);
    const proof = evidence['fence'];
    const confirmed = rows.confirmations.get(processorId)?.epoch === before.epoch || (node !== null && rows.powerOffs.has(node));
    if (proof === 'fence-confirmed' && !confirmed) throw new Refused('conflict');
    if (now?.epoch !== before.epoch || proof === 'fence-confirmed' || proof === 'fence-pods-gone') continue;
    if (now.leaseUntil !== null && now.leaseUntil > (agent?.leaseUntil ?? 0)) throw new Refused('conflict');
    if (now.lastBeatAt > (agent?.lastBeatAt ?? 0) && proof !== 'fence-acknowledged') throw new Refused('conflict');
    if (proof === 'fence-acknowledged' && now.acknowledgedAt === null) throw new Refused('conflict');
  }
}

function lookAtControls(rows: Rows, { snapshot, plan }: { snapshot: Snapshot; plan: Plan }, mutation: Mutation | null): void {
  if (plan.changes.length === 0 || mutation === 'pause-ignored' || mutation === 'lock-ignored') return;
  if (rows.pause.paused !== null && snapshot.pause.paused === null) throw new Refused('conflict');
  const known = new Set(snapshot.locks.map(({ id }) => id));
  if (rows.locks.some(({ id, endedAt }) => endedAt === null && !known.has(id))) throw new Refused('conflict');
}

function holdsChanged(plan: Plan, recorded: Rows['holds']): boolean {
  if (plan.refusals.length > 0) return false;
  if (plan.holds.length !== recorded.size) return true;
  return plan.holds.some(({ processorId, reason, needsPerson }) => {
    const row = recorded.get(processorId);
    return row?.reason !== reason || row.needsPerson !== needsPerson;
  });
}

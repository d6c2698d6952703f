import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Change, GuardVerdict, Hold, Plan, Refusal } from '../model/plan.ts';
import type { Placement } from '../model/placement.ts';
import type { AgentSignals, NodeVerdict, Snapshot, Verdict } from '../model/snapshot.ts';
import { after, earliest, millis, type Instant, type Millis } from '../model/time.ts';
import { plan } from '../plan/plan.ts';
import { Rehearsal, type Assumptions } from './rehearsal.ts';

/** What would follow, as the real `plan` decides it. */
export interface Rehearsed {
  readonly begin: Instant;
  readonly end: Instant;
  /** False: at the horizon something was still to come. */
  readonly quiet: boolean;
  /** Changes that were due before anything failed, taken as done. */
  readonly due: number;
  readonly commits: readonly RehearsedCommit[];
  readonly verdicts: readonly (NodeVerdict & { readonly at: Instant })[];
  /** Each state that the guard was in, with its word on entering it; at least one. */
  readonly guard: readonly (GuardVerdict & { readonly at: Instant })[];
  /** At the end. */
  readonly holds: readonly Hold[];
  readonly refusals: readonly Refusal[];
  /** Sorted: desired processors that have no placement at the end, or one on a node that is down. */
  readonly unplaced: readonly ProcessorId[];
  /** Of the processors that were on the nodes that failed: where each was, and where it is; null where it is nowhere. */
  readonly affected: readonly { readonly before: Placement; readonly after: Placement | null }[];
}

export interface RehearsedCommit {
  readonly decidedAt: Instant;
  readonly publishedAt: Instant;
  readonly changes: readonly Change[];
}

/** A cycle in the rehearsal comes when time or the world changes something, so a day takes some hundreds. */
const mostCycles = 5_000;

export interface RehearsalOptions {
  readonly horizon: Millis;
  /** What is known of agents beyond the snapshot. */
  readonly told?: readonly AgentSignals[];
  /** Ends it early. */
  readonly enough?: (planned: Plan) => boolean;
  /** At most so many: each takes a tenth of a second for a large fleet. */
  readonly cycles?: number;
}

/** To its end at once. */
export function rehearse(given: Snapshot, assumed: Assumptions, options: RehearsalOptions): Rehearsed {
  const steps = rehearsing(given, assumed, options);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/**
 * Runs `plan` forward from a snapshot, in which some nodes fail as soon as it begins, until nothing is left to come or the
 * horizon is reached. Pure: the same snapshot and assumptions, the same outcome. Pauses after each cycle, which takes
 * a tenth of a second for a large fleet, so that a server can do something else in between.
 */
export function* rehearsing(given: Snapshot, assumed: Assumptions, { horizon, told = [], enough = () => false, cycles: most = mostCycles }: RehearsalOptions): Generator<undefined, Rehearsed> {
  const { start, due } = settle(given, assumed);
  yield;
  const rehearsal = new Rehearsal(start, assumed, told);
  const log: { commits: RehearsedCommit[]; verdicts: Rehearsed['verdicts'][number][]; guard: Rehearsed['guard'][number][] } = { commits: [], verdicts: [], guard: [] };
  const end = after(start.at, horizon);
  let at: Instant | null = start.at;
  let quiet = false;
  let seen = { snapshot: start, planned: plan(start) };
  for (let cycles = 0; at !== null && at <= end && cycles < most; cycles += 1) {
    const snapshot = rehearsal.snapshot(at);
    const planned = plan(snapshot);
    seen = { snapshot, planned };
    for (const verdict of planned.transitions) log.verdicts.push({ ...verdict, at });
    if (log.guard.at(-1)?.state !== planned.guard.state) log.guard.push({ ...planned.guard, at });
    if (planned.changes.length > 0) log.commits.push({ decidedAt: at, publishedAt: after(at, assumed.commitTakes), changes: planned.changes });
    rehearsal.apply(planned);
    const next = rehearsal.next(at);
    quiet = next === null && isQuiet(planned, assumed.fail, (id) => rehearsal.isDown(id, planned.at));
    at = quiet || enough(planned) ? null : earliest(planned.wakeAt, next);
    yield;
  }
  const last = rehearsal.snapshot(seen.snapshot.at);
  return {
    begin: start.at, end: last.at, quiet, due, ...log,
    holds: seen.planned.holds, refusals: seen.planned.refusals,
    ...whereabouts(start, last, assumed.fail, (id) => rehearsal.isDown(id, last.at)),
  };
}

/** What is due without any failure is taken as done, so that what follows follows from the failures. */
function settle(given: Snapshot, assumed: Assumptions): { readonly start: Snapshot; readonly due: number } {
  // Nobody stops at once, and who fails has sent the last beat.
  const rehearsal = new Rehearsal(given, { ...assumed, backAfter: null, agents: 'stuck', commitTakes: millis(0) });
  let due = 0;
  for (let round = 0; round < 3; round += 1) {
    const planned = plan(rehearsal.snapshot(given.at));
    if (planned.changes.length === 0 && planned.transitions.length === 0) break;
    due += planned.changes.length;
    rehearsal.apply(planned);
  }
  return { start: rehearsal.snapshot(given.at), due };
}

/** Nothing was decided, what failed is seen as failed and what came back as well, and what is held waits for people. */
function isQuiet(planned: Plan, fail: ReadonlySet<NodeId>, isDown: (id: NodeId) => boolean): boolean {
  const seenRight = (verdict: Verdict, down: boolean): boolean => (down ? ['lost', 'silent', 'detached', 'decommissioned'] : ['healthy', 'decommissioned']).includes(verdict);
  return planned.changes.length === 0
    && planned.holds.every(({ needsPerson }) => needsPerson)
    && planned.verdicts.every(({ nodeId, verdict }) => !fail.has(nodeId) || seenRight(verdict, isDown(nodeId)));
}

function whereabouts(start: Snapshot, end: Snapshot, fail: ReadonlySet<NodeId>, isDown: (id: NodeId) => boolean): Pick<Rehearsed, 'unplaced' | 'affected'> {
  const placements = new Map(end.placements.map((placement) => [placement.processorId, placement]));
  const isUnplaced = (id: ProcessorId): boolean => {
    const target = placements.get(id)?.target;
    return target === undefined || (target.kind === 'edge' && isDown(target.nodeId));
  };
  return {
    unplaced: end.fleet.processors.map(({ id }) => id).filter(isUnplaced),
    affected: start.placements
      .filter(({ target }) => target.kind === 'edge' && fail.has(target.nodeId))
      .map((before) => ({ before, after: placements.get(before.processorId) ?? null })),
  };
}

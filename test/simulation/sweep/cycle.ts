import type { Change, Plan } from '../../../src/model/plan.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { plan as realPlan } from '../../../src/plan/plan.ts';
import { fleetOfModel, lookAt, names } from './look.ts';
import type { NodeName, Place, ProcessorState, State, Variant } from './state.ts';

/** How far a cycle comes before its process dies; whatever it did not do is left to the next one, by another instance. */
export type Reach = 'decided' | 'pushed' | 'committed';

export interface Outcome {
  readonly plan: Plan;
  /** Whether it changed anything at all. */
  readonly wrote: boolean;
  /** What must never be; null if all is well. */
  readonly broken: string | null;
}

export type Planner = (snapshot: Snapshot) => Plan;

/** The cycle of the product, on the model's state: observe, plan, decide, push, mark. */
export class Cycle {
  readonly #variant: Variant;
  readonly #planner: Planner;
  readonly #fleet = fleetOfModel();

  constructor(variant: Variant, planner: Planner = realPlan) {
    this.#variant = variant;
    this.#planner = planner;
  }

  plan(state: State): Plan {
    return this.#planner(lookAt(state, this.#variant, this.#fleet));
  }

  run(state: State, reach: Reach): Outcome {
    return this.decide(state, this.plan(state), state, reach);
  }

  /**
   * Decides on what was planned when the world was as in `seen`; meanwhile it may have changed.
   * A decision whose last look finds what it rests on changed writes nothing.
   */
  decide(state: State, plan: Plan, seen: State, reach: Reach): Outcome {
    const stops = plan.changes.some(({ kind }) => kind === 'stop');
    const possible = !(stops && !state.git) && !isStale(state, plan, seen);
    let broken: string | null = null;
    if (possible) {
      for (const change of plan.changes) broken ??= write(state, change);
      for (const { nodeId, verdict, since } of plan.transitions) {
        const node = state.nodes[nodeId as string as NodeName];
        Object.assign(node, { verdict, verdictSince: since - 1_000_000_000 });
      }
    }
    const wrote = possible && (plan.changes.length > 0 || plan.transitions.length > 0);
    return { plan, wrote: publish(state, reach) || wrote, broken };
  }
}

/** The last look: as `src/decide/freshest.ts`, in the model's terms. */
function isStale(state: State, plan: Plan, seen: State): boolean {
  if (state === seen) return false;
  const lost = new Set<string>(plan.verdicts.filter(({ verdict }) => verdict === 'lost').map(({ nodeId }) => nodeId));
  return plan.changes.some(({ kind, before, processorId, evidence }) => {
    const i = names.indexOf(processorId);
    const [now, then] = [state.processors[i], seen.processors[i]];
    if (now === undefined || then === undefined || JSON.stringify(now.row) !== JSON.stringify(then.row)) return true;
    if (kind !== 'move' || before === null) return false;
    const node = before.target.kind === 'edge' ? (before.target.nodeId as string as NodeName) : null;
    if (node !== null && lost.has(node)) {
      if ((state.nodes[node].beat ?? 0) > (seen.nodes[node].beat ?? 0)) return true;
      if (state.watch && seen.watch && state.nodes[node].ready === 'true') return true;
    }
    const proof = evidence['fence'];
    if (proof === 'fence-confirmed' || proof === 'fence-pods-gone' || now.beat?.epoch !== before.epoch) return false;
    if (proof === 'fence-acknowledged') return now.beat.acknowledged === null;
    return now.beat.at > (then.beat?.at ?? 0) || (now.beat.lease ?? 0) > (then.beat?.lease ?? 0);
  });
}

function write(state: State, { kind, processorId, before, after, reason, evidence }: Change): string | null {
  const processor = state.processors[names.indexOf(processorId)];
  if (processor === undefined || after === null) return `${processorId}: a change of what is desired and stays`;
  const rises = kind === 'move' || kind === 'place';
  const current = processor.row?.epoch ?? 0;
  if (rises ? after.epoch <= current : after.epoch !== current) return `${processorId}: ${kind} to epoch ${String(after.epoch)} after ${String(current)}`;
  if (kind === 'move' && before !== null && evidence['unfenced'] === true) processor.unfenced = [...processor.unfenced.slice(-3), before.epoch];
  const target: Place = after.target.kind === 'managed' ? 'managed' : (after.target.nodeId as string as Place);
  processor.row = { epoch: after.epoch, target, phase: after.phase, reason, since: state.now, publishedAt: null };
  if (rises) Object.assign(processor, { approved: false, confirmed: null });
  return null;
}

/** @returns whether anything was written. */
function publish(state: State, reach: Reach): boolean {
  const pending = state.processors.filter(({ row }) => row !== null && row.publishedAt === null);
  if (reach === 'decided' || pending.length === 0 || !state.git) return false;
  for (const processor of state.processors) processor.head = headOf(processor);
  if (reach === 'committed') for (const { row } of pending) if (row !== null) row.publishedAt = state.now;
  return true;
}

function headOf({ row }: ProcessorState): ProcessorState['head'] {
  return row === null ? null : { epoch: row.epoch, target: row.target, phase: row.phase };
}

/** What people do who are asked: they make sure of a stop, and allow what waits for their word. */
export function persons(state: State, { holds }: Plan): boolean {
  let acted = false;
  for (const { processorId, reason, needsPerson } of holds) {
    const processor = state.processors[names.indexOf(processorId)];
    const row = processor?.row ?? null;
    if (!needsPerson || processor === undefined || row === null) continue;
    if (reason === 'policy-manual' || reason === 'failback-manual') {
      acted ||= !processor.approved;
      processor.approved = true;
    } else if (confirmable.has(reason) && processor.confirmed === null) {
      const { epoch } = row;
      processor.pods = processor.pods.filter((pod) => pod.epoch > epoch);
      processor.confirmed = { epoch, at: state.now };
      acted = true;
    }
  }
  return acted;
}

const confirmable: ReadonlySet<string> = new Set(['fence-unheard', 'fence-overdue', 'unfenced-held']);

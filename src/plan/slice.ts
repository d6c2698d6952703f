import type { Plan } from '../model/plan.ts';

/**
 * First placements that one cycle decides at most. A fleet that is taken over at once would else be held several times over: as rows,
 * as files, and by git. With 10,000 a cycle the whole of 50,000 processors stays within the Deployment's 512 MiB.
 */
const placesAtOnce = 10_000;

/**
 * The part of a plan that one cycle carries out: everything, but of first placements the first `most` by processor. They don't
 * depend on one another; the next cycle, which is due at once, plans the rest anew.
 */
export function firstSlice(plan: Plan, most: number = placesAtOnce): Plan {
  const places = plan.changes.filter(({ kind }) => kind === 'place');
  const last = places[most - 1];
  if (last === undefined || places.length === most) return plan;
  return { ...plan, changes: plan.changes.filter(({ kind, processorId }) => kind !== 'place' || processorId <= last.processorId), wakeAt: plan.at };
}

import { spending } from '../model/budget.ts';
import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Change } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { after } from '../model/time.ts';
import type { Restraint, Scene } from './restraint.ts';

/**
 * The change budget: of what people order, and of ways home, so much may happen within its window. What an edit orders
 * all at once goes as a whole or not at all; releases and ways home take what is left, in the order of `urgency`.
 * @param changes that nothing else restrains
 * @param urgency the more urgent of two first; never 0
 */
export function overBudget(scene: Scene, changes: readonly Change[], urgency: (a: Change, b: Change) => number): ReadonlyMap<ProcessorId, Restraint> {
  const spent = changes.filter((change) => spending(change) !== null);
  if (spent.length === 0) return new Map();
  const { snapshot, approved: isApproved } = scene.world;
  const allowed = allowedOf(snapshot);
  const approved = spent.filter(({ processorId }) => isApproved('budget', processorId));
  const rest = spent.filter(({ processorId }) => !isApproved('budget', processorId));
  let left = Math.max(0, allowed - snapshot.spent - approved.length);

  const restrained = new Map<ProcessorId, Restraint>();
  const atOnce = rest.filter((change) => spending(change) === 'at-once');
  const windowMs = snapshot.policy.budget.window;
  const waiting: Restraint = {
    reason: 'budget-spent', evidence: { spent: snapshot.spent + approved.length, allowed, windowMs }, needsPerson: false, wakeAt: after(snapshot.at, windowMs),
  };
  const tooMany: Restraint = { reason: 'budget-exceeded', evidence: { wanted: atOnce.length, allowed }, needsPerson: true, wakeAt: null };
  if (atOnce.length > left) for (const { processorId } of atOnce) restrained.set(processorId, atOnce.length > allowed ? tooMany : waiting);
  else left -= atOnce.length;
  const gradual = rest.filter((change) => spending(change) === 'gradual').sort(homeFirst(urgency));
  for (const { processorId } of gradual.slice(left)) restrained.set(processorId, waiting);
  return restrained;
}

/** So many placements may change within the window: a share of all, and at any rate a few, and all of any one node. */
export function allowedOf({ placements, policy }: Pick<Snapshot, 'placements' | 'policy'>): number {
  const { share, floor } = policy.budget;
  const perNode = new Map<NodeId, number>();
  let largest = 0;
  for (const { target } of placements) {
    if (target.kind !== 'edge') continue;
    const count = (perNode.get(target.nodeId) ?? 0) + 1;
    perNode.set(target.nodeId, count);
    largest = Math.max(largest, count);
  }
  return Math.max(floor, largest, Math.floor(share * placements.length));
}

/** What is away from home waits for the end of an exception; a release can wait. */
function homeFirst(urgency: (a: Change, b: Change) => number) {
  const rank = ({ reason }: Change): number => (reason === 'node-recovered' ? 0 : 1);
  return (a: Change, b: Change): number => rank(a) - rank(b) || urgency(a, b);
}

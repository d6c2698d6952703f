import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Snapshot } from '../model/snapshot.ts';

/** Whether a subject was approved for a processor: an approval that lists none is for all. */
export type Approved = (subject: string, processorId: ProcessorId) => boolean;

export function approvedIn({ approvals }: Pick<Snapshot, 'approvals'>): Approved {
  const covered = new Map(approvals.map(({ subject, covers }) => [subject, covers === null ? null : new Set(covers)]));
  return (subject, processorId) => {
    const covers = covered.get(subject);
    return covers === null || covers?.has(processorId) === true;
  };
}

/**
 * The nodes whose failure a person has looked at: `dory approve guard` lists a processor that is placed there, or whose home
 * it is, or was given for a node that has none left. Nothing is answered without an approval.
 */
export function answeredNodes({ approvals, fleet, placements }: Pick<Snapshot, 'approvals' | 'fleet' | 'placements'>): (nodeId: NodeId) => boolean {
  const approval = approvals.find(({ subject }) => subject === 'guard');
  if (approval === undefined) return () => false;
  if (approval.covers === null) return () => true;
  const covers = new Set(approval.covers);
  const occupied = new Set<NodeId>();
  const answered = new Set<NodeId>();
  for (const { processorId, target } of placements) {
    if (target.kind !== 'edge') continue;
    occupied.add(target.nodeId);
    if (covers.has(processorId)) answered.add(target.nodeId);
  }
  for (const { id, home } of fleet.processors) {
    if (home.kind === 'edge' && covers.has(id)) answered.add(home.nodeId);
  }
  return (nodeId) => answered.has(nodeId) || !occupied.has(nodeId);
}

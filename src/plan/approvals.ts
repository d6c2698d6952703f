import type { ProcessorId } from '../model/ids.ts';
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

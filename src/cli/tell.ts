import type { CycleReport } from '../cycle.ts';
import type { ChangeKind, Plan } from '../model/plan.ts';
import { sentence } from '../model/reasons.ts';
import { formatInstant } from '../model/time.ts';
import { printable } from './output.ts';

/** One cycle in a few lines for a person. */
export function tellCycle({ planned, decision, publication }: CycleReport): string {
  const lines = [
    ...planned.transitions.map(({ verdict, reason, evidence }) => `${verdict}: ${sentence(reason, evidence)}`),
    ...(planned.changes.length > 0 ? [`decided revision ${String(decision.revision)}: ${countKinds(planned)}`] : []),
    ...planned.refusals.map(({ subject, reason, evidence }) => `refused: ${sentence(reason, evidence)}; dory approve ${subject} lets it happen`),
    ...planned.holds.slice(0, 20).map(({ processorId, reason, evidence }) => `held: ${processorId}: ${sentence(reason, evidence)}`),
    ...planned.quarantined.slice(0, 20).flatMap(({ id, problems }) => problems.map((p) => `quarantined: ${id}: ${p.field}: ${p.mend}`)),
    tellPublication(publication),
  ];
  return `${lines.map(printable).join('\n')}\n`;
}

function tellPublication(publication: CycleReport['publication']): string {
  switch (publication?.kind) {
    case undefined: return 'nothing to commit';
    case 'pushed': return `pushed ${publication.commit.slice(0, 12)}: ${String(publication.files)} files, revision ${String(publication.revision)}`;
    case 'already-there': return `revision ${String(publication.revision)} was on the remote already`;
    case 'postponed': return `waits for others to share a commit with, until ${formatInstant(publication.until)}`;
  }
}

/** `12 moved, 1 stopped` */
export function countKinds({ changes }: Pick<Plan, 'changes'>): string {
  const words: Readonly<Record<ChangeKind, string>> = { place: 'placed', move: 'moved', stop: 'stopping', resume: 'resumed', update: 'updated', remove: 'removed' };
  const counts = new Map<ChangeKind, number>();
  for (const { kind } of changes) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, n]) => `${String(n)} ${words[kind]}`).join(', ');
}

import type { Outcome } from '../apply/actions.ts';
import type { PassReport } from '../apply/applier.ts';
import { isTakenOver } from '../apply/compare.ts';
import { keyOf } from '../apply/objects.ts';
import { exitCodes, type ExitCode } from './exit-codes.ts';
import { render, type Column, type Format } from './output.ts';

/** One object of a pass, as people and machines are told of it. */
export interface ReportedObject {
  readonly outcome: Outcome['kind'];
  readonly object: Outcome['ref'];
  /** Why it was to be applied: missing, changed, drifted or adopted. */
  readonly why: string | null;
  /** Managers whose fields become ours with it. */
  readonly takesOver: readonly string[];
  readonly reason: string | null;
  readonly detail: string | null;
}

export interface ReportDocument {
  readonly commit: string | null;
  readonly revision: number | null;
  readonly complete: boolean;
  readonly withheld: PassReport['withheld'];
  readonly inSync: number;
  readonly requests: number;
  readonly outcomes: readonly ReportedObject[];
}

export function reportDocument({ commit, revision, complete, withheld, inSync, requests, outcomes, applied }: PassReport): ReportDocument {
  const applies = new Map(applied.map((apply) => [keyOf(apply.ref), apply]));
  return {
    commit: commit === '' ? null : commit, revision: commit === '' ? null : revision, complete, withheld, inSync, requests,
    outcomes: outcomes.map((outcome) => {
      const apply = outcome.kind === 'pruned' ? undefined : applies.get(keyOf(outcome.ref));
      const takes = apply !== undefined && (apply.why === 'adopted' || apply.live?.trackedBy !== null);
      return {
        ...told(outcome),
        why: apply?.why ?? null,
        takesOver: takes ? (apply.live?.managers ?? []).filter(isTakenOver) : [],
      };
    }),
  };
}

/** Without what a comparison knows. */
export function told(outcome: Outcome): ReportedObject {
  const { kind, ref } = outcome;
  return { outcome: kind, object: ref, why: null, takesOver: [], reason: 'reason' in outcome ? outcome.reason : null, detail: 'detail' in outcome ? outcome.detail : null };
}

const columns: readonly Column<ReportedObject>[] = [
  { header: 'OUTCOME', of: ({ outcome }) => outcome },
  { header: 'OBJECT', of: ({ object }) => keyOf(object) },
  { header: 'WHY', of: ({ why, takesOver, reason }) => [reason ?? why ?? '', ...(takesOver.length === 0 ? [] : [`from ${takesOver.join(', ')}`])].join(' ') },
  { header: 'DETAIL', of: ({ detail }) => detail ?? '' },
];

export function renderReport(format: Format, document: ReportDocument): string {
  return render(format, document, columns, document.outcomes);
}

/** A line that sums it up. */
export function sumUp({ withheld, inSync, requests, outcomes }: ReportDocument): string {
  if (withheld === 'no-commit') return 'There is no commit of ours yet: nothing was applied.';
  if (withheld === 'older-commit') return 'The branch lacks what was committed last: it was set back, and nothing was applied. dory run restores it.';
  const counts = new Map<string, number>();
  for (const { outcome } of outcomes) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  return `${[...[...counts].map(([outcome, count]) => `${String(count)} ${outcome}`), `${String(inSync)} in sync`].join(', ')}; ${String(requests)} requests.`;
}

/** 4: something is not as committed. */
export function exitCodeOf({ complete, withheld }: Pick<ReportDocument, 'complete' | 'withheld'>): ExitCode {
  return complete || withheld === 'no-commit' ? exitCodes.ok : exitCodes.held;
}

import { targetName, type Target } from '../model/placement.ts';
import type { ChangeKind } from '../model/plan.ts';
import { byText, type Epoch, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { formatInstant, type Instant } from '../model/time.ts';
import type { ReasonCode } from '../model/reasons.ts';

/** The last change as a value, from the rows of `dory.revisions` and `dory.changes`; `.dory/change.json` is its text. */
export interface ChangeSummary {
  readonly revision: RevisionId;
  /** `dory.revisions.trigger`. */
  readonly trigger: string;
  /** UTC, whole seconds. */
  readonly decidedAt: string;
  /** How many processors, by kind; kinds without one are left out. */
  readonly counts: Readonly<Partial<Record<ChangeKind, number>>>;
  /** Sorted by processor: the first of those that were placed, moved, stopped or removed. */
  readonly moves: readonly MoveSummary[];
  /** How many more there are. */
  readonly movesOmitted: number;
}

interface MoveSummary {
  readonly processor: ProcessorId;
  readonly kind: ChangeKind;
  /** Null before the first placement. */
  readonly from: string | null;
  /** Null after the removal. */
  readonly to: string | null;
  readonly epoch: Epoch | null;
  readonly reason: ReasonCode;
}

/** One row of `dory.changes`, or one `Change` of a plan. */
export interface ChangedPlacement {
  readonly processorId: ProcessorId;
  readonly kind: ChangeKind;
  readonly reason: ReasonCode;
  readonly before: { readonly target: Target } | null;
  readonly after: { readonly target: Target; readonly epoch: Epoch } | null;
}

export interface ChangeHead {
  readonly revision: RevisionId;
  readonly trigger: string;
  readonly decidedAt: Instant;
}

/** As many as a commit message names: more than that is read from the diff. */
const movesShown = 50;

/** The order of counts in the file. */
const kinds = ['place', 'move', 'stop', 'resume', 'update', 'remove'] as const satisfies readonly ChangeKind[];

export function summarize({ revision, trigger, decidedAt }: ChangeHead, changes: readonly ChangedPlacement[]): ChangeSummary {
  const counts = kinds
    .map((kind) => [kind, changes.filter((change) => change.kind === kind).length] as const)
    .filter(([, count]) => count > 0);
  const moved = changes
    .filter(({ kind }) => kind !== 'update' && kind !== 'resume')
    .sort((a, b) => byText(a.processorId, b.processorId));
  return {
    revision,
    trigger,
    decidedAt: formatInstant(decidedAt),
    counts: Object.fromEntries(counts),
    moves: moved.slice(0, movesShown).map(move),
    movesOmitted: Math.max(0, moved.length - movesShown),
  };
}

function move({ processorId, kind, before, after, reason }: ChangedPlacement): MoveSummary {
  return {
    processor: processorId,
    kind,
    from: before === null ? null : targetName(before.target),
    to: after === null ? null : targetName(after.target),
    epoch: after?.epoch ?? null,
    reason,
  };
}

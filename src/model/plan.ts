import type { Fleet, ProcessorSpec, Quarantined } from './fleet.ts';
import type { Digest, Epoch, ProcessorId, RevisionId } from './ids.ts';
import type { Justification, Phase, Placement, Target } from './placement.ts';
import type { Evidence, ReasonCode, Rejection } from './reasons.ts';
import type { NodeVerdict, RecordedGuard } from './snapshot.ts';
import type { Instant } from './time.ts';

/** What one cycle would do, and what it would not, as a value. `decide` writes it, `dory plan` prints it. */
export interface Plan {
  readonly at: Instant;
  /** Sorted by node: every node's verdict now. */
  readonly verdicts: readonly NodeVerdict[];
  /** Sorted by node: those of `verdicts` that differ from what is recorded. */
  readonly transitions: readonly NodeVerdict[];
  /** Sorted by processor; at most one each. */
  readonly changes: readonly Change[];
  /** Sorted by processor: what should happen, and does not. */
  readonly holds: readonly Hold[];
  /** Holds that stop everything. While there is one, `changes` is empty. */
  readonly refusals: readonly Refusal[];
  readonly guard: GuardVerdict;
  /** Sorted by processor. */
  readonly quarantined: readonly Quarantined[];
  /** When time alone could change this plan; null if it can't. */
  readonly wakeAt: Instant | null;
}

/**
 * `place`: the first placement, or, of one that was removed and added again, its old one, to be stopped. `move`: a new epoch elsewhere. `stop`: leave a live target. `resume`: not leaving after
 * all, same epoch. `update`: the manifest changes where it is. `remove`: no longer desired.
 */
export type ChangeKind = 'place' | 'move' | 'stop' | 'resume' | 'update' | 'remove';

export interface Change extends Justification {
  readonly kind: ChangeKind;
  readonly processorId: ProcessorId;
  readonly before: Placement | null;
  /** Null when it is removed. */
  readonly after: PlacementDraft | null;
}

/** What should run, of the processors that change: of a row in quarantine, what it was last rendered from. */
export function specsOf({ processors, quarantined }: Pick<Fleet, 'processors' | 'quarantined'>, changes: readonly Change[]): ReadonlyMap<ProcessorId, ProcessorSpec> {
  const specs = new Map<ProcessorId, ProcessorSpec>();
  if (changes.length === 0) return specs;
  // A set of what changes, and one walk: an index of 50,000 takes ten times as long.
  const wanted = new Set(changes.map(({ processorId }) => processorId));
  for (const spec of processors) if (wanted.has(spec.id)) specs.set(spec.id, spec);
  for (const { id, lastGood } of quarantined) if (lastGood !== null && wanted.has(id)) specs.set(id, lastGood);
  return specs;
}

/** A placement before `decide` gave it a revision and a date. */
interface PlacementDraft {
  readonly target: Target;
  readonly phase: Phase;
  readonly epoch: Epoch;
  readonly specDigest: Digest;
}

export interface Hold {
  readonly processorId: ProcessorId;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly rejected: readonly Rejection[];
  /** True if a person has to act; false if time alone resolves it. */
  readonly needsPerson: boolean;
  /** What was decided and is withheld by pause, lock, guard or budget; null where nothing could be decided. */
  readonly withheld: Change | null;
}

/** The fleet guard's word on this snapshot. */
export interface GuardVerdict extends RecordedGuard {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

export interface Refusal {
  /** What `dory approve` takes. */
  readonly subject: string;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

/** Without certain proof that its old pod writes no more: the default of the running system, and worth knowing. */
export function isUnfenced({ kind, evidence }: Pick<Change, 'kind' | 'evidence'>): boolean {
  return evidence['unfenced'] === true || (kind === 'move' && evidence['fence'] === undefined);
}

/** The row that a change leaves behind; null where the processor is removed. An update keeps why and since when it is there. */
export function placementAfter(change: Change, revision: RevisionId, at: Instant): Placement | null {
  const { processorId, after, before, reason } = change;
  if (after === null) return null;
  const kept = change.kind === 'update' && before !== null;
  return { processorId, ...after, reason: kept ? before.reason : reason, since: kept ? before.since : at, revision };
}

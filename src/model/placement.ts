import type { Digest, Epoch, NodeId, NodeName, ProcessorId, RevisionId } from './ids.ts';
import type { ReasonCode, Evidence, Rejection } from './reasons.ts';
import type { Instant } from './time.ts';
import type { Home, ProcessorSpec, Workload } from './fleet.ts';

/** A node to run on. The name travels with the id because manifests name nodes, and a name can change. */
export type Target =
  | { readonly kind: 'edge'; readonly nodeId: NodeId; readonly nodeName: NodeName }
  | { readonly kind: 'managed' };

/**
 * `active`: one pod should run. `stopping`: the placement is being left while its target is alive; scaled to 0,
 * and nothing starts elsewhere before a fence is recorded.
 */
export type Phase = 'active' | 'stopping';

/** Where one processor belongs now: one row of `dory.placements`. */
export interface Placement {
  readonly processorId: ProcessorId;
  readonly epoch: Epoch;
  readonly target: Target;
  readonly phase: Phase;
  /** Why it is there, or why it is leaving. */
  readonly reason: ReasonCode;
  /** When this target and phase were decided. */
  readonly since: Instant;
  /** The digest of the spec that was last decided to be rendered. */
  readonly specDigest: Digest;
  /** The revision that changed this row last. */
  readonly revision: RevisionId;
}

/** Why a placement is what it is: kept beside it for `history` and `explain`, never rendered. */
export interface Justification {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  /** Candidates that came before the chosen one, with what spoke against each. */
  readonly rejected: readonly Rejection[];
}

/** Everything that the manifest of one processor depends on: one row of `dory.manifest_inputs`. */
export interface ManifestInput {
  readonly spec: ProcessorSpec;
  readonly workload: Workload;
  readonly placement: Placement;
}

export function sameTarget(a: Target, b: Target): boolean {
  if (a.kind === 'managed' || b.kind === 'managed') return a.kind === b.kind;
  return a.nodeId === b.nodeId;
}

export function isHome(home: Home, target: Target): boolean {
  if (home.kind === 'managed' || target.kind === 'managed') return home.kind === target.kind;
  return home.nodeId === target.nodeId;
}

/** For people: the node's name, or `managed`. */
export function targetName(target: Target): string {
  return target.kind === 'edge' ? target.nodeName : 'managed';
}

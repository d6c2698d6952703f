import type { Epoch, NodeId, ProcessorId } from './ids.ts';
import type { Fleet } from './fleet.ts';
import type { Observed } from './observed.ts';
import type { Placement } from './placement.ts';
import type { ReasonCode, Evidence } from './reasons.ts';
import type { Instant, Millis } from './time.ts';

/** All that one cycle knows, read in one transaction: plain, frozen, JSON-serialisable. */
export interface Snapshot {
  /** The database's clock at the start of the transaction. The only "now" that `plan` knows. */
  readonly at: Instant;
  readonly fleet: Fleet;
  /** Sorted by `processorId`; at most one each. */
  readonly placements: readonly Placement[];
  /** Sorted by `nodeId`; one for each of `fleet.nodes`. */
  readonly nodes: readonly NodeSignals[];
  /** Sorted by `processorId`; one for each placement in phase `stopping`, none for the others. */
  readonly stopping: readonly StopSignals[];
  /** Sorted by `processorId`: the last epoch of desired processors that have no placement now but once had one. */
  readonly retired: readonly { readonly processorId: ProcessorId; readonly epoch: Epoch }[];
  readonly intake: Intake;
  readonly policy: Policy;
  /** Subjects that a person approved and that still hold: `empty-result`. */
  readonly approved: readonly string[];
}

/** Signs of life of one edge node, and what was last recorded of it. */
export interface NodeSignals {
  readonly nodeId: NodeId;
  /** The newest heartbeat that counts for this node. */
  readonly heartbeat: Observed<null>;
  /** The last row of `dory.node_verdicts`; null before the first. */
  readonly recorded: RecordedVerdict | null;
}

export type Verdict = 'healthy' | 'returning' | 'lost' | 'unknown' | 'decommissioned';

export interface RecordedVerdict {
  readonly verdict: Verdict;
  /** Since when the verdict holds without a break. */
  readonly since: Instant;
}

export interface NodeVerdict extends RecordedVerdict {
  readonly nodeId: NodeId;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

/** What is known of a pod that was told to stop. Each moment speaks of this epoch only. */
export interface StopSignals {
  readonly processorId: ProcessorId;
  readonly epoch: Epoch;
  /** The newest heartbeat from this placement; null if there never was one. */
  readonly lastBeatAt: Instant | null;
  /** When its commit reached the remote; null before. */
  readonly publishedAt: Instant | null;
  /** When its agent reported that it stopped. */
  readonly acknowledgedAt: Instant | null;
  /** When, and by whom, an operator vouched for the stop. */
  readonly confirmed: { readonly at: Instant; readonly by: string } | null;
}

/**
 * The stretch of time up to now in which a heartbeat that was sent would have been stored: at least one receiver up
 * and the database writable. Silence outside of it says nothing.
 */
export type Intake =
  | { readonly covered: true; readonly since: Instant; readonly until: Instant }
  | { readonly covered: false; readonly detail: string };

/** The thresholds that `plan` decides by. Defaults and their reasons: `config/defaults.yaml`. */
export interface Policy {
  /** Heartbeats older than this: the node is lost. */
  readonly heartbeatStale: Millis;
  /** A node that came back must beat this long without a break before processors go home. */
  readonly stabilityWindow: Millis;
  /** A break in a returning node's beats longer than this starts the window anew. */
  readonly heartbeatGap: Millis;
  /** Intake that ended longer ago than this is no evidence. */
  readonly intakeFresh: Millis;
  /** Added to a template's stop grace before silence counts as stopped. */
  readonly fenceMargin: Millis;
  readonly managedPool: ManagedPool;
}

interface ManagedPool {
  readonly architectures: readonly string[];
  readonly gpu: boolean;
}

import type { Epoch, NodeId, ProcessorId } from './ids.ts';
import type { Fleet } from './fleet.ts';
import type { Observed } from './observed.ts';
import type { Placement, Target } from './placement.ts';
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
  /** Sorted by `processorId`; one for each placement that is stopping, or whose node's signals are in doubt. */
  readonly agents: readonly AgentSignals[];
  /** Sorted by `processorId`: of desired processors that have no placement now but once had one. */
  readonly retired: readonly Retired[];
  /** Sorted: processors whose slug or namespace is not the one under which their pod was started last; its StatefulSet has another name. */
  readonly renamed: readonly ProcessorId[];
  /** Sorted by `processorId`: processors that the system which ran here before has, or may have. */
  readonly foreign: readonly Foreign[];
  readonly intake: Intake;
  readonly policy: Policy;
  /** Sorted by `match`; at most one each: what settings and `dory.policies` say beside `policy.processors`. */
  readonly policies: readonly PolicyOverride[];
  /** Sorted by `subject`: what people approved, and still holds. */
  readonly approvals: readonly Approval[];
  /** Sorted by scope, then subject: maintenance locks that hold, and those that ended so lately that clocks still wait for it. */
  readonly locks: readonly MaintenanceLock[];
  readonly pause: Pause;
  /** What the fleet guard said last; null before its first word. */
  readonly guard: RecordedGuard | null;
  /** How many changes that count against the budget were decided within its window. */
  readonly spent: number;
}

/** The last placement of a processor that was removed. */
export interface Retired {
  readonly processorId: ProcessorId;
  readonly epoch: Epoch;
  /** Where its pod may still run; null where it is not known. */
  readonly target: Target | null;
}

/**
 * `left`: a pod that the system before this one started is there still. `unseen`: it may be, for the cluster gives no news of its pods.
 * `handed-back`: a person gave it back to that system. `beside`: it runs beside ours.
 */
export interface Foreign {
  readonly processorId: ProcessorId;
  readonly why: 'left' | 'unseen' | 'handed-back' | 'beside';
  /** Who handed it back; null where nobody did. */
  readonly by: string | null;
}

/** Signs of life of one edge node, and what was last recorded of it. */
export interface NodeSignals {
  readonly nodeId: NodeId;
  /** The newest heartbeat that counts for this node. */
  readonly heartbeat: Observed<null>;
  /** What Kubernetes says of it. Its `at`: when the watch was last known to be alive. */
  readonly kubernetes: Observed<NodeCondition>;
  /** The last row of `dory.node_verdicts`; null before the first. */
  readonly recorded: RecordedVerdict | null;
}

/** One Kubernetes Node, as the watch shows it. */
export interface NodeCondition {
  /** The condition `Ready`. `unknown` comes 40 to 50 s after the kubelet fell silent; `false` is the kubelet's own word. */
  readonly ready: 'true' | 'false' | 'unknown';
  /** Since when this program sees it so: no clock of another machine is believed. A restart begins anew. */
  readonly since: Instant;
  /** Taints that keep new pods away, as `key` or `key=value`; sorted. Those for not-ready and unreachable are left out. */
  readonly taints: readonly string[];
  /** How long ago the kubelet renewed its lease, by the cluster's own clock; null if there is none, and while it is ready. Shown, not decided by. */
  readonly leaseAgeMs: Millis | null;
  readonly architecture: string | null;
  /** Whether it can give a GPU. */
  readonly gpu: boolean | null;
  /** The value of the label that the settings name for sites; null without one. */
  readonly site: string | null;
}

/**
 * `silent`: the kubelet answers, the agents don't. `detached`: the agents beat, the kubelet is not ready. In both the
 * writer may be alive, so its processors leave in two commits. `lost`: neither answers.
 */
export type Verdict = 'healthy' | 'returning' | 'silent' | 'detached' | 'lost' | 'unknown' | 'decommissioned';

export interface RecordedVerdict {
  readonly verdict: Verdict;
  /** Since when the verdict holds without a break. */
  readonly since: Instant;
  /** How often it failed lately, as counted at its last failure: each doubles the window before processors go home. */
  readonly flaps: number;
}

export interface NodeVerdict extends RecordedVerdict {
  readonly nodeId: NodeId;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

/** What is known of the agent and the pod of one placement. Each moment speaks of its epoch only. */
export interface AgentSignals {
  readonly processorId: ProcessorId;
  readonly epoch: Epoch;
  /** The newest heartbeat from this placement; null if there never was one. */
  readonly lastBeatAt: Instant | null;
  /** When the lease of an agent that honours leases runs out; null: it never echoed its epoch, so it may not know of leases. */
  readonly leaseUntil: Instant | null;
  /** When the commit of its placement's last change reached the remote; null before. */
  readonly publishedAt: Instant | null;
  /** When its agent reported that it stopped. */
  readonly acknowledgedAt: Instant | null;
  /** When, and by whom, an operator vouched for the stop. */
  readonly confirmed: { readonly at: Instant; readonly by: string } | null;
  /** `gone`: its StatefulSet is scaled to 0, seen so by its controller, and no pod of this or a lower epoch is left. */
  readonly pods: Observed<'present' | 'gone'>;
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
  /** Heartbeats older than this: the node is lost, or silent. */
  readonly heartbeatStale: Millis;
  /** Ready=False for longer than this counts; so does Ready=Unknown of a node that never sent a heartbeat. */
  readonly notReadyGrace: Millis;
  /** From a placement on a node until its first heartbeat is missed. */
  readonly startupGrace: Millis;
  /** A node that came back must be steady this long before processors go home; doubled with each flap. */
  readonly stabilityWindow: Millis;
  /** The longest stability window. */
  readonly longestWindow: Millis;
  /** So long in good health makes one flap forgotten. */
  readonly flapMemory: Millis;
  /** A break in a returning node's beats longer than this starts the window anew. */
  readonly heartbeatGap: Millis;
  /** Intake that ended longer ago than this is no evidence; nor is a watch of the cluster that was silent for longer. */
  readonly intakeFresh: Millis;
  /** What the answer to a heartbeat promises: an agent that is not answered for so long stops by itself. */
  readonly lease: Millis;
  /** Added to a template's stop grace before silence counts as stopped. */
  readonly fenceMargin: Millis;
  /** A stop that takes longer is told to a person. */
  readonly fenceBound: Millis;
  readonly guard: GuardPolicy;
  readonly budget: BudgetPolicy;
  /** What holds for a processor of which no override says otherwise. */
  readonly processors: ProcessorPolicy;
  readonly managedPool: ManagedPool;
}

interface ManagedPool {
  readonly architectures: readonly string[];
  readonly gpu: boolean;
}

export interface GuardPolicy {
  /** Nodes that failed within this time are newly unhealthy. */
  readonly window: Millis;
  /** Shares of all nodes in service, from 0 to 1. */
  readonly degradedShare: number;
  readonly panicShare: number;
  /** Fewer newly unhealthy nodes never change the state. */
  readonly minNodes: number;
  /** While degraded: failovers a second, and how many at once. */
  readonly ratePerSecond: number;
  readonly burst: number;
  /** A healthy node whose last beat is older than this has missed beats: more than half of all such, and intake has fallen. */
  readonly lateBeat: Millis;
}

export interface BudgetPolicy {
  readonly window: Millis;
  /** Share of all placements that may change within the window, from 0 to 1. */
  readonly share: number;
  /** So many are always allowed, and as many as the largest node has. */
  readonly floor: number;
}

/** What may be set for each template and each processor. */
export interface ProcessorPolicy {
  /** When its node fails: move it; leave it until the node is back; or move it when a person says so. */
  readonly onFailure: 'replace' | 'hold' | 'manual';
  /** When home is fit again: go; go within `failbackWindow`; or go when a person says so. */
  readonly failback: 'auto' | 'window' | 'manual';
  readonly failbackWindow: DailyWindow | null;
  /** Where to, in this order. */
  readonly targets: readonly ('failover-target' | 'managed')[];
  /** On a detached node, whose writer lives: move it, behind a fence; or leave it. */
  readonly writerAlive: 'move' | 'hold';
  /** Whether the silence, or the word, of an agent that never proved that it honours leases may be taken for its end: replace it then, or leave it. */
  readonly unfenced: 'replace' | 'hold';
  /** State that stays on the node: don't leave without it, or start without it. */
  readonly stateLoss: 'refuse' | 'accept';
  /** Higher goes first where failovers are slowed down. */
  readonly priority: number;
}

/** Minutes of the day in UTC, from 0 to 1440; one that ends before it begins goes over midnight. */
export interface DailyWindow {
  readonly fromMinute: number;
  readonly toMinute: number;
}

export interface PolicyOverride {
  /** `template/SLUG` or `processor/UUID`. A processor's own goes over its template's. */
  readonly match: string;
  readonly policy: Partial<ProcessorPolicy>;
}

export interface Approval {
  /** What was approved: `empty-result`, `guard`, `budget`, `move/UUID`, `failback/UUID`. */
  readonly subject: string;
  readonly by: string;
  readonly at: Instant;
  /** The processors that were listed when it was given, sorted; null: it is not about processors. */
  readonly covers: readonly ProcessorId[] | null;
}

/** A person works on it: automation leaves it alone, and only records what it would have done. */
export interface MaintenanceLock {
  readonly id: number;
  readonly scope: 'node' | 'processor' | 'template';
  /** The node's, processor's or template's id. */
  readonly subject: string;
  readonly owner: string;
  readonly reason: string;
  readonly until: Instant;
  /** When it was ended or ran out; null while it holds. Clocks of what it covered begin anew here. */
  readonly endedAt: Instant | null;
}

/** Automation as a whole, switched off and on by people. */
export interface Pause {
  /** Null while automation runs. */
  readonly paused: { readonly by: string; readonly reason: string; readonly since: Instant } | null;
  /** When it was last resumed: every clock begins anew here. */
  readonly resumedAt: Instant | null;
}

/** `site-out`: what fails, fails at one site. `degraded`: failovers are slowed down. `panic`: they are frozen. */
export type GuardState = 'calm' | 'site-out' | 'degraded' | 'panic';

export interface RecordedGuard {
  readonly state: GuardState;
  readonly since: Instant;
  /** When it last left `panic`: every clock begins anew here. */
  readonly leftPanicAt: Instant | null;
}

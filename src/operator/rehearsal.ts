import { spending } from '../model/budget.ts';
import { byText, type Epoch, type NodeId, type ProcessorId, type RevisionId } from '../model/ids.ts';
import { known, unknown, type Observed } from '../model/observed.ts';
import { placementAfter, type Change, type Plan } from '../model/plan.ts';
import type { Placement } from '../model/placement.ts';
import type { AgentSignals, NodeCondition, NodeSignals, RecordedGuard, RecordedVerdict, Snapshot } from '../model/snapshot.ts';
import { after, earliest, elapsed, seconds, type Instant, type Millis } from '../model/time.ts';
import { inDoubt } from '../observe/signals.ts';

/** What is assumed of the world while plans are rehearsed. All lengths of time begin where the rehearsal does, but those of stops and commits. */
export interface Assumptions {
  readonly fail: ReadonlySet<NodeId>;
  /** `dead`: agents and kubelet fall silent; `silent`: the agents only; `detached`: the kubelet only. */
  readonly how: 'dead' | 'silent' | 'detached';
  /** When they are back; null: never. */
  readonly backAfter: Millis | null;
  /** What a living agent does that is told to stop: it says that it did, it only falls silent, or it goes on. */
  readonly agents: 'acknowledge' | 'silent' | 'stuck';
  /** From the commit of a stop to its pod's end. */
  readonly stopTakes: Millis;
  /** From a decision to its commit on the remote. */
  readonly commitTakes: Millis;
}

/** Kubernetes calls a node Unknown 40 to 50 s after its kubelet fell silent. */
const kubeletMissed = seconds(45);

interface Agent {
  readonly epoch: Epoch;
  readonly honoursLeases: boolean;
  lastBeatAt: Instant | null;
  leaseUntil: Instant | null;
  publishedAt: Instant | null;
}

interface Publication {
  readonly at: Instant;
  readonly processors: readonly ProcessorId[];
}

/**
 * A copy of a snapshot that time passes over: nodes fail and come back as assumed, agents beat and stop, and each plan is
 * applied as `decide` and `commit` would. Nothing is written, and what nothing is assumed of stays as it was.
 */
export class Rehearsal {
  readonly #start: Snapshot;
  readonly #assumed: Assumptions;
  readonly #told: ReadonlyMap<ProcessorId, AgentSignals>;
  readonly #signals: ReadonlyMap<NodeId, NodeSignals>;
  /** Whether kubelets can be asked at all. */
  readonly #clustered: boolean;
  readonly #placements: Map<ProcessorId, Placement>;
  readonly #recorded: Map<NodeId, RecordedVerdict | null>;
  readonly #agents = new Map<ProcessorId, Agent>();
  #sorted: readonly Placement[];
  #retired: Snapshot['retired'];
  #renamed: Snapshot['renamed'];
  #guard: RecordedGuard | null;
  #revision: number;
  #publications: readonly Publication[] = [];
  /** When what is assumed of the world changes it, where that is still to come. */
  #moments: readonly Instant[];
  readonly #spent: { readonly at: Instant; readonly count: number }[];

  /** `told`: what is known of agents beyond the snapshot, whose own word comes first. */
  constructor(start: Snapshot, assumed: Assumptions, told: readonly AgentSignals[] = []) {
    this.#start = start;
    this.#assumed = assumed;
    this.#told = new Map([...told, ...start.agents].map((agent) => [agent.processorId, agent]));
    this.#signals = new Map(start.nodes.map((signals) => [signals.nodeId, signals]));
    this.#clustered = start.nodes.some(({ kubernetes }) => kubernetes.known);
    this.#placements = new Map(start.placements.map((placement) => [placement.processorId, placement]));
    this.#sorted = start.placements;
    this.#recorded = new Map(start.nodes.map(({ nodeId, recorded }) => [nodeId, recorded]));
    this.#retired = start.retired;
    this.#renamed = start.renamed;
    this.#guard = start.guard;
    this.#revision = start.placements.reduce((newest, { revision }) => Math.max(newest, revision), 0);
    this.#moments = [after(start.at, kubeletMissed), ...(assumed.backAfter === null ? [] : [after(start.at, assumed.backAfter)])];
    this.#spent = [{ at: start.at, count: start.spent }];
  }

  /** What a cycle would see at this moment, which is not before one that was asked for already. */
  snapshot(at: Instant): Snapshot {
    this.#publish(at);
    const { intake, locks, policy } = this.#start;
    const nodes = this.#start.nodes.map((signals) => this.#signalsAt(signals, at));
    return {
      ...this.#start,
      at,
      placements: this.#sorted,
      nodes,
      agents: this.#agentsInDoubt(nodes, at),
      retired: this.#retired,
      renamed: this.#renamed,
      intake: { covered: true, since: intake.covered ? intake.since : this.#start.at, until: at },
      locks: locks.map((lock) => (lock.endedAt === null && lock.until <= at ? { ...lock, endedAt: lock.until } : lock)),
      guard: this.#guard,
      spent: this.#spent.reduce((sum, { at: when, count }) => (elapsed(when, at) < policy.budget.window ? sum + count : sum), 0),
    };
  }

  /** As `decide` does at once, and `commit` after its delay. */
  apply(planned: Plan): void {
    for (const { nodeId, verdict, since, flaps } of planned.transitions) this.#recorded.set(nodeId, { verdict, since, flaps });
    const { state, since, leftPanicAt } = planned.guard;
    this.#guard = { state, since, leftPanicAt };
    if (planned.changes.length === 0) return;
    this.#revision += 1;
    for (const change of planned.changes) this.#change(change, planned.at);
    const sameOnes = planned.changes.every(({ kind }) => kind !== 'place' && kind !== 'remove');
    this.#sorted = sameOnes
      ? this.#sorted.map((placement) => this.#placements.get(placement.processorId) ?? placement)
      : [...this.#placements.values()].sort((a, b) => byText(a.processorId, b.processorId));
    const placed = new Set(planned.changes.filter(({ kind }) => kind === 'place').map(({ processorId }) => processorId));
    if (placed.size > 0) this.#retired = this.#retired.filter(({ processorId }) => !placed.has(processorId));
    const published = after(planned.at, this.#assumed.commitTakes);
    this.#publications = [...this.#publications, { at: published, processors: planned.changes.map(({ processorId }) => processorId) }];
    this.#moments = [...this.#moments, published, after(published, this.#assumed.stopTakes)];
    this.#spent.push({ at: planned.at, count: planned.changes.filter((change) => spending(change) !== null).length });
  }

  /** When something of what is assumed happens next; null if nothing does any more. */
  next(at: Instant): Instant | null {
    this.#moments = this.#moments.filter((moment) => moment > at);
    return this.#moments.reduce<Instant | null>(earliest, null);
  }

  isDown(nodeId: NodeId, at: Instant): boolean {
    const { fail, backAfter } = this.#assumed;
    return fail.has(nodeId) && (backAfter === null || at < after(this.#start.at, backAfter));
  }

  #change(change: Change, at: Instant): void {
    const { processorId } = change;
    const next = placementAfter(change, this.#revision as RevisionId, at);
    if (next === null) {
      this.#placements.delete(processorId);
      return;
    }
    this.#placements.set(processorId, next);
    if (next.phase === 'active') this.#renamed = this.#renamed.filter((id) => id !== processorId);
    // Its commit is still to come.
    if (change.kind !== 'update') this.#agent(next).publishedAt = null;
  }

  #publish(at: Instant): void {
    for (const { at: published, processors } of this.#publications) {
      if (published > at) continue;
      for (const id of processors) {
        const placement = this.#placements.get(id);
        if (placement !== undefined) this.#agent(placement).publishedAt ??= published;
      }
    }
    this.#publications = this.#publications.filter((publication) => publication.at > at);
  }

  #signalsAt(signals: NodeSignals, at: Instant): NodeSignals {
    const { nodeId, heartbeat, kubernetes } = signals;
    return {
      nodeId,
      heartbeat: this.#beats(nodeId, at) ? known(null, at) : heartbeat,
      kubernetes: kubernetes.known ? known(this.#conditionAt(nodeId, kubernetes.value, at), at) : kubernetes,
      recorded: this.#recorded.get(nodeId) ?? null,
    };
  }

  /** A node that beat when the rehearsal began goes on; one that was silent stays silent. */
  #beats(nodeId: NodeId, at: Instant): boolean {
    if (this.#assumed.how !== 'detached' && this.isDown(nodeId, at)) return false;
    const heartbeat: Observed<null> = this.#signals.get(nodeId)?.heartbeat ?? unknown('never-reported');
    return heartbeat.known && elapsed(heartbeat.at, this.#start.at) <= this.#start.policy.heartbeatStale;
  }

  #conditionAt(nodeId: NodeId, condition: NodeCondition, at: Instant): NodeCondition {
    const { how, fail, backAfter } = this.#assumed;
    const { at: begin } = this.#start;
    if (how === 'silent' || !fail.has(nodeId)) return condition;
    const missed = after(begin, kubeletMissed);
    if (this.isDown(nodeId, at)) return at < missed ? condition : { ...condition, ready: 'unknown', since: missed };
    return backAfter === null || backAfter < kubeletMissed ? condition : { ...condition, ready: 'true', since: after(begin, backAfter) };
  }

  #agentsInDoubt(nodes: readonly NodeSignals[], at: Instant): readonly AgentSignals[] {
    const doubtful = inDoubt(nodes, at, this.#start.policy);
    return this.#sorted
      .filter(({ phase, target }) => phase === 'stopping' || (target.kind === 'edge' && doubtful.has(target.nodeId)))
      .map((placement) => this.#agentSignals(placement, at));
  }

  #agentSignals(placement: Placement, at: Instant): AgentSignals {
    const { processorId, epoch, target } = placement;
    const agent = this.#agent(placement);
    const alive = target.kind === 'managed' || this.#beats(target.nodeId, at);
    const stoppedAt = this.#stoppedAt(placement, agent, at);
    if (alive) {
      agent.lastBeatAt = stoppedAt ?? at;
      agent.leaseUntil = agent.honoursLeases ? after(agent.lastBeatAt, this.#start.policy.lease) : null;
    }
    const told = this.#toldOf(processorId, epoch);
    return {
      processorId,
      epoch,
      lastBeatAt: agent.lastBeatAt,
      leaseUntil: agent.leaseUntil,
      publishedAt: agent.publishedAt,
      acknowledgedAt: alive && this.#assumed.agents === 'acknowledge' ? stoppedAt : (told?.acknowledgedAt ?? null),
      confirmed: told?.confirmed ?? null,
      pods: this.#podsAt(target, stoppedAt, at),
    };
  }

  #podsAt(target: Placement['target'], stoppedAt: Instant | null, at: Instant): AgentSignals['pods'] {
    if (!this.#clustered) return unknown('not-configured');
    const reachable = target.kind === 'managed' || this.#assumed.how === 'silent' || !this.isDown(target.nodeId, at);
    return known(reachable && stoppedAt !== null ? 'gone' : 'present', at);
  }

  /** When its pod ended, if it was told to end by now and does. */
  #stoppedAt({ phase }: Placement, { publishedAt }: Agent, at: Instant): Instant | null {
    const { agents, stopTakes } = this.#assumed;
    if (phase !== 'stopping' || publishedAt === null || agents === 'stuck') return null;
    const stopped = after(publishedAt, stopTakes);
    return stopped <= at ? stopped : null;
  }

  /** Made when it is first asked for: an agent of which nothing is known beat with its node, and honours leases if its processor's last one did. */
  #agent({ processorId, epoch, target, since }: Placement): Agent {
    const found = this.#agents.get(processorId);
    if (found?.epoch === epoch) return found;
    const told = this.#toldOf(processorId, epoch);
    const heartbeat = target.kind === 'edge' ? this.#signals.get(target.nodeId)?.heartbeat : undefined;
    const agent: Agent = {
      epoch,
      honoursLeases: (this.#told.get(processorId)?.leaseUntil ?? null) !== null,
      leaseUntil: told?.leaseUntil ?? null,
      lastBeatAt: told?.lastBeatAt ?? (heartbeat?.known === true && heartbeat.at >= since ? heartbeat.at : null),
      publishedAt: told === null ? since : told.publishedAt,
    };
    this.#agents.set(processorId, agent);
    return agent;
  }

  /** What was said of this epoch. */
  #toldOf(processorId: ProcessorId, epoch: Epoch): AgentSignals | null {
    const told = this.#told.get(processorId);
    return told?.epoch === epoch ? told : null;
  }
}

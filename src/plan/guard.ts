import type { NodeId } from '../model/ids.ts';
import type { GuardVerdict } from '../model/plan.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import type { GuardState, Policy, RecordedGuard, Snapshot, Verdict } from '../model/snapshot.ts';
import { elapsed, instant, latest, type Instant, type Millis } from '../model/time.ts';
import { tokensAt } from './bucket.ts';
import { isFailed } from './flaps.ts';
import type { NodeHealth } from './health.ts';
import { lockOfNode } from './locks.ts';
import type { World } from './world.ts';

/**
 * The fleet guard's word on the world: one node that fails is a failure, many at once are a question.
 *
 *   calm ◀──▶ site-out ◀──▶ degraded ──▶ panic ──▶ calm
 *
 * It counts nodes that failed within the window, of those that are in service, were judged before and are not under
 * maintenance. `site-out`: what fails, fails at one site, so its nodes are not counted and move at full speed. `degraded`:
 * failovers slow down, until the nodes that failed meanwhile have no more processors than may go at once. `panic`: nothing
 * moves on account of what nodes do or don't say. It begins when too many failed, or when more than half of the nodes that
 * beat lately are late, which is long before any of them is stale: the fault is ours, more likely than theirs. It
 * latches: only when the nodes that failed since it began are back, given up (decommissioned, locked) or answered by
 * `dory approve guard`, and beats come in again, does it end. Every clock begins anew then, and what failed before is no news.
 */
export function guardOf(world: World): GuardVerdict {
  const { at, guard: before } = world.snapshot;
  const nodes = watchedNodes(world);
  if (before?.state === 'panic') {
    const found = stillPanic(world, before, nodes);
    return found === null
      ? { state: 'calm', since: at, leftPanicAt: at, reason: 'guard-calm', evidence: { failed: 0, nodes: nodes.length } }
      : { ...before, ...found };
  }
  const leftPanicAt = before?.leftPanicAt ?? null;
  const found = fallenIntake(world, unanswered(world, nodes)) ?? judged(world, before, nodes);
  return { ...found, since: before?.state === found.state ? before.since : at, leftPanicAt };
}

interface Finding {
  readonly state: GuardState;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

interface WatchedNode {
  readonly id: NodeId;
  readonly site: string;
  readonly verdict: Verdict;
  readonly since: Instant;
  /** The last heartbeat; null where none is known. */
  readonly beat: Instant | null;
}

/** A node that never reported tells nothing, and one that a person works on is that person's matter. */
function watchedNodes({ snapshot, health }: World): readonly WatchedNode[] {
  return snapshot.nodes.flatMap(({ nodeId, heartbeat, kubernetes, recorded }) => {
    const judgement = health.get(nodeId);
    if (judgement === undefined || judgement.verdict === 'decommissioned') return [];
    if (recorded === null && judgement.verdict === 'unknown') return [];
    if (lockOfNode(snapshot, nodeId) !== null) return [];
    const label = kubernetes.known ? kubernetes.value.site : null;
    return [{ id: nodeId, site: siteOf(judgement, label), verdict: judgement.verdict, since: judgement.since, beat: heartbeat.known ? heartbeat.at : null }];
  });
}

/** Nodes of which nothing else is known stand at one site. */
export function siteOf({ node }: Pick<NodeHealth, 'node'>, label: string | null): string {
  return label ?? node.site ?? node.organizationId ?? 'default';
}

/** Those that failed at `from` or later, and are not back. */
function failedSince(nodes: readonly WatchedNode[], from: number): readonly WatchedNode[] {
  return nodes.filter(({ verdict, since }) => isFailed(verdict) && since >= from);
}

function judged(world: World, before: RecordedGuard | null, nodes: readonly WatchedNode[]): Finding {
  const { at, policy } = world.snapshot;
  // What had failed when the last panic ended was looked at then.
  const from = Math.max(at - policy.guard.window, (before?.leftPanicAt ?? 0) + 1);
  const found = classify(failedSince(nodes, from), nodes, policy);
  if (found.state !== 'calm' || before?.state !== 'degraded') return found;
  const slowed = failedSince(nodes, before.since - policy.guard.window);
  return waitingOn(world, slowed) > tokensAt(world.snapshot, before.since) ? degraded(slowed.length, nodes.length, policy) : found;
}

function classify(failed: readonly WatchedNode[], nodes: readonly WatchedNode[], policy: Policy): Finding {
  const { degradedShare, panicShare, minNodes, window: windowMs } = policy.guard;
  const site = siteOut(failed, nodes, policy);
  const counted = site === null ? failed : failed.filter((node) => node.site !== site.name);
  const evidence = { failed: counted.length, nodes: nodes.length };
  if (counted.length >= minNodes) {
    const share = counted.length / nodes.length;
    if (share >= panicShare) return { state: 'panic', reason: 'guard-panic', evidence: { ...evidence, windowMs } };
    if (share >= degradedShare) return degraded(counted.length, nodes.length, policy);
  }
  if (site === null) return { state: 'calm', reason: 'guard-calm', evidence };
  return { state: 'site-out', reason: 'guard-site-out', evidence: { site: site.name, failed: site.failed, nodes: site.nodes } };
}

function degraded(failed: number, nodes: number, { guard }: Policy): Finding {
  return { state: 'degraded', reason: 'guard-degraded', evidence: { failed, nodes, windowMs: guard.window } };
}

interface SiteCount {
  readonly name: string;
  failed: number;
  nodes: number;
}

/**
 * The one site that is out: two of three of its nodes failed, and it is no more than half of the fleet. Two sites at once
 * have a cause in common, which is more likely ours than theirs.
 */
function siteOut(failed: readonly WatchedNode[], nodes: readonly WatchedNode[], { guard }: Policy): SiteCount | null {
  const sites = new Map<string, SiteCount>();
  for (const { site } of nodes) {
    const count = sites.get(site) ?? { name: site, failed: 0, nodes: 0 };
    count.nodes += 1;
    sites.set(site, count);
  }
  for (const { site } of failed) {
    const count = sites.get(site);
    if (count !== undefined) count.failed += 1;
  }
  const out = [...sites.values()].filter((site) => site.failed >= guard.minNodes && site.failed * 3 >= site.nodes * 2);
  const [only] = out;
  return only !== undefined && out.length === 1 && only.nodes * 2 <= nodes.length ? only : null;
}

/** Placements that run on these nodes, and would have to leave. */
function waitingOn({ snapshot }: World, nodes: readonly WatchedNode[]): number {
  const ids = new Set(nodes.map(({ id }) => id));
  return snapshot.placements.filter(({ target, phase }) => phase === 'active' && target.kind === 'edge' && ids.has(target.nodeId)).length;
}

/** More of the nodes that beat within the window are late than in time, while their beats could have been stored. */
function fallenIntake({ snapshot }: World, nodes: readonly WatchedNode[]): Finding | null {
  const { at, intake, policy } = snapshot;
  if (!intake.covered) return null;
  const silence = (beat: Instant): Millis => elapsed(latest(beat, intake.since), intake.until);
  return mostAreLate(snapshot, beatingSince(nodes, at - policy.guard.window, snapshot), silence);
}

type BeatingNode = WatchedNode & { readonly beat: Instant };

/** What failed by now is counted elsewhere, and a node that is well although its beats are stale is well by the cluster's word. */
function beatingSince(nodes: readonly WatchedNode[], from: number, { at, policy }: Snapshot): readonly BeatingNode[] {
  const stale = at - policy.heartbeatStale;
  return nodes.filter((node): node is BeatingNode => {
    const { beat, verdict } = node;
    return beat !== null && beat >= from && !isFailed(verdict) && (verdict !== 'healthy' || beat >= stale);
  });
}

/** A node on which nothing runs any more may fall silent: it counts only as long as it beats. */
function mostAreLate(snapshot: Snapshot, nodes: readonly BeatingNode[], silence: (beat: Instant) => Millis): Finding | null {
  const { lateBeat, minNodes } = snapshot.policy.guard;
  const late = nodes.filter(({ beat }) => silence(beat) > lateBeat);
  const inTime = nodes.length - late.length;
  if (late.length < minNodes || late.length <= inTime) return null;
  const used = new Set(snapshot.placements.map(({ target, phase }) => (target.kind === 'edge' && phase === 'active' ? target.nodeId : null)));
  const missed = late.filter(({ id }) => used.has(id)).length;
  if (missed < minNodes || missed <= inTime) return null;
  return { state: 'panic', reason: 'guard-intake-fallen', evidence: { late: missed, nodes: missed + inTime } };
}

/** Null when it is over. Only beats prove that intake is back: that a receiver is up again does not. */
function stillPanic(world: World, before: RecordedGuard, watched: readonly WatchedNode[]): Finding | null {
  const { at, intake, policy } = world.snapshot;
  if (!intake.covered) return { state: 'panic', reason: 'intake-down', evidence: { detail: intake.detail } };
  const nodes = unanswered(world, watched);
  const from = instant(before.since - policy.guard.window);
  const fallen = mostAreLate(world.snapshot, beatingSince(nodes, from, world.snapshot), (beat) => elapsed(beat, at));
  if (fallen !== null) return fallen;
  const failed = failedSince(nodes, from);
  const { state } = classify(failed, watched, policy);
  if (state === 'calm' || state === 'site-out') return null;
  return { state: 'panic', reason: 'guard-panic', evidence: { failed: failed.length, nodes: watched.length, windowMs: policy.guard.window } };
}

/** Without those that a person had seen who let a freeze end: they don't keep it up, and don't begin it again. */
function unanswered({ snapshot: { approvals, policy } }: World, nodes: readonly WatchedNode[]): readonly WatchedNode[] {
  const answer = approvals.find(({ subject }) => subject === 'guard');
  return answer === undefined ? nodes : nodes.filter((node) => !wasTroubled(node, answer.at, policy));
}

/** What a person saw who let the guard's freeze end: a node that had failed by then, or was late. */
function wasTroubled({ verdict, since, beat }: WatchedNode, answeredAt: Instant, { guard }: Policy): boolean {
  if (isFailed(verdict)) return since <= answeredAt;
  return beat !== null && elapsed(beat, answeredAt) > guard.lateBeat;
}

import type { ProcessorSpec } from '../model/fleet.ts';
import type { Epoch } from '../model/ids.ts';
import type { Change, Hold } from '../model/plan.ts';
import { isHome, sameTarget, targetName, type Justification, type Placement, type Target } from '../model/placement.ts';
import type { Evidence, ReasonCode, Rejection } from '../model/reasons.ts';
import type { Instant } from '../model/time.ts';
import type { Foreign, Retired } from '../model/snapshot.ts';
import { candidates, edgeTarget, objectionTo, staysOnNode, type Subject } from './eligible.ts';
import { agentOf, lossFence, stopFence, type Leaving, type Proof } from './fence.ts';
import { isFailed } from './flaps.ts';
import type { NodeHealth } from './health.ts';
import { keptAway, keptThere, type Kept } from './permission.ts';
import { policyOf } from './policy.ts';
import type { World } from './world.ts';

/**
 * What one processor's placement becomes.
 *
 *   (none) ─place─▶ active(e) ─move: its node is lost─▶ active(e+1) elsewhere
 *      │              │   ▲
 *      │         stop │   │ resume: it stays after all
 *      │              ▼   │
 *      └─place─▶ stopping(e) ─move: fence passed─▶ active(e+1) elsewhere
 *
 * `place`: to the first eligible candidate; to a failed home if there is none, since nothing runs yet. What was removed and is added
 * again may still run where it was: if it is to start elsewhere, or under another name, its old placement is taken up as one that stops.
 * `move` from active: only when its node is lost, and its agent's lease, if it has one, is over.
 * `stop`: its node is silent, detached or decommissioned, or home is fit again; its writer may be alive, so it must be proved
 * that it stopped. Once begun, policy is asked no more: only if there is no reason to leave any longer, or nowhere to go, it
 * resumes. Anything else stays: healthy placements are never touched. What is renamed (its slug or namespace changed) would run beside
 * itself: it is stopped where it is, and resumes under the new name behind a fence, with the next epoch: what its kubelet starts anew
 * under the old name has no part in the new one's lease.
 * What the system that ran here before has, or is given back, is not started, and is stopped where it runs, until it is taken over.
 * What it runs beside ours is told.
 * Whatever has to happen and can't is a hold, with the candidates and what spoke against each.
 */
export interface Verdict {
  readonly change: Change | null;
  readonly hold: Hold | null;
  readonly wakeAt: Instant | null;
}

/** Reasons of an active placement that was, when it was decided, at the processor's home. */
const atHomeReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['first-placement', 'home-changed', 'node-recovered']);

/** Reasons of a stop that has nothing to do with the node that is left. */
const stayedReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['home-changed', 'added-again', 'renamed']);

/** Why a home that is well does not take its processor. A taint may go as it came; state that lies elsewhere stays there. */
const refusals: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['node-tainted', 'state-not-portable']);

const nothing: Verdict = { change: null, hold: null, wakeAt: null };

export function placementOf(world: World, spec: ProcessorSpec, current: Placement | null, former: Retired | null): Verdict {
  const foreign = world.foreign.get(spec.id);
  if (foreign === undefined) return ofOurs(world, spec, current, former);
  return foreign.why === 'beside' ? besideForeign(spec, ofOurs(world, spec, current, former)) : whileForeign(spec, current, foreign);
}

function ofOurs(world: World, spec: ProcessorSpec, current: Placement | null, former: Retired | null): Verdict {
  const home = homeHealth(world, spec);
  if (current !== null && isAtRest(spec, current, home)) return nothing;

  const subject = subjectOf(world, spec, current);
  if (current === null) return changed(place(subject, former));
  return current.phase === 'stopping' ? whileStopping(subject, current) : whileActive(subject, current);
}

/** One processor with all that its rules ask. */
export function subjectOf(world: World, spec: ProcessorSpec, current: Placement | null): Subject {
  return { world, spec, workload: world.workloadOf(spec), current, home: homeHealth(world, spec), policy: policyOf(world, spec) };
}

function homeHealth(world: World, { home }: ProcessorSpec): NodeHealth | null {
  return home.kind === 'edge' ? (world.health.get(home.nodeId) ?? null) : null;
}

/** What is known of the end of a placement that has to end; null while it may stay. */
export function endOfPlacement(subject: Subject, current: Placement): Proof | null {
  const source = sourceHealth(subject.world, current);
  if (current.phase === 'stopping') return proofOfStop(subject, current, source);
  return source?.verdict === 'lost' ? lossFence(leaving(subject, current), source, subject.policy) : null;
}

/** The common case by far, answered without building anything. */
function isAtRest(spec: ProcessorSpec, current: Placement, home: NodeHealth | null): boolean {
  if (current.phase !== 'active' || current.specDigest !== spec.digest) return false;
  if (current.target.kind === 'managed') return spec.home.kind === 'managed';
  if (current.target.nodeId !== home?.nodeId || current.target.nodeName !== home.node.name) return false;
  return !isFailed(home.verdict) && home.verdict !== 'decommissioned';
}

interface Choice {
  readonly target: Target | null;
  readonly rejected: readonly Rejection[];
}

/** The first candidate without an objection, and why not those before it. */
function choose(subject: Subject): Choice {
  const rejected: Rejection[] = [];
  for (const candidate of candidates(subject)) {
    const objection = objectionTo(subject, candidate);
    if (objection === null) return { target: candidate.target, rejected };
    rejected.push(objection);
  }
  return { target: null, rejected };
}

function place(subject: Subject, former: Retired | null): Change | Hold {
  const { spec, home, policy } = subject;
  const { target: chosen, rejected } = choose(subject);
  const fallback = home !== null && home.verdict !== 'decommissioned' ? edgeTarget(home) : null;
  // What would not leave a failed home does not start elsewhere because of it either.
  const target = fallback !== null && policy.onFailure !== 'replace' ? fallback : (chosen ?? fallback);
  if (target === null) return noTarget(subject, rejected, home);
  const left = former?.target ?? null;
  if (former !== null && left !== null) return placeAgain(subject, former.epoch, left, { target, rejected });
  const after = { target, phase: 'active', epoch: ((former?.epoch ?? 0) + 1) as Epoch, specDigest: spec.digest } as const;
  return { kind: 'place', processorId: spec.id, before: null, after, ...whyThere(subject, target, rejected) };
}

/** Its old pod may still run. In the same place, under the same epoch, it can't run beside itself; elsewhere it could. */
function placeAgain(subject: Subject, epoch: Epoch, left: Target, { target, rejected }: Choice & { readonly target: Target }): Change {
  const { spec } = subject;
  const place = { kind: 'place', processorId: spec.id, before: null } as const;
  if (sameTarget(left, target) && !isRenamed(subject)) {
    return { ...place, after: { target, phase: 'active', epoch, specDigest: spec.digest }, ...whyThere(subject, target, rejected) };
  }
  const evidence = { target: targetName(left), next: targetName(target) };
  return { ...place, after: { target: left, phase: 'stopping', epoch, specDigest: spec.digest }, reason: 'added-again', evidence, rejected };
}

function whyThere({ spec, home }: Subject, target: Target, rejected: readonly Rejection[]): Justification {
  return home === null || isHome(spec.home, target)
    ? { reason: 'first-placement', evidence: { target: targetName(target) }, rejected }
    : { reason: home.reason, evidence: home.evidence, rejected };
}

/** It is two writers already: whatever else is to be said of it, this is graver. Ours goes on, and the other one is no pod of ours. */
function besideForeign({ id }: ProcessorSpec, own: Verdict): Verdict {
  return { ...own, hold: { processorId: id, reason: 'not-alone', evidence: {}, rejected: [], needsPerson: true, withheld: null } };
}

/** Two programs that start the same processor would be two writers. */
function whileForeign({ id }: ProcessorSpec, current: Placement | null, { why, by }: Foreign): Verdict {
  const handedBack = { reason: 'handed-back', evidence: { by }, rejected: [] } as const;
  if (current?.phase === 'active') {
    const after = { target: current.target, phase: 'stopping', epoch: current.epoch, specDigest: current.specDigest } as const;
    return changed({ kind: 'stop', processorId: id, before: current, after, ...handedBack });
  }
  const held = { processorId: id, withheld: null };
  if (why === 'handed-back') return changed({ ...held, ...handedBack, needsPerson: true });
  return changed({ ...held, reason: why === 'left' ? 'not-adopted' : 'pods-unseen', evidence: {}, rejected: [], needsPerson: why === 'left' });
}

function whileActive(subject: Subject, current: Placement): Verdict {
  const source = sourceHealth(subject.world, current);
  if (source !== null && isFailed(source.verdict)) return leaveFailed(subject, current, source);
  const choice = choose(subject);
  if (source?.verdict === 'decommissioned') return leaveAlive(subject, current, choice, whyOf(source));
  if (goesHome(subject, current, choice)) return goHome(subject, current, choice);
  return withUpdate(subject, current, waitingToGoHome(subject, current, choice));
}

/** What failed is left as soon as policy and facts allow it: from a dead node in one commit, from any other behind a fence. */
function leaveFailed(subject: Subject, current: Placement, source: NodeHealth): Verdict {
  const choice = choose(subject);
  const kept = keptThere(subject, source);
  if (kept !== null) return withUpdate(subject, current, held(subject, choice, kept));
  if (choice.target === null) return withUpdate(subject, current, changed(noTarget(subject, choice.rejected, source)));
  if (source.verdict !== 'lost') return leaveAlive(subject, current, choice, whyOf(source));
  const proof = lossFence(leaving(subject, current), source, subject.policy);
  if (!proof.passed) return withUpdate(subject, current, held(subject, choice, proof));
  return changed(move(subject, current, choice.target, because(whyOf(source), proof, choice)));
}

/** The target may be alive: stop it first, and only if there is somewhere to go. */
function leaveAlive(subject: Subject, current: Placement, choice: Choice, why: Why): Verdict {
  if (choice.target === null) return changed(noTarget(subject, choice.rejected, sourceHealth(subject.world, current)));
  if (sameTarget(choice.target, current.target)) return nothing;
  const after = { target: current.target, phase: 'stopping', epoch: current.epoch, specDigest: current.specDigest } as const;
  return changed({ kind: 'stop', processorId: subject.spec.id, before: current, after, ...why, rejected: choice.rejected });
}

function goHome(subject: Subject, current: Placement, choice: Choice & { readonly target: Target }): Verdict {
  const why = goingHome(subject, current, choice.target);
  const kept = why.reason === 'node-recovered' ? keptAway(subject) : null;
  if (kept !== null) return withUpdate(subject, current, held(subject, choice, kept));
  return leaveAlive(subject, current, choice, why);
}

function whileStopping(subject: Subject, current: Placement): Verdict {
  const source = sourceHealth(subject.world, current);
  const choice = choose(subject);
  const why = whyItLeaves(subject, current, source, choice);
  // Told to stop, with nowhere to go any more: better there than nowhere, if it can still be told.
  const reachable = source?.verdict === 'silent' || source?.verdict === 'detached';
  const resumes = why === null || (choice.target === null && reachable);
  if (resumes && !isRenamed(subject)) return changed(resume(subject, current, choice));
  if (!resumes && choice.target === null) return changed(noTarget(subject, choice.rejected, source));
  const proof = proofOfStop(subject, current, source);
  if (!proof.passed) return held(subject, choice, proof);
  if (resumes || choice.target === null) return changed(resumeRenamed(subject, current, choice, proof));
  return changed(move(subject, current, choice.target, because(why, proof, choice)));
}

function whyItLeaves(subject: Subject, current: Placement, source: NodeHealth | null, choice: Choice): Why | null {
  if (source !== null && (isFailed(source.verdict) || source.verdict === 'decommissioned')) return whyOf(source);
  if (goesHome(subject, current, choice)) return goingHome(subject, current, choice.target);
  const { reason, target } = current;
  const elsewhere = choice.target !== null && !sameTarget(choice.target, target);
  return reason === 'added-again' && elsewhere ? { reason, evidence: { target: targetName(target), next: targetName(choice.target) } } : null;
}

/** A stop that nobody can have heard, on a node that is lost since, is none. */
function proofOfStop(subject: Subject, current: Placement, source: NodeHealth | null): Proof {
  const stop = leaving(subject, current);
  const proof = stopFence(stop, subject.policy);
  if (proof.passed || source?.verdict !== 'lost' || !source.sure) return proof;
  const signals = agentOf(stop);
  const heard = typeof signals?.publishedAt === 'number' && typeof signals.lastBeatAt === 'number';
  return heard ? proof : lossFence(stop, source, subject.policy);
}

function leaving({ world, workload }: Subject, placement: Placement): Leaving {
  return { world, placement, workload, source: sourceHealth(world, placement) };
}

/** Same epoch, same StatefulSet: scaled up again, it can't run beside itself. */
function resume(subject: Subject, current: Placement, choice: Choice): Change {
  const evidence = { node: subject.home?.node.name ?? 'home', target: targetName(current.target) };
  const after = { target: current.target, phase: 'active', epoch: current.epoch, specDigest: subject.spec.digest } as const;
  return { kind: 'resume', processorId: subject.spec.id, before: current, after, reason: 'move-cancelled', evidence, rejected: choice.rejected };
}

function resumeRenamed(subject: Subject, current: Placement, choice: Choice, proof: Proof): Change {
  const after = { target: current.target, phase: 'active', epoch: (current.epoch + 1) as Epoch, specDigest: subject.spec.digest } as const;
  return { kind: 'resume', processorId: subject.spec.id, before: current, after, reason: 'renamed', evidence: renaming(current, proof), rejected: choice.rejected };
}

interface Why {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

/** A verdict that is kept from before says why it is kept; why processors leave is what it was. */
function whyOf({ verdict, reason, evidence, sure, kubernetes }: NodeHealth): Why {
  if (sure || !isFailed(verdict)) return { reason, evidence };
  if (verdict === 'lost') return { reason: kubernetes.state === 'none' ? 'heartbeat-stale' : 'node-dead', evidence };
  return { reason: verdict === 'silent' ? 'node-silent' : 'node-detached', evidence };
}

function because(why: Why, proof: Extract<Proof, { passed: true }>, { rejected }: Choice): Justification {
  return { reason: why.reason, evidence: { ...why.evidence, ...proof.evidence }, rejected };
}

function move(subject: Subject, current: Placement, target: Target, why: Justification): Change {
  const after = { target, phase: 'active', epoch: (current.epoch + 1) as Epoch, specDigest: subject.spec.digest } as const;
  const evidence = staysOnNode(subject.workload) ? { ...why.evidence, stateLost: true } : why.evidence;
  return { kind: 'move', processorId: subject.spec.id, before: current, after, ...why, evidence };
}

function isRenamed({ world, spec }: Subject): boolean {
  return world.renamed.has(spec.id);
}

function renaming({ target }: Placement, proof: Proof | null = null): Evidence {
  return { target: targetName(target), ...(proof?.evidence ?? {}) };
}

/** Only where it is known to be well does it stop in order to start there again. */
function stopToRename({ spec }: Subject, current: Placement, source: NodeHealth | null, verdict: Verdict): Verdict {
  if (source !== null && !(source.verdict === 'healthy' && source.sure)) return verdict;
  const after = { target: current.target, phase: 'stopping', epoch: current.epoch, specDigest: current.specDigest } as const;
  return { ...verdict, change: { kind: 'stop', processorId: spec.id, before: current, after, reason: 'renamed', evidence: renaming(current), rejected: [] } };
}

/** A new image, setting or node name: same place, same epoch, edited where it is. */
function withUpdate(subject: Subject, current: Placement, verdict: Verdict): Verdict {
  const { spec, world } = subject;
  const source = sourceHealth(world, current);
  if (isRenamed(subject)) return stopToRename(subject, current, source, verdict);
  const target = source === null ? current.target : edgeTarget(source);
  const renamed = targetName(target) !== targetName(current.target);
  if (current.specDigest === spec.digest && !renamed) return verdict;
  const after = { target, phase: 'active', epoch: current.epoch, specDigest: spec.digest } as const;
  const evidence = { changed: renamed ? 'name of its node' : 'specification' };
  return { ...verdict, change: { kind: 'update', processorId: spec.id, before: current, after, reason: 'spec-changed', evidence, rejected: [] } };
}

/** Away from home while home comes back, or is well and can't take it: nothing to do yet, and worth saying. */
function waitingToGoHome(subject: Subject, current: Placement, choice: Choice): Verdict {
  const { home, spec } = subject;
  if (isHome(spec.home, current.target)) return nothing;
  const refused = choice.rejected.find(({ target, reason }) => isHome(spec.home, target) && refusals.has(reason));
  if (refused !== undefined) return held(subject, choice, { reason: refused.reason, evidence: refused.evidence, needsPerson: refused.reason === 'state-not-portable', wakeAt: null });
  if (home?.verdict !== 'returning') return nothing;
  return held(subject, choice, { reason: 'waiting-for-stability', evidence: home.evidence, needsPerson: false, wakeAt: home.wakeAt });
}

function goesHome({ spec }: Subject, current: Placement, choice: Choice): choice is Choice & { readonly target: Target } {
  return choice.target !== null && isHome(spec.home, choice.target) && !sameTarget(choice.target, current.target);
}

/** A failback where it fled from home; else the operator gave it another home. */
function goingHome({ home }: Subject, { phase, reason }: Placement, target: Target): Why {
  const fled = phase === 'stopping' ? !stayedReasons.has(reason) : !atHomeReasons.has(reason);
  if (home !== null && fled) {
    return { reason: 'node-recovered', evidence: { node: home.node.name, steadyMs: home.windowMs } };
  }
  return { reason: 'home-changed', evidence: { home: targetName(target) } };
}

function noTarget({ spec }: Subject, rejected: readonly Rejection[], source: NodeHealth | null): Hold {
  const evidence = { node: source?.node.name ?? 'its node' };
  return { processorId: spec.id, reason: 'no-eligible-target', evidence, rejected, needsPerson: true, withheld: null };
}

function held({ spec }: Subject, { rejected }: Choice, { reason, evidence, needsPerson, wakeAt }: Kept): Verdict {
  return { change: null, hold: { processorId: spec.id, reason, evidence, rejected, needsPerson, withheld: null }, wakeAt };
}

function sourceHealth(world: World, current: Placement): NodeHealth | null {
  return current.target.kind === 'edge' ? (world.health.get(current.target.nodeId) ?? null) : null;
}

function changed(result: Change | Hold): Verdict {
  return 'kind' in result ? { change: result, hold: null, wakeAt: null } : { change: null, hold: result, wakeAt: null };
}

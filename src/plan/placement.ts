import type { ProcessorSpec } from '../model/fleet.ts';
import type { Epoch } from '../model/ids.ts';
import type { Change, Hold } from '../model/plan.ts';
import { isHome, sameTarget, targetName, type Justification, type Placement, type Target } from '../model/placement.ts';
import type { Evidence, ReasonCode, Rejection } from '../model/reasons.ts';
import type { Instant } from '../model/time.ts';
import { candidates, edgeTarget, objectionTo, type Subject } from './eligible.ts';
import { fence } from './fence.ts';
import type { NodeHealth } from './health.ts';
import type { World } from './world.ts';

/**
 * What one processor's placement becomes.
 *
 *   (none) ─place─▶ active(e) ─move: its node is lost─▶ active(e+1) elsewhere
 *                     │   ▲
 *                stop │   │ resume: it stays after all
 *                     ▼   │
 *                  stopping(e) ─move: fence passed─▶ active(e+1) elsewhere
 *
 * `place`: to the first eligible candidate; to a lost home if there is none, since nothing runs yet.
 * `move` from active: only when the node is lost. `stop`: the node is decommissioned, or home is fit again; the target
 * is alive, so it must be proved that its pod stopped. Anything else stays: healthy placements are never touched.
 * Whatever has to happen and can't is a hold, with the candidates and what spoke against each.
 */
export interface Verdict {
  readonly change: Change | null;
  readonly hold: Hold | null;
  readonly wakeAt: Instant | null;
}

/** Reasons of a placement that was, when it was decided, at the processor's home. */
const atHomeReasons: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['first-placement', 'home-changed']);

const nothing: Verdict = { change: null, hold: null, wakeAt: null };

export function placementOf(world: World, spec: ProcessorSpec, current: Placement | null, retiredEpoch: Epoch | null): Verdict {
  const home = spec.home.kind === 'edge' ? (world.health.get(spec.home.nodeId) ?? null) : null;
  if (current !== null && isAtRest(spec, current, home)) return nothing;

  const subject: Subject = { world, spec, workload: world.workloadOf(spec), current, home };
  if (current === null) return changed(place(subject, retiredEpoch));
  return current.phase === 'stopping' ? whileStopping(subject, current) : whileActive(subject, current);
}

/** The common case by far, answered without building anything. */
function isAtRest(spec: ProcessorSpec, current: Placement, home: NodeHealth | null): boolean {
  if (current.phase !== 'active' || current.specDigest !== spec.digest) return false;
  if (current.target.kind === 'managed') return spec.home.kind === 'managed';
  if (current.target.nodeId !== home?.nodeId || current.target.nodeName !== home.node.name) return false;
  return home.verdict !== 'lost' && home.verdict !== 'decommissioned';
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

function place(subject: Subject, retiredEpoch: Epoch | null): Change | Hold {
  const { spec, home } = subject;
  const { target: chosen, rejected } = choose(subject);
  const target = chosen ?? (home !== null && home.verdict !== 'decommissioned' ? edgeTarget(home) : null);
  if (target === null) return noTarget(subject, rejected, home);
  const why: Justification = home === null || isHome(spec.home, target)
    ? { reason: 'first-placement', evidence: { target: targetName(target) }, rejected }
    : { reason: home.reason, evidence: home.evidence, rejected };
  const epoch = ((retiredEpoch ?? 0) + 1) as Epoch;
  return { kind: 'place', processorId: spec.id, before: null, after: { target, phase: 'active', epoch, specDigest: spec.digest }, ...why };
}

function whileActive(subject: Subject, current: Placement): Verdict {
  const source = sourceHealth(subject.world, current);
  if (source?.verdict === 'lost') return leaveLost(subject, current, source);
  if (source?.verdict === 'decommissioned') return leaveAlive(subject, current, choose(subject), { reason: source.reason, evidence: source.evidence });
  const choice = choose(subject);
  if (choice.target !== null && isHome(subject.spec.home, choice.target) && !sameTarget(choice.target, current.target)) {
    return leaveAlive(subject, current, choice, goingHome(subject, current, choice.target));
  }
  const waiting = waitingToGoHome(subject, current, choice);
  const update = updateInPlace(subject, current);
  return update === null ? waiting : { ...waiting, change: update };
}

/** Its node is dead beyond the threshold: one commit, on the next epoch. */
function leaveLost(subject: Subject, current: Placement, source: NodeHealth): Verdict {
  const { target, rejected } = choose(subject);
  if (target === null) return { ...changed(noTarget(subject, rejected, source)), change: updateInPlace(subject, current) };
  return changed(move(subject, current, target, { reason: source.reason, evidence: source.evidence, rejected }));
}

/** The target is alive: stop it first, and only if there is somewhere to go. */
function leaveAlive(subject: Subject, current: Placement, choice: Choice, why: { readonly reason: ReasonCode; readonly evidence: Evidence }): Verdict {
  if (choice.target === null) return changed(noTarget(subject, choice.rejected, sourceHealth(subject.world, current)));
  if (sameTarget(choice.target, current.target)) return nothing;
  const after = { target: current.target, phase: 'stopping', epoch: current.epoch, specDigest: current.specDigest } as const;
  return changed({ kind: 'stop', processorId: subject.spec.id, before: current, after, ...why, rejected: choice.rejected });
}

function whileStopping(subject: Subject, current: Placement): Verdict {
  const source = sourceHealth(subject.world, current);
  if (source?.verdict === 'lost') return leaveLost(subject, current, source);
  const choice = choose(subject);
  const goesHome = choice.target !== null && isHome(subject.spec.home, choice.target) && !sameTarget(choice.target, current.target);
  if (source?.verdict !== 'decommissioned' && !goesHome) return changed(resume(subject, current, choice));
  if (choice.target === null) return changed(noTarget(subject, choice.rejected, source));

  const proof = fence(subject.world, current, subject.workload);
  if (proof.passed) {
    const why = source?.verdict === 'decommissioned' ? { reason: source.reason, evidence: source.evidence } : goingHome(subject, current, choice.target);
    const evidence = { ...why.evidence, ...proof.evidence, fence: proof.reason };
    return changed(move(subject, current, choice.target, { reason: why.reason, evidence, rejected: choice.rejected }));
  }
  const { reason, evidence, needsPerson, wakeAt } = proof;
  return { change: null, hold: { processorId: subject.spec.id, reason, evidence, rejected: choice.rejected, needsPerson, withheld: null }, wakeAt };
}

/** Same epoch, same StatefulSet: scaled up again, it can't run beside itself. */
function resume(subject: Subject, current: Placement, choice: Choice): Change {
  const evidence = { node: subject.home?.node.name ?? 'home', target: targetName(current.target) };
  const after = { target: current.target, phase: 'active', epoch: current.epoch, specDigest: subject.spec.digest } as const;
  return { kind: 'resume', processorId: subject.spec.id, before: current, after, reason: 'move-cancelled', evidence, rejected: choice.rejected };
}

function move(subject: Subject, current: Placement, target: Target, why: Justification): Change {
  const after = { target, phase: 'active', epoch: (current.epoch + 1) as Epoch, specDigest: subject.spec.digest } as const;
  return { kind: 'move', processorId: subject.spec.id, before: current, after, ...why };
}

/** A new image, setting or node name: same place, same epoch, edited where it is. */
function updateInPlace({ spec, world }: Subject, current: Placement): Change | null {
  const source = sourceHealth(world, current);
  const target = source === null ? current.target : edgeTarget(source);
  const renamed = targetName(target) !== targetName(current.target);
  if (current.specDigest === spec.digest && !renamed) return null;
  const after = { target, phase: 'active', epoch: current.epoch, specDigest: spec.digest } as const;
  const evidence = { changed: renamed ? 'name of its node' : 'specification' };
  return { kind: 'update', processorId: spec.id, before: current, after, reason: 'spec-changed', evidence, rejected: [] };
}

/** Away from home while home comes back: nothing to do yet, and worth saying. */
function waitingToGoHome(subject: Subject, current: Placement, choice: Choice): Verdict {
  const { home, spec } = subject;
  if (home?.verdict !== 'returning' || isHome(subject.spec.home, current.target)) return nothing;
  const hold: Hold = { processorId: spec.id, reason: 'waiting-for-stability', evidence: home.evidence, rejected: choice.rejected, needsPerson: false, withheld: null };
  return { change: null, hold, wakeAt: home.wakeAt };
}

/** A failback where it fled from home; else the operator gave it another home. */
function goingHome({ home, world }: Subject, current: Placement, target: Target): { readonly reason: ReasonCode; readonly evidence: Evidence } {
  if (home !== null && !atHomeReasons.has(current.reason)) {
    return { reason: 'node-recovered', evidence: { node: home.node.name, steadyMs: world.snapshot.policy.stabilityWindow } };
  }
  return { reason: 'home-changed', evidence: { home: targetName(target) } };
}

function noTarget({ spec }: Subject, rejected: readonly Rejection[], source: NodeHealth | null): Hold {
  const evidence = { node: source?.node.name ?? 'its node' };
  return { processorId: spec.id, reason: 'no-eligible-target', evidence, rejected, needsPerson: true, withheld: null };
}

function sourceHealth(world: World, current: Placement): NodeHealth | null {
  return current.target.kind === 'edge' ? (world.health.get(current.target.nodeId) ?? null) : null;
}

function changed(result: Change | Hold): Verdict {
  return 'kind' in result ? { change: result, hold: null, wakeAt: null } : { change: null, hold: result, wakeAt: null };
}

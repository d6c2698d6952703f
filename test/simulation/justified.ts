import type { Change } from '../../src/model/plan.ts';
import { failureReasons } from '../../src/model/reasons.ts';
import type { DecisionMade } from './checks.ts';
import type { Script } from './script.ts';
import type { Truth } from './truth.ts';

/** The judge's view: what is so, whatever anybody could know. */
interface Bench {
  readonly script: Script;
  readonly truth: Truth;
  readonly now: number;
}

type Rule = (change: Change, made: DecisionMade, bench: Bench) => string | null;

/** Each answers null, or what is wrong with leaving one target for another. */
const rules: readonly Rule[] = [underMaintenance, toTheDead, homeTooEarly, whileGitIsAway, offTheNeverThere, offTheHealthy, inPanic];

export function unjustified(change: Change, made: DecisionMade, bench: Bench): string | null {
  if (change.kind !== 'move' && change.kind !== 'stop') return null;
  for (const rule of rules) {
    const wrong = rule(change, made, bench);
    if (wrong !== null) return wrong;
  }
  return null;
}

function sourceOf({ before }: Change): string | null {
  return before?.target.kind === 'edge' ? before.target.nodeId : null;
}

function underMaintenance(change: Change, { rows, clock }: DecisionMade): string | null {
  const source = sourceOf(change);
  const locked = rows.locks.some(({ endedAt, until, subject }) => endedAt === null && until > clock && subject === source);
  return locked ? `leaves ${String(source)}, which is under maintenance` : null;
}

function toTheDead({ kind, after }: Change, _: DecisionMade, { script, truth, now }: Bench): string | null {
  if (kind !== 'move' || after?.target.kind !== 'edge') return null;
  const dead = truth.deadFor(after.target.nodeId, now);
  return dead > script.policy.heartbeatStale + 30_000 ? `goes to ${after.target.nodeId}, which is dead for ${seconds(dead)}` : null;
}

/** A node that was away for long is watched for its stability window before anything goes home. */
function homeTooEarly({ kind, reason, processorId }: Change, { rows }: DecisionMade, { script, truth, now }: Bench): string | null {
  const home = rows.desired.get(processorId)?.home;
  if (kind !== 'stop' || reason !== 'node-recovered' || home === undefined) return null;
  const back = truth.backFor(home, now);
  return back !== null && back < script.policy.stabilityWindow - 1_000 - imprecision(script) ? `goes home to ${home}, which is back for ${seconds(back)} only` : null;
}

/** A clock that was set forward, and statements whose `now()` is older than what they saw. */
function imprecision({ faults }: Script): number {
  return faults.reduce((sum, fault) => {
    if (fault.kind === 'database-clock') return sum + Math.max(0, fault.ms);
    return fault.kind === 'database-stall' ? sum + fault.until - fault.at : sum;
  }, 0);
}

function whileGitIsAway({ kind }: Change, { gitAwayFor }: DecisionMade): string | null {
  return kind === 'stop' && gitAwayFor > 30_000 ? `stops a live writer while Git is away for ${seconds(gitAwayFor)}` : null;
}

function offTheNeverThere(change: Change, _: DecisionMade, { script, truth }: Bench): string | null {
  const source = sourceOf(change);
  if (source === null || script.watched || !failureReasons.has(change.reason)) return null;
  return truth.neverThere(source) ? `leaves ${source}, which never sent a heartbeat, as failed` : null;
}

/** What leaves because its node failed leaves a node that had something, and lately. */
function offTheHealthy(change: Change, { snapshot, plan }: DecisionMade, { script, truth, now }: Bench): string | null {
  const source = sourceOf(change);
  if (source === null || !failureReasons.has(change.reason)) return null;
  const verdict = plan.verdicts.find(({ nodeId }) => nodeId === source);
  const began = now - (snapshot.at - (verdict?.since ?? snapshot.at));
  const patience = script.policy.heartbeatStale + 30_000;
  const fine = truth.fineFor(source, began);
  if (fine > patience) return `leaves ${source}, which was judged ${verdict?.verdict ?? '?'} while nothing ailed it for ${seconds(fine)}`;
  const late = Math.min(truth.fineFor(source, now), truth.serviceFor(now));
  return late > patience ? `leaves ${source}, where all is well for ${seconds(late)}` : null;
}

/** Every node of every site newly failed: more likely our fault than theirs, and a person's decision. */
function inPanic(change: Change, { rows, snapshot, plan }: DecisionMade, { script }: Bench): string | null {
  const { minNodes, window } = script.policy.guard;
  // What a person works on is that person's matter, and counts for nothing.
  const watched = plan.verdicts.filter(({ nodeId }) => !rows.locks.some(({ endedAt, subject }) => endedAt === null && subject === nodeId));
  if (!failureReasons.has(change.reason) || watched.length < minNodes || change.before?.phase === 'stopping') return null;
  const failed = watched.filter(({ verdict, since }) => ['lost', 'silent', 'detached'].includes(verdict) && snapshot.at - since < window - 10_000);
  if (failed.length < watched.length || rows.approvals.has('guard') || (rows.guard?.leftPanicAt ?? null) !== null) return null;
  return `while all ${String(failed.length)} nodes failed at once, and nobody approved it`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

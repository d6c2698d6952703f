import type { z } from 'zod';
import type { EdgeNode } from '../model/fleet.ts';
import type { Change, Plan } from '../model/plan.ts';
import { targetName } from '../model/placement.ts';
import { sentence, type Evidence, type ReasonCode } from '../model/reasons.ts';
import type { DailyWindow, MaintenanceLock, Snapshot } from '../model/snapshot.ts';
import { elapsed, formatInstant, type Instant } from '../model/time.ts';
import type { NodeExplanation, PolicyField, ProcessorExplanation } from '../plan/explain.ts';
import type { Proof } from '../plan/fence.ts';
import { siteOf } from '../plan/guard.ts';
import { timeOfDay } from '../plan/policy.ts';
import { processorHash, processorStem } from '../render/names.ts';
import type { fleetSchema, nextSchema, nodeSchema, processorSchema } from './explain-schema.ts';
import { mendOf } from './mend.ts';
import { concerning, type Projected } from './projection.ts';
import { why } from './why.ts';

export interface Explanation {
  readonly at: string;
  readonly fleet: z.output<typeof fleetSchema>;
  readonly processor: z.output<typeof processorSchema> | null;
  readonly node: z.output<typeof nodeSchema> | null;
  readonly next: z.output<typeof nextSchema> | null;
  readonly capacity: string[];
}

interface Reasoned {
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
}

const because = ({ reason, evidence }: Reasoned): { readonly reason: ReasonCode; readonly why: string } => ({ reason, why: why(reason, evidence) });

export function fleetPart({ pause, intake, spent, policy }: Snapshot, { guard, refusals }: Plan): Explanation['fleet'] {
  const { paused } = pause;
  return {
    guard: { state: guard.state, since: formatInstant(guard.since), ...because(guard) },
    paused: paused === null ? null : { by: paused.by, reason: paused.reason, since: formatInstant(paused.since) },
    intake: intake.covered ? null : intake.detail,
    refusals: refusals.map((refusal) => ({ subject: refusal.subject, ...because(refusal) })),
    budget: { spent, windowMs: policy.budget.window },
  };
}

export function nodePart(snapshot: Snapshot, explained: NodeExplanation): NonNullable<Explanation['node']> {
  const { health, signals, flaps, placed, home, locks } = explained;
  const { node, condition } = health;
  return {
    id: node.id,
    name: node.name,
    site: siteOf(health, condition?.site ?? null),
    verdict: health.verdict,
    since: formatInstant(health.since),
    ageMs: elapsed(health.since, snapshot.at),
    sure: health.sure,
    ...because(health),
    heartbeat: {
      state: health.heartbeat.state,
      at: signals.heartbeat.known ? formatInstant(signals.heartbeat.at) : null,
      ageMs: signals.heartbeat.known ? elapsed(signals.heartbeat.at, snapshot.at) : null,
    },
    kubernetes: kubernetesPart(snapshot, explained),
    flaps,
    windowMs: health.windowMs,
    failover: { enabled: node.failoverEnabled, target: nameOf(snapshot, node.failoverTarget) },
    processors: { placed: placed.length, stopping: placed.filter(({ phase }) => phase === 'stopping').length, home },
    planned: plannedPart(explained.changes),
    holds: holdsPart(explained),
    locks: locks.map((lock) => lockPart(snapshot, lock)),
  };
}

function kubernetesPart({ at }: Snapshot, { health: { kubernetes, condition } }: NodeExplanation): NonNullable<Explanation['node']>['kubernetes'] {
  return {
    state: kubernetes.state,
    ready: condition?.ready ?? null,
    sinceMs: condition === null ? null : elapsed(condition.since, at),
    kubeletMs: condition?.leaseAgeMs ?? null,
    taints: [...(condition?.taints ?? [])],
  };
}

function nameOf({ fleet }: Snapshot, id: EdgeNode['failoverTarget']): string | null {
  return id === null ? null : (fleet.nodes.find((node) => node.id === id)?.name ?? id);
}

function plannedPart(changes: readonly Change[]): NonNullable<Explanation['node']>['planned'] {
  const groups = new Map<string, { kind: string; reason: string; count: number }>();
  for (const { kind, reason } of changes) groups.set(`${kind} ${reason}`, { kind, reason, count: (groups.get(`${kind} ${reason}`)?.count ?? 0) + 1 });
  return [...groups.values()];
}

function holdsPart({ holds }: NodeExplanation): NonNullable<Explanation['node']>['holds'] {
  const groups = new Map<string, NonNullable<Explanation['node']>['holds'][number]>();
  for (const hold of holds) {
    const known = groups.get(hold.reason);
    groups.set(hold.reason, { ...because(hold), needsPerson: hold.needsPerson || known?.needsPerson === true, count: (known?.count ?? 0) + 1 });
  }
  return [...groups.values()];
}

function lockPart(snapshot: Snapshot, { scope, subject, owner, reason, until }: MaintenanceLock): NonNullable<Explanation['node']>['locks'][number] {
  const { nodes, workloads } = snapshot.fleet;
  const name = { node: nodes.find(({ id }) => id === subject)?.name, template: workloads.find(({ templateId }) => templateId === subject)?.slug, processor: undefined }[scope];
  return { name: `${scope}/${name ?? subject}`, owner, reason, until: formatInstant(until) };
}

/** What the database knows of a processor beside its plan. */
export type Recorded = Pick<NonNullable<Explanation['processor']>, 'rollout' | 'applied' | 'commit'>;

export function processorPart(snapshot: Snapshot, explained: ProcessorExplanation, recorded: Recorded): NonNullable<Explanation['processor']> {
  const { spec, subject: { workload }, current, change, quarantined } = explained;
  return {
    id: spec.id,
    name: processorStem(workload.slug, processorHash(spec.id)),
    template: workload.slug,
    version: workload.version,
    namespace: spec.namespace,
    home: homeName(snapshot, explained),
    atHome: explained.isAtHome,
    placement: current === null ? null : {
      target: targetName(current.target), phase: current.phase, epoch: current.epoch, reason: current.reason,
      since: formatInstant(current.since), ageMs: elapsed(current.since, snapshot.at), revision: current.revision,
    },
    agent: agentPart(snapshot, explained),
    ...recorded,
    policy: explained.policy.map((field) => ({ field: field.field, value: policyValue(field), origin: field.origin })),
    candidates: explained.candidates.map(({ candidate, objection, chosen }) => ({
      target: targetName(candidate.target), role: candidate.role, chosen,
      reason: objection?.reason ?? null, why: objection === null ? null : sentence(objection.reason, objection.evidence),
    })),
    end: explained.end === null ? null : endPart(explained.end),
    planned: change === null ? null : { kind: change.kind, to: change.after === null ? null : targetName(change.after.target), epoch: change.after?.epoch ?? null, ...because(change) },
    hold: holdPart(snapshot, explained),
    locks: explained.locks.map((lock) => lockPart(snapshot, lock)),
    quarantined: quarantined === null ? null : quarantined.problems.map(({ field, value, mend }) => ({ field, value, mend })),
  };
}

function homeName(snapshot: Snapshot, { spec: { home } }: ProcessorExplanation): string {
  return home.kind === 'managed' ? 'managed' : (nameOf(snapshot, home.nodeId) ?? home.nodeId);
}

function agentPart({ at }: Snapshot, { agent }: ProcessorExplanation): NonNullable<Explanation['processor']>['agent'] {
  if (agent === null) return null;
  const ago = (moment: Instant | null): number | null => (moment === null ? null : elapsed(moment, at));
  return {
    lastBeatMs: ago(agent.lastBeatAt),
    leaseMs: agent.leaseUntil === null ? null : elapsed(at, agent.leaseUntil),
    publishedMs: ago(agent.publishedAt),
    acknowledgedMs: ago(agent.acknowledgedAt),
    confirmedBy: agent.confirmed?.by ?? null,
    pods: agent.pods.known ? agent.pods.value : agent.pods.because,
  };
}

function endPart(proof: Proof): NonNullable<Explanation['processor']>['end'] {
  if (!proof.passed) return { passed: false, ...because(proof) };
  const { fence } = proof.evidence;
  if (typeof fence !== 'string') return { passed: true, reason: null, why: 'nothing but its silence says that it ended; it is moved unfenced' };
  return { passed: true, reason: fence, why: why(fence, proof.evidence) };
}

function holdPart(snapshot: Snapshot, explained: ProcessorExplanation): NonNullable<Explanation['processor']>['hold'] {
  const { hold, spec, subject: { workload } } = explained;
  if (hold === null) return null;
  const { reason, evidence, needsPerson, withheld } = hold;
  const approve = evidence['approve'];
  const mend = typeof approve === 'string' ? `dory approve ${approve} --reason …` : mendOf(reason, processorStem(workload.slug, processorHash(spec.id)), homeName(snapshot, explained));
  return { ...because(hold), needsPerson, mend, withheld: withheld === null ? null : `${withheld.kind} ${withheld.after === null ? '' : `to ${targetName(withheld.after.target)}`}`.trim() };
}

function policyValue({ value }: PolicyField): string {
  if (value === null) return 'none';
  if (typeof value !== 'object') return String(value);
  return isWindow(value) ? `${timeOfDay(value.fromMinute)}-${timeOfDay(value.toMinute)} UTC` : value.join(', ');
}

function isWindow(value: object): value is DailyWindow {
  return 'fromMinute' in value;
}

/** The first commit that is about it, by the rehearsal's clock. */
export function nextPart(snapshot: Snapshot, { rehearsed, found }: Projected): Explanation['next'] {
  const concerns = concerning(snapshot, found);
  for (const { decidedAt, changes } of rehearsed.commits) {
    const [first, ...others] = changes.filter(concerns);
    if (first === undefined) continue;
    const { kind, after } = first;
    return { inMs: elapsed(snapshot.at, decidedAt), kind, to: after === null ? null : targetName(after.target), count: others.length + 1, ...because(first) };
  }
  return null;
}

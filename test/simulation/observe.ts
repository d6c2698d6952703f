import { spending } from '../../src/model/budget.ts';
import type { Fleet } from '../../src/model/fleet.ts';
import type { ProcessorId } from '../../src/model/ids.ts';
import { byText } from '../../src/model/ids.ts';
import { known, unknown } from '../../src/model/observed.ts';
import type { AgentSignals, NodeSignals, Snapshot } from '../../src/model/snapshot.ts';
import { instant, type Instant } from '../../src/model/time.ts';
import { foreignOf, type Handovers } from '../../src/observe/foreign.ts';
import { inDoubt, intakeOf } from '../../src/observe/signals.ts';
import type { Mutation } from './mutations.ts';
import { fleetOf, slugOf, type Rows } from './rows.ts';
import type { Script } from './script.ts';
import type { View } from './view.ts';

export interface Observation {
  readonly script: Script;
  readonly rows: Rows;
  readonly at: Instant;
  /** Null: no cluster is configured. */
  readonly view: View | null;
  readonly mutation: Mutation | null;
  /** The fleet of the last look: the same object while the operator's tables are the same. */
  readonly before: Fleet | null;
}

/** One look at the database and at what the instance has seen of the cluster: what `src/observe` does. */
export function observe(look: Observation): Snapshot {
  const { script, rows, at, view, mutation, before } = look;
  const { policy } = script;
  const fleet = before?.digest === String(rows.edits) ? before : fleetOf(script, rows);
  const nodes = script.nodes.map(({ name }) => nodeSignals(look, name));
  const intake = mutation === 'coverage-ignored'
    ? ({ covered: true, since: instant(0), until: at } as const)
    : intakeOf({ at, receiver: 'dory', recorded: rows.intake, nodes }, policy);
  const placements = [...rows.placements.values()].sort((a, b) => byText(a.processorId, b.processorId));
  const retired = [...rows.retired].filter(([name]) => rows.desired.has(name) && !rows.placements.has(name) && mutation !== 'retired-epoch-forgotten')
      .map(([name, { epoch, target }]) => ({ processorId: name as ProcessorId, epoch, target: mutation === 'retired-target-forgotten' ? null : target })).sort((a, b) => byText(a.processorId, b.processorId));
  const doubtful = inDoubt(nodes, at, policy);
  const asked = placements.filter(({ phase, target }) => phase === 'stopping' || (target.kind === 'edge' && doubtful.has(target.nodeId)));
  return {
    at,
    fleet,
    placements,
    nodes,
    agents: asked.map((placement) => agentSignals(look, placement)),
    retired,
    foreign: script.cutover === null || mutation === 'foreign-ignored' ? [] : foreignOf({ fleet, placements, retired, handovers: handoversOf(rows), bare: view === null ? null : view.bare(policy, at, mutation) }),
    renamed: script.cutover === null || mutation === 'renamed-ignored' ? [] : renamedOf(rows, fleet, placements, retired),
    intake,
    policy: mutation === 'guard-ignored' ? { ...policy, guard: { ...policy.guard, minNodes: 1_000 } } : policy,
    policies: script.overrides,
    approvals: [...rows.approvals.values()].sort((a, b) => byText(a.subject, b.subject)),
    locks: mutation === 'lock-ignored' ? [] : rows.locks.map((lock) => ({ ...lock, endedAt: lock.endedAt ?? (lock.until <= at ? lock.until : null) })),
    pause: mutation === 'pause-ignored' ? { ...rows.pause, paused: null } : rows.pause,
    guard: rows.guard,
    spent: spentOf(rows, at, policy.budget.window),
  };
}

function nodeSignals({ script, rows, at, view, mutation }: Observation, name: string): NodeSignals {
  const beat = rows.heartbeats.get(name);
  const recorded = rows.verdicts.get(name) ?? null;
  const never = mutation === 'never-reported-is-silent' ? known(null, instant(1)) : unknown('never-reported');
  return {
    nodeId: name as NodeSignals['nodeId'],
    heartbeat: beat === undefined ? never : known(null, beat),
    kubernetes: view === null ? unknown('not-configured') : view.condition(name, script.policy, at, mutation),
    recorded: mutation === 'returning-is-healthy' && recorded?.verdict === 'returning' ? { ...recorded, verdict: 'healthy' } : recorded,
  };
}

function agentSignals(look: Observation, placement: Snapshot['placements'][number]): AgentSignals {
  const { script, rows, at, view, mutation } = look;
  const { processorId, epoch, revision } = placement;
  const beat = rows.beats.get(processorId);
  const own = beat?.epoch === epoch ? beat : null;
  const confirmed = rows.confirmations.get(processorId);
  return {
    processorId,
    epoch,
    lastBeatAt: own?.lastBeatAt ?? null,
    leaseUntil: mutation === 'lease-ignored' ? null : (own?.leaseUntil ?? null),
    publishedAt: rows.revisions.find(({ id }) => id === revision)?.committedAt ?? null,
    acknowledgedAt: mutation === 'old-acknowledgement-counts' && own !== null && rows.revisions.some(({ changes }) => changes.some((c) => c.kind === 'resume' && c.processorId === processorId))
      ? at : (own?.acknowledgedAt ?? null),
    confirmed: confirmed?.epoch === epoch ? { at: confirmed.at, by: 'ada' } : withoutPower(look, placement) ? { at, by: 'ada' } : null,
    pods: view === null ? unknown('not-configured') : view.podsOf(placement, script.policy, at, mutation),
  };
}

/** As `src/observe/power-offs.ts`: a person said that its node has no power, and nothing can start it there any more. */
function withoutPower({ script, rows, view, mutation }: Observation, placement: Snapshot['placements'][number]): boolean {
  const { target } = placement;
  if (target.kind !== 'edge' || !rows.powerOffs.has(target.nodeId)) return false;
  return mutation === 'power-off-proves-at-once' || view?.sealed(placement, script.policy) === true;
}

/** As the statement of `src/observe/controls.ts` counts. */
function spentOf(rows: Rows, at: Instant, window: number): number {
  let spent = 0;
  for (const { decidedAt, changes } of rows.revisions) {
    if (decidedAt > at - window) spent += changes.filter((change) => spending(change) !== null).length;
  }
  return spent;
}

function handoversOf({ handovers, handedAt }: Rows): Handovers {
  const fleet = handovers.get('fleet');
  const atOf = (subject: string): Instant => handedAt.get(subject) ?? instant(0);
  const single = [...handovers].filter(([subject]) => subject !== 'fleet').map(([subject, towards]) => [subject as ProcessorId, { towards, by: 'ada', at: atOf(subject) }] as const);
  return { fleet: fleet === undefined ? null : { towards: fleet, by: 'ada', at: atOf('fleet') }, processors: new Map(single) };
}

/** As `src/observe/renamed.ts`: what was started last had another name. */
function renamedOf(rows: Rows, fleet: Fleet, placements: Snapshot['placements'], retired: Snapshot['retired']): readonly ProcessorId[] {
  const placed = new Map(placements.map((placement) => [placement.processorId, placement]));
  const taken = new Set(retired.map(({ processorId }) => processorId));
  return fleet.processors.filter(({ id, digest }) => {
    const placement = placed.get(id);
    if (placement === undefined ? !taken.has(id) : placement.phase === 'active' && placement.specDigest === digest) return false;
    const started = rows.revisions.findLast(({ changes }) => changes.some(({ processorId, after }) => processorId === id && after?.phase === 'active'));
    const last = started?.changes.find(({ processorId }) => processorId === id)?.after;
    return last !== undefined && last !== null && slugOf(last.specDigest) !== slugOf(digest);
  }).map(({ id }) => id).sort(byText);
}

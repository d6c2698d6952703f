import type { Digest, Epoch, NodeId, NodeName as Name, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import { known, unknown } from '../../../src/model/observed.ts';
import type { Placement, Target } from '../../../src/model/placement.ts';
import type { AgentSignals, NodeSignals, Policy, Snapshot } from '../../../src/model/snapshot.ts';
import { instant, millis, type Instant } from '../../../src/model/time.ts';
import { noControls } from '../../../src/observe/controls.ts';
import { testPolicy } from '../../support/policy.ts';
import { fleetOf } from '../rows.ts';
import type { Script } from '../script.ts';
import { homes, nodeNames, tickMs, type NodeName, type Place, type ProcessorState, type State, type Variant } from './state.ts';

const ms = (ticks: number) => millis(ticks * tickMs);

/** Between ticks, so that "longer than" and "as long as" are the same. */
export const sweepPolicy: Policy = {
  ...testPolicy,
  heartbeatStale: ms(1.5),
  notReadyGrace: ms(0.5),
  startupGrace: ms(3.5),
  stabilityWindow: ms(1.5),
  longestWindow: ms(1.5),
  heartbeatGap: ms(1.5),
  intakeFresh: ms(0.5),
  lease: ms(1.5),
  fenceMargin: ms(0.3),
  fenceBound: ms(4.5),
  // Two nodes are no fleet: the guard has simulations of its own.
  guard: { ...testPolicy.guard, minNodes: 1_000 },
};

/** As long as an agent, or a pod, may take to stop. */
export const graceMs = 1.5 * tickMs;

export const names: readonly string[] = ['p', 'q'];

/** All that the model's database and cluster show, as a snapshot. */
export function lookAt(state: State, variant: Variant, fleet: Snapshot['fleet']): Snapshot {
  return {
    ...noControls,
    at: moment(state.now),
    fleet,
    placements: state.processors.flatMap((processor, i) => placementOf(processor, i) ?? []),
    nodes: nodeNames.map((name) => nodeSignals(state, name)),
    agents: state.processors.flatMap((processor, i) => agentSignals(state, processor, i) ?? []),
    retired: [],
    renamed: [],
    foreign: [],
    intake: state.intakeSince === null ? { covered: false, detail: 'no receiver' } : { covered: true, since: moment(state.intakeSince), until: moment(state.now) },
    policy: { ...sweepPolicy, processors: { ...sweepPolicy.processors, ...policyOf(variant) } },
    approvals: state.processors.flatMap(({ approved }, i) => approved ? ['failback', 'move'].map((what) => ({ subject: `${what}/${names[i] ?? ''}`, by: 'ada', at: moment(state.now), covers: null })) : [])
      .sort((x, y) => (x.subject < y.subject ? -1 : 1)),
  };
}

function policyOf({ onFailure, failback, writerAlive, unfenced }: Variant): Pick<Variant, 'onFailure' | 'failback' | 'writerAlive' | 'unfenced'> {
  return { onFailure, failback, writerAlive, unfenced };
}

export function fleetOfModel(): Snapshot['fleet'] {
  const script = {
    nodes: nodeNames.map((name) => ({ name, site: name, failoverTarget: name === 'a' ? 'b' : null })),
    processors: names.map((name, i) => ({ name, home: homes[i] ?? 'a', agent: 'fenced', shutdownTimeoutSec: graceMs / 1_000 })),
  } as unknown as Script;
  return fleetOf(script, { desired: new Map(names.map((name, i) => [name, { home: homes[i] ?? 'a', release: 1 }])), decommissioned: new Set(), edits: 1 });
}

/** The model's time begins long after ours does: no moment is before 1970. */
function moment(model: number): Instant {
  return instant(1_000_000_000 + model);
}

function toTarget(place: Place): Target {
  return place === 'managed' ? { kind: 'managed' } : { kind: 'edge', nodeId: place as string as NodeId, nodeName: place as string as Name };
}

function placementOf({ row }: ProcessorState, i: number): Placement | null {
  if (row === null) return null;
  const name = names[i] ?? '';
  return {
    processorId: name as ProcessorId,
    epoch: row.epoch as Epoch,
    target: toTarget(row.target),
    phase: row.phase,
    reason: row.reason,
    since: moment(row.since),
    specDigest: `${name} ${name} 1.0.1` as Digest,
    revision: 1 as RevisionId,
  };
}

function nodeSignals(state: State, name: NodeName): NodeSignals {
  const { ready, readySince, beat, verdict, verdictSince } = state.nodes[name];
  return {
    nodeId: name as string as NodeId,
    heartbeat: beat === null ? unknown('never-reported') : known(null, moment(beat)),
    kubernetes: state.watch ? known({ ready, since: moment(readySince), taints: [], leaseAgeMs: null, architecture: null, gpu: null, site: null }, moment(state.now)) : unknown('watch-down'),
    recorded: verdict === null ? null : { verdict, since: moment(verdictSince), flaps: 1 },
  };
}

function agentSignals(state: State, { row, beat, confirmed, pods, applied }: ProcessorState, i: number): AgentSignals | null {
  if (row === null) return null;
  const own = beat?.epoch === row.epoch ? beat : null;
  const at = (value: number | null | undefined): Instant | null => (value === null || value === undefined ? null : moment(value));
  const gone = applied?.epoch === row.epoch && applied.phase === 'stopping' && row.phase === 'stopping' && !pods.some(({ epoch }) => epoch <= row.epoch);
  return {
    processorId: (names[i] ?? '') as ProcessorId,
    epoch: row.epoch as Epoch,
    lastBeatAt: at(own?.at),
    leaseUntil: at(own?.lease),
    publishedAt: at(row.publishedAt),
    acknowledgedAt: at(own?.acknowledged),
    confirmed: confirmed?.epoch === row.epoch ? { at: moment(confirmed.at), by: 'ada' } : null,
    pods: state.watch ? known(gone ? 'gone' : 'present', moment(state.now)) : unknown('watch-down'),
  };
}

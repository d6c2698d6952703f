import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { ProcessorSpec } from '../model/fleet.ts';
import type { Change, Plan } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { elapsed, seconds } from '../model/time.ts';
import type { Assumptions } from './rehearsal.ts';
import type { RehearsalOptions, Rehearsed } from './rehearse.ts';

/** Beyond, too much else will have happened. */
const horizon = seconds(15 * 60);
/** Whoever asks waits for the answer. */
const cycles = 20;

/** What is asked about. */
export type Found = { readonly kind: 'node'; readonly id: NodeId } | { readonly kind: 'processor'; readonly id: ProcessorId };

export interface Projected {
  readonly rehearsed: Rehearsed;
  readonly found: Found;
}

/**
 * What to rehearse in order to see what comes next: nodes that miss their beats go on missing them, what was told to stop
 * and has not goes on, everything else stays as it is. Null where all is well: then nothing comes of itself.
 */
export function projection(snapshot: Snapshot, planned: Plan, found: Found): (RehearsalOptions & { readonly assumed: Assumptions }) | null {
  const { at, nodes, policy } = snapshot;
  if (isAtRest(snapshot, planned, found)) return null;
  const concerns = concerning(snapshot, found);
  const late = nodes.filter(({ heartbeat }) => heartbeat.known && elapsed(heartbeat.at, at) > policy.guard.lateBeat);
  return {
    assumed: { fail: new Set(late.map(({ nodeId }) => nodeId)), how: 'silent', backAfter: null, agents: 'stuck', stopTakes: seconds(0), commitTakes: seconds(2) },
    horizon,
    cycles,
    enough: ({ changes }) => changes.some(concerns),
  };
}

/** A change of that processor; or one away from that node, to it, or of a processor that is at home there. */
export function concerning({ fleet }: Snapshot, found: Found): (change: Change) => boolean {
  if (found.kind === 'processor') return ({ processorId }) => processorId === found.id;
  const atHome = new Set(fleet.processors.filter(({ home }) => home.kind === 'edge' && home.nodeId === found.id).map(({ id }) => id));
  return ({ processorId, before, after }) =>
    atHome.has(processorId) || [before?.target, after?.target].some((target) => target?.kind === 'edge' && target.nodeId === found.id);
}

/** Its nodes are well and beat in time, and nothing is due or held of what is there or at home there. */
function isAtRest({ at, nodes, placements, fleet, policy }: Snapshot, { verdicts, holds, changes }: Plan, found: Found): boolean {
  const home = fleet.processors.find(({ id }) => id === found.id)?.home;
  const target = placements.find(({ processorId }) => processorId === found.id)?.target;
  const places = [home, target, found.kind === 'node' ? ({ kind: 'edge', nodeId: found.id } as const) : undefined];
  const involved = new Set<NodeId>(places.flatMap((place) => (place?.kind === 'edge' ? [place.nodeId] : [])));
  const isThere = (place: ProcessorSpec['home']): boolean => place.kind === 'edge' && involved.has(place.nodeId);
  const there = new Set<string>([
    found.id,
    ...placements.filter((placement) => isThere(placement.target)).map(({ processorId }) => processorId),
    ...fleet.processors.filter((spec) => isThere(spec.home)).map(({ id }) => id),
  ]);
  return changes.every(({ processorId }) => !there.has(processorId))
    && holds.every(({ processorId }) => !there.has(processorId))
    && verdicts.every(({ nodeId, verdict }) => !involved.has(nodeId) || verdict === 'healthy')
    && nodes.every(({ nodeId, heartbeat }) => !involved.has(nodeId) || !heartbeat.known || elapsed(heartbeat.at, at) <= policy.guard.lateBeat);
}

import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { NodeId, ProcessorId } from '../model/ids.ts';
import type { Plan } from '../model/plan.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { formatInstant } from '../model/time.ts';
import { readAgents } from '../observe/placements.ts';
import { explainNode, explainProcessor } from '../plan/explain.ts';
import { plan } from '../plan/plan.ts';
import { withClient } from '../platform/pg.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { readAppliedOf, readCommits } from './applied-view.ts';
import { fleetPart, nextPart, nodePart, processorPart, type Explanation, type Recorded } from './explain-parts.ts';
import { fleetSchema, nextSchema, nodeSchema, processorSchema } from './explain-schema.ts';
import { text } from './fields.ts';
import { operation, type OperatorContext } from './operation.ts';
import { projection, type Found, type Projected } from './projection.ts';
import { rehearse } from './rehearse.ts';
import { rehearseLive } from './rehearse-live.ts';
import { capacityOf, capacitySchema } from './capacity.ts';
import { readRollout } from './rollouts-view.ts';

const input = z.strictObject({
  subject: text('a processor or a node', 300).describe("A processor's id, the beginning of it, or its name; a node's name or id; processor/… and node/… where both have that name."),
});

export const explain = operation({
  name: 'explain',
  method: 'GET',
  path: '/api/v1/explain',
  summary: 'why a processor is where it is, or what is known of a node: signals, policy, candidates, what is held, and what would change it',
  changesState: false,
  input,
  output: z.object({
    at: z.string().describe('Of the snapshot, ISO 8601 in UTC.'),
    fleet: fleetSchema,
    processor: processorSchema.nullable(),
    node: nodeSchema.nullable().describe("The node that was asked for, or that the processor is placed on."),
    next: nextSchema.nullable().describe('What follows if nothing changes: what is silent stays silent, what beats goes on. Null: nothing within the next minutes.'),
    capacity: capacitySchema,
  }),
  run: async (context, { subject }) => {
    const snapshot = await context.observe();
    const found = findIn(snapshot, subject);
    const planned = plan(snapshot);
    const asked = projection(snapshot, planned, found);
    const rehearsed = asked === null ? null : await rehearseLive(context, snapshot, asked);
    const recorded = found.kind === 'processor' ? await readRecorded(context, snapshot, found.id) : nothingRecorded;
    const capacity = found.kind === 'processor' && recorded.rollout?.state !== 'live' ? await capacityOf(context, found.id) : [];
    return explanation({ snapshot: await withAgents(context, snapshot, found), planned, found, next: rehearsed === null ? null : { rehearsed, found }, recorded, capacity });
  },
});

/** The same on a fleet that was written down. */
export function explainFleet(snapshot: Snapshot, { subject }: z.output<typeof input>): Explanation {
  const found = findIn(snapshot, subject);
  const planned = plan(snapshot);
  const asked = projection(snapshot, planned, found);
  return explanation({ snapshot, planned, found, next: asked === null ? null : { rehearsed: rehearse(snapshot, asked.assumed, asked), found }, recorded: nothingRecorded, capacity: [] });
}

interface Told {
  readonly snapshot: Snapshot;
  readonly planned: Plan;
  readonly found: Found;
  readonly next: Projected | null;
  readonly recorded: Recorded;
  readonly capacity: string[];
}

const nothingRecorded: Recorded = { rollout: null, applied: null, commit: null };

async function readRecorded({ pool, settings }: OperatorContext, { placements }: Snapshot, id: ProcessorId): Promise<Recorded> {
  const placement = placements.find(({ processorId }) => processorId === id);
  const [commit = null] = placement === undefined ? [] : await readCommits(pool, placement.revision);
  return { rollout: await readRollout(pool, id), applied: settings.apply === 'ssa' ? await readAppliedOf(pool, id) : null, commit };
}

function explanation({ snapshot, planned, found, next, recorded, capacity }: Told): Explanation {
  const processor = found.kind === 'processor' ? explainProcessor(snapshot, planned, found.id) : null;
  const target = processor?.current?.target;
  const nodeId = found.kind === 'node' ? found.id : target?.kind === 'edge' ? target.nodeId : homeOf(processor);
  const node = nodeId === null ? null : explainNode(snapshot, planned, nodeId);
  return {
    at: formatInstant(snapshot.at),
    fleet: fleetPart(snapshot, planned),
    processor: processor === null ? null : processorPart(snapshot, processor, recorded),
    node: node === null ? null : nodePart(snapshot, node),
    next: next === null ? null : nextPart(snapshot, next),
    capacity,
  };
}

/** Of what is away from home, or nowhere, the home is what it waits for. */
function homeOf(processor: ReturnType<typeof explainProcessor>): NodeId | null {
  return processor?.spec.home.kind === 'edge' ? processor.spec.home.nodeId : null;
}

/** A snapshot of a healthy fleet says nothing of agents; whoever asks for one wants to know. */
async function withAgents({ pool }: OperatorContext, snapshot: Snapshot, found: Found): Promise<Snapshot> {
  if (found.kind === 'node') return snapshot;
  const own = snapshot.placements.filter(({ processorId }) => processorId === found.id);
  const nodes = new Set(own.flatMap(({ target }) => (target.kind === 'edge' ? [target.nodeId] : [])));
  const agents = await withClient(pool, (client) => readAgents(client, own, nodes));
  const known = new Set(snapshot.agents.map(({ processorId }) => processorId));
  return { ...snapshot, agents: [...snapshot.agents, ...agents.filter(({ processorId }) => !known.has(processorId))] };
}

/** @throws Failure `not-found` if nothing matches, or more than one */
function findIn(snapshot: Snapshot, subject: string): Found {
  const [, scope, name = subject] = /^(node|processor)\/(.+)$/.exec(subject) ?? [];
  const nodes = scope === 'processor' ? [] : snapshot.fleet.nodes.filter((node) => node.name === name || node.id === name);
  const processors = scope === 'node' ? [] : matchingProcessors(snapshot, name);
  const found: readonly Found[] = [...nodes.map(({ id }) => ({ kind: 'node', id }) as const), ...processors.map((id) => ({ kind: 'processor', id }) as const)];
  const [only] = found;
  if (only !== undefined && found.length === 1) return only;
  if (only === undefined) throw new Failure('not-found', `Neither a node nor a processor matches "${subject.slice(0, 80)}".`, { mend: 'Give a name as in `dory nodes` or `dory processors`.' });
  throw new Failure('not-found', `"${subject.slice(0, 80)}" matches ${String(found.length)} nodes and processors.`, { mend: 'Give more of it, or node/… or processor/….' });
}

function matchingProcessors({ fleet, placements }: Snapshot, name: string): readonly ProcessorId[] {
  const slugs = new Map(fleet.workloads.map(({ digest, slug }) => [digest, slug]));
  const specs = [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])];
  const known = [...new Set([...specs.map(({ id }) => id), ...fleet.quarantined.map(({ id }) => id), ...placements.map(({ processorId }) => processorId)])];
  const exact = known.filter((id) => id === name);
  if (exact.length > 0) return exact;
  const byId = known.filter((id) => id.startsWith(name.toLowerCase()));
  if (byId.length > 0) return byId;
  return specs.filter(({ id, workload }) => {
    const slug = slugs.get(workload) ?? '';
    // The hash is asked only of those that it can decide on.
    return name.startsWith(slug.slice(0, 1)) && processorStem(slug, processorHash(id)).startsWith(name);
  }).map(({ id }) => id);
}

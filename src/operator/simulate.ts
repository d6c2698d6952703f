import { z } from 'zod';
import { commitSubject } from '../commit/message.ts';
import { Failure } from '../model/failure.ts';
import type { ProcessorId, RevisionId } from '../model/ids.ts';
import { placementAfter, type Change, type Hold } from '../model/plan.ts';
import { targetName, type ManifestInput, type Placement } from '../model/placement.ts';
import { sentence } from '../model/reasons.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { elapsed, formatInstant } from '../model/time.ts';
import { processorHash, processorStem } from '../render/names.ts';
import type { ChartSettings } from '../render/props.ts';
import { manifestDiff } from './diff.ts';
import { operation } from './operation.ts';
import { inputsOf, type Inputs } from './plan.ts';
import { quantity } from '../model/quantity.ts';
import { rehearse, type Rehearsed, type RehearsedCommit } from './rehearse.ts';
import { rehearseLive } from './rehearse-live.ts';
import { scenarioInput, scenarioOf, withApprovals, type Scenario } from './scenario.ts';

const after = z.int().describe('After the failure, in milliseconds.');

const change = z.object({
  processor: z.string(),
  id: z.string(),
  kind: z.enum(['place', 'move', 'stop', 'resume', 'update', 'remove']),
  from: z.string().nullable(),
  to: z.string().nullable(),
  epoch: z.int().nullable(),
  reason: z.string(),
  why: z.string(),
  rejected: z.array(z.object({ target: z.string(), reason: z.string(), why: z.string() })),
  diff: z.string().nullable().describe('Of its manifest, unified; null beyond as many as were asked for.'),
});

const commit = z.object({
  decidedAfterMs: after,
  publishedAfterMs: after,
  subject: z.string(),
  count: z.int().describe('All of its changes; the list may have fewer.'),
  changes: z.array(change),
});

const simulation = z.object({
  at: z.string().describe('Of the snapshot, ISO 8601 in UTC.'),
  failed: z.array(z.object({ name: z.string(), processors: z.int().describe('Placed there at the beginning.') })),
  due: z.int().describe('Changes that are due without any failure; they are taken as done.'),
  endsAfterMs: after,
  quiet: z.boolean().describe('Whether nothing is left to come then.'),
  commits: z.array(commit),
  verdicts: z.array(z.object({ afterMs: after, node: z.string(), verdict: z.string(), why: z.string() })),
  guard: z.array(z.object({ afterMs: after, state: z.string(), why: z.string() })),
  targets: z.array(
    z.object({
      target: z.string(),
      gained: z.int().describe('Processors that came from the nodes that failed.'),
      cpu: z.number().describe('Cores that they request.'),
      memoryBytes: z.number(),
    }),
  ),
  holds: z.array(z.object({ reason: z.string(), count: z.int(), needsPerson: z.boolean(), processor: z.string().describe('The first of them.'), why: z.string() })).describe('At the end, by reason.'),
  unplaced: z.object({ count: z.int(), processors: z.array(z.string()) }).describe('At the end: nowhere, or on a node that is down.'),
});
export type Simulation = z.output<typeof simulation>;
export type SimulatedCommit = z.output<typeof commit>;

/** So many changes in all, and so many names: beyond, a list is for nobody, and the counts say the rest. */
const listed = 5000;

const input = z.strictObject({
  ...scenarioInput,
  diffs: z.int({ error: 'give a whole number from 0 to 1000' }).min(0).max(1000).default(0).describe('Show the diffs of so many manifests.'),
});
export type SimulateInput = z.output<typeof input>;

export const simulate = operation({
  name: 'simulate',
  method: 'GET',
  path: '/api/v1/simulate',
  summary: 'rehearse the loss of nodes: the commits that would follow, with their times; writes nothing',
  changesState: false,
  // It keeps a server busy for seconds, and with a large fleet for minutes.
  confidential: true,
  input,
  output: simulation,
  run: async (context, asked) => {
    const snapshot = withApprovals(await context.observe(), asked);
    if (asked.fail === undefined && asked.site === undefined && asked.at === undefined) throw nobodyFails();
    const scenario = scenarioOf(snapshot, asked);
    return simulationOf(snapshot, scenario, await rehearseLive(context, snapshot, scenario), { diffs: asked.diffs, manifests: context.manifests });
  },
});

/** The same on a fleet that was written down. */
export function simulateFleet(given: Snapshot, asked: SimulateInput, manifests: ChartSettings): Simulation {
  if (asked.fail === undefined && asked.site === undefined && asked.at === undefined) throw nobodyFails();
  const snapshot = withApprovals(given, asked);
  const scenario = scenarioOf(snapshot, asked);
  return simulationOf(snapshot, scenario, rehearse(snapshot, scenario.assumed, scenario), { diffs: asked.diffs, manifests });
}

function nobodyFails(): Failure {
  const mend = 'give nodes, a site or a share of the fleet';
  return new Failure('invalid-input', `fail: ${mend}.`, { problems: [{ field: 'fail', value: 'nothing', mend }] });
}

interface Telling {
  readonly diffs: number;
  readonly manifests: ChartSettings;
}

function simulationOf(snapshot: Snapshot, { nodes }: Scenario, rehearsed: Rehearsed, telling: Telling): Simulation {
  const inputs = inputsOf({ snapshot, before: new Map() });
  const names = new Map(snapshot.fleet.nodes.map(({ id, name }) => [id, name]));
  const sinceBegin = (at: Rehearsed['begin']): number => elapsed(rehearsed.begin, at);
  let { diffs } = telling;
  let room = listed;
  return {
    at: formatInstant(rehearsed.begin),
    failed: nodes.map(({ id, name }) => ({ name, processors: rehearsed.affected.filter(({ before: { target } }) => target.kind === 'edge' && target.nodeId === id).length })),
    due: rehearsed.due,
    endsAfterMs: sinceBegin(rehearsed.end),
    quiet: rehearsed.quiet,
    commits: rehearsed.commits.map((made) => {
      const [shown, told] = [Math.min(diffs, made.changes.length), Math.min(room, made.changes.length)];
      diffs -= shown;
      room -= told;
      return {
        decidedAfterMs: sinceBegin(made.decidedAt),
        publishedAfterMs: sinceBegin(made.publishedAt),
        subject: subjectOf(made, inputs),
        count: made.changes.length,
        changes: made.changes.slice(0, told).map((each, i) => changeOf(each, inputs, i < shown ? diffOf(each, made, inputs, telling) : null)),
      };
    }),
    verdicts: rehearsed.verdicts.map(({ at, nodeId, verdict, reason, evidence }) => ({ afterMs: sinceBegin(at), node: names.get(nodeId) ?? nodeId, verdict, why: sentence(reason, evidence) })),
    guard: rehearsed.guard.map(({ at, state, reason, evidence }) => ({ afterMs: sinceBegin(at), state, why: sentence(reason, evidence) })),
    targets: gains(rehearsed, inputs),
    holds: holdsByReason(rehearsed.holds, inputs),
    unplaced: { count: rehearsed.unplaced.length, processors: rehearsed.unplaced.slice(0, listed).map((id) => nameOf(id, inputs)) },
  };
}

function nameOf(id: ProcessorId, inputs: Inputs): string {
  return processorStem(inputs.get(id)?.workload.slug ?? 'processor', processorHash(id));
}

/** As the real commit would be called. */
function subjectOf({ changes }: RehearsedCommit, inputs: Inputs): string {
  const revision = 0 as RevisionId;
  return commitSubject(changes.map(({ processorId, kind, reason, evidence, before, after: next }) => ({
    revision, processorId, kind, reason, evidence, before, after: next, slug: inputs.get(processorId)?.workload.slug ?? null,
  })));
}

function changeOf({ processorId, kind, before, after: next, reason, evidence, rejected }: Change, inputs: Inputs, diff: string | null): SimulatedCommit['changes'][number] {
  return {
    processor: nameOf(processorId, inputs),
    id: processorId,
    kind,
    from: before === null ? null : targetName(before.target),
    to: next === null ? null : targetName(next.target),
    epoch: next?.epoch ?? null,
    reason,
    why: sentence(reason, evidence),
    rejected: rejected.map((r) => ({ target: targetName(r.target), reason: r.reason, why: sentence(r.reason, r.evidence) })),
    diff,
  };
}

function diffOf(made: Change, { decidedAt }: RehearsedCommit, inputs: Inputs, { manifests }: Telling): string {
  const input = inputs.get(made.processorId);
  const revision = ((made.before?.revision ?? 0) + 1) as RevisionId;
  const next = placementAfter(made, revision, decidedAt);
  const rendered = (placement: Placement | null): ManifestInput | null => (input === undefined || placement === null ? null : { ...input, placement });
  return manifestDiff(nameOf(made.processorId, inputs), rendered(made.before), rendered(next), manifests);
}

/** Where those went that had to leave, and what they ask for there. */
function gains({ affected }: Rehearsed, inputs: Inputs): Simulation['targets'] {
  const gained = new Map<string, Simulation['targets'][number]>();
  for (const { before, after: next } of affected) {
    if (next === null || targetName(next.target) === targetName(before.target)) continue;
    const target = targetName(next.target);
    const resources = inputs.get(before.processorId)?.workload.resources;
    const known = gained.get(target) ?? { target, gained: 0, cpu: 0, memoryBytes: 0 };
    gained.set(target, {
      target,
      gained: known.gained + 1,
      cpu: known.cpu + quantity(resources?.cpuRequest ?? '0'),
      memoryBytes: known.memoryBytes + quantity(resources?.memoryRequest ?? '0'),
    });
  }
  return [...gained.values()].map((gain) => ({ ...gain, cpu: Math.round(gain.cpu * 1000) / 1000 })).sort((a, b) => b.gained - a.gained || (a.target < b.target ? -1 : 1));
}

function holdsByReason(holds: readonly Hold[], inputs: Inputs): Simulation['holds'] {
  const groups = new Map<string, Simulation['holds'][number]>();
  for (const { reason, evidence, needsPerson, processorId } of holds) {
    const known = groups.get(reason);
    const first = { reason, count: 0, needsPerson, processor: nameOf(processorId, inputs), why: sentence(reason, evidence) };
    groups.set(reason, { ...(known ?? first), count: (known?.count ?? 0) + 1, needsPerson: needsPerson || known?.needsPerson === true });
  }
  return [...groups.values()].sort((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1));
}

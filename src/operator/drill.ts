import { z } from 'zod';
import type { EdgeNode, Fleet } from '../model/fleet.ts';
import type { NodeId } from '../model/ids.ts';
import type { GuardState, Snapshot } from '../model/snapshot.ts';
import { elapsed, formatInstant } from '../model/time.ts';
import { plan } from '../plan/plan.ts';
import { operation } from './operation.ts';
import type { Rehearsed } from './rehearse.ts';
import { rehearseLive } from './rehearse-live.ts';
import { scenarioFor, scenarioInput, scenarioOf, withApprovals } from './scenario.ts';

const states = ['calm', 'site-out', 'degraded', 'panic'] as const satisfies readonly GuardState[];

const loss = z.object({
  failed: z.array(z.string()),
  processors: z.int().describe('Placed there now.'),
  moved: z.int().describe('Of those, placed elsewhere or back at the end.'),
  commits: z.int(),
  doneAfterMs: z.int().nullable().describe('From the failure to the last commit; null: there was none.'),
  guard: z.enum(states).describe('The worst state on the way.'),
  held: z.int().describe('At the end, and not now.'),
  unplaced: z.int().describe('At the end: nowhere, or on a node that is down.'),
});

const drillResult = z.object({
  at: z.string().describe('Of the snapshot, ISO 8601 in UTC.'),
  now: z.object({ placed: z.int(), due: z.int().describe('Changes that wait to be decided.'), held: z.int(), guard: z.enum(states) }),
  losses: z.array(loss),
});
export type DrillResult = z.output<typeof drillResult>;

export const drill = operation({
  name: 'drill',
  method: 'GET',
  path: '/api/v1/drill',
  summary: 'rehearse losses on a copy of the live fleet, each node in turn if none is named, and say what would be left without a place; writes nothing',
  changesState: false,
  // It keeps a server busy for seconds, and with a large fleet for minutes.
  confidential: true,
  input: z.strictObject({
    ...scenarioInput,
    nodes: z.int({ error: 'give a whole number from 1 to 1000' }).min(1).max(1000).default(10).describe('Where no loss is named: each of so many nodes in turn, those with most processors first.'),
  }),
  output: drillResult,
  run: async (context, asked) => {
    const snapshot = withApprovals(await context.observe(), asked);
    const named = asked.fail !== undefined || asked.site !== undefined || asked.at !== undefined;
    const scenarios = named ? [scenarioOf(snapshot, asked)] : largest(snapshot, asked.nodes).map((node) => scenarioFor([node], asked));
    const planned = plan(snapshot);
    const losses: DrillResult['losses'] = [];
    for (const scenario of scenarios) losses.push(lossOf(scenario.nodes, await rehearseLive(context, snapshot, scenario), planned.holds.length));
    return {
      at: formatInstant(snapshot.at),
      now: { placed: snapshot.placements.length, due: planned.changes.length, held: planned.holds.length, guard: planned.guard.state },
      losses,
    };
  },
});

function largest({ fleet, placements }: Snapshot, count: number): Fleet['nodes'] {
  const sizes = new Map<NodeId, number>();
  for (const { target } of placements) if (target.kind === 'edge') sizes.set(target.nodeId, (sizes.get(target.nodeId) ?? 0) + 1);
  const size = ({ id }: EdgeNode): number => sizes.get(id) ?? 0;
  return fleet.nodes
    .filter((node) => !node.decommissioned && size(node) > 0)
    .sort((a, b) => size(b) - size(a) || (a.name < b.name ? -1 : 1))
    .slice(0, count);
}

function lossOf(nodes: readonly EdgeNode[], rehearsed: Rehearsed, heldNow: number): DrillResult['losses'][number] {
  const { affected, commits, guard, holds, unplaced, begin } = rehearsed;
  const left = new Set(unplaced);
  const last = commits.at(-1);
  return {
    failed: nodes.map(({ name }) => name),
    processors: affected.length,
    moved: affected.filter(({ before }) => !left.has(before.processorId)).length,
    commits: commits.length,
    doneAfterMs: last === undefined ? null : elapsed(begin, last.publishedAt),
    guard: states[Math.max(...guard.map(({ state }) => states.indexOf(state)))] ?? 'calm',
    held: Math.max(0, holds.length - heldNow),
    unplaced: unplaced.length,
  };
}

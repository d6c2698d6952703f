import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { EdgeNode } from '../model/fleet.ts';
import type { NodeId } from '../model/ids.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { seconds, type Millis } from '../model/time.ts';
import { siteOf } from '../plan/guard.ts';
import { digestText } from '../platform/digest.ts';
import { duration, text } from './fields.ts';
import type { Assumptions } from './rehearsal.ts';

/** What a rehearsal is asked: which nodes fail, how, and what the rest of the world does meanwhile. */
const day = seconds(24 * 3600);
const share = 'give a share such as 50%, above 0% and up to 100%';

export const scenarioInput = {
  fail: z.array(text('a node', 253)).max(1000).optional().describe('Nodes that fail, by name or id: a,b.'),
  site: text('a site', 253).optional().describe('All nodes of this site fail.'),
  at: z.string({ error: share }).regex(/^(?:[1-9]|[1-9]\d|100)%$/, { error: share }).optional().describe('Only this share of them fails, such as 50%; of the whole fleet where neither nodes nor a site are given.'),
  how: z.enum(['dead', 'silent', 'detached'], { error: 'give dead, silent or detached' }).default('dead').describe('dead: agents and kubelet; silent: the agents only; detached: the kubelet only.'),
  back: duration(seconds(1), day, '10m, up to 24h').optional().describe('They are back after so long.'),
  agents: z.enum(['acknowledge', 'silent', 'stuck'], { error: 'give acknowledge, silent or stuck' }).default('acknowledge').describe('What living agents do that are told to stop.'),
  stopTakes: duration(seconds(0), day, '10s').prefault('10s').describe('From the commit of a stop to the end of its pod.'),
  commitTakes: duration(seconds(0), day, '2s').prefault('2s').describe('From a decision to its commit.'),
  for: duration(seconds(1), day, '1h, up to 24h').prefault('1h').describe('Look so far ahead at most.'),
  approve: z.array(z.enum(['guard', 'budget'], { error: 'give guard or budget' })).max(2).default([]).describe('As if a person had approved this.'),
};
export type ScenarioInput = z.output<z.ZodObject<typeof scenarioInput>>;

export interface Scenario {
  /** By name. */
  readonly nodes: readonly EdgeNode[];
  readonly assumed: Assumptions;
  readonly horizon: Millis;
}

/** @throws Failure `not-found` if there is no such node or site */
export function scenarioOf(snapshot: Snapshot, input: ScenarioInput): Scenario {
  return scenarioFor(chosen(snapshot, input), input);
}

export function scenarioFor(nodes: readonly EdgeNode[], input: ScenarioInput): Scenario {
  const { how, back, agents, stopTakes, commitTakes } = input;
  const fail = new Set(nodes.map(({ id }) => id));
  return { nodes, horizon: input.for, assumed: { fail, how, backAfter: back ?? null, agents, stopTakes, commitTakes } };
}

/** As if somebody had approved it: for whatever it is about. */
export function withApprovals(snapshot: Snapshot, { approve }: Pick<ScenarioInput, 'approve'>): Snapshot {
  const given = approve.map((subject) => ({ subject, by: 'the rehearsal', at: snapshot.at, covers: null }));
  const others = snapshot.approvals.filter(({ subject }) => !approve.some((own) => own === subject));
  return { ...snapshot, approvals: [...others, ...given].sort((a, b) => (a.subject < b.subject ? -1 : 1)) };
}

/** Nodes that are in service, by name: the larger the share, the more of the same. */
function chosen(snapshot: Snapshot, { fail, site, at }: ScenarioInput): readonly EdgeNode[] {
  const inService = snapshot.fleet.nodes.filter(({ decommissioned }) => !decommissioned);
  const asked = fail === undefined && site === undefined ? inService : [...named(inService, fail ?? []), ...atSite(snapshot, inService, site ?? null)];
  const nodes = [...new Map(asked.map((node) => [node.id, node])).values()];
  const part = at === undefined ? nodes : nodes.sort(byDigest).slice(0, Math.ceil((nodes.length * Number(at.slice(0, -1))) / 100));
  if (part.length === 0) throw new Failure('not-found', 'No node is in service, so none can fail.');
  return part.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Neighbours by name would be of one site. */
function byDigest(a: EdgeNode, b: EdgeNode): number {
  return digestText(a.id) < digestText(b.id) ? -1 : 1;
}

function named(nodes: readonly EdgeNode[], names: readonly string[]): readonly EdgeNode[] {
  return names.map((name) => {
    const found = nodes.find((node) => node.name === name || node.id === name);
    if (found === undefined) throw new Failure('not-found', `No node in service matches "${name.slice(0, 80)}".`, { mend: 'Give its name or its id, as in `dory nodes`.' });
    return found;
  });
}

function atSite(snapshot: Snapshot, nodes: readonly EdgeNode[], site: string | null): readonly EdgeNode[] {
  if (site === null) return [];
  const labels = new Map<NodeId, string | null>(snapshot.nodes.map(({ nodeId, kubernetes }) => [nodeId, kubernetes.known ? kubernetes.value.site : null]));
  const sites = new Map(nodes.map((node) => [node, siteOf({ node }, labels.get(node.id) ?? null)]));
  const found = nodes.filter((node) => sites.get(node) === site);
  if (found.length > 0) return found;
  const known = [...new Set(sites.values())].sort();
  throw new Failure('not-found', `No node in service is at site "${site.slice(0, 80)}".`, { mend: `Known are ${known.slice(0, 10).join(', ')}${known.length > 10 ? ', …' : ''}.` });
}

import type { Digest, RevisionId } from '../model/ids.ts';
import { isUnfenced } from '../model/plan.ts';
import { targetName } from '../model/placement.ts';
import { reasonCodes, sentence, type Evidence, type ReasonCode } from '../model/reasons.ts';
import { digestText } from '../platform/digest.ts';
import { plainText } from './plain-text.ts';
import type { PendingChange, PendingRevision } from './revisions.ts';

/** What a commit's message is made from: nothing but rows, so that the same decision has the same message. */
export interface MessageInput {
  readonly cluster: string;
  /** Name and version of the program: `dory 0.2.0`. */
  readonly renderer: string;
  /** Oldest first; empty where only somebody else's edit is undone. */
  readonly pending: readonly PendingRevision[];
  /** Of all of `pending`, oldest first. */
  readonly changes: readonly PendingChange[];
  /** The revision that the tree is at. */
  readonly revision: RevisionId;
  readonly treeDigest: Digest;
  /** Ids of `dory.events` that `pending` acted on, rising. */
  readonly events?: readonly number[];
  /** Processors whose rows can't be rendered; their files stay as they were. */
  readonly quarantined?: number;
}

/** As many as a person reads; the diff has the rest. */
const movesShown = 50;
const totalsShown = 20;
/** Trailers are for machines, and one line each: of ids and ranges that many are kept. */
const rangesShown = 40;
const subjectLength = 72;

/**
 * The decision record: what happened in 72 characters, totals from → to, the first moves one by one with their reasons, and trailers
 * for machines. Names in it come from a database that others write, so nothing of them can start a line or end one.
 */
export function commitMessage(input: MessageInput): string {
  const changes = lastOfEach(input.changes);
  const body = [totals(changes), moves(changes), remarks(changes, input.quarantined ?? 0)].filter((part) => part !== '');
  return `${[commitSubject(changes), ...body, trailers(input, changes)].join('\n\n')}\n`;
}

/** A processor that changed twice before the remote was back is told once: from where it was to where it is. */
function lastOfEach(changes: readonly PendingChange[]): readonly PendingChange[] {
  const merged = new Map<string, PendingChange>();
  for (const change of changes) {
    const earlier = merged.get(change.processorId);
    merged.set(change.processorId, earlier === undefined ? change : { ...change, before: earlier.before });
  }
  return [...merged.values()];
}

interface Headline {
  /** `failover(edge-17)`, `place`, … */
  readonly topic: string;
  readonly verb: string;
  /** In a few words; empty where the topic says it. */
  readonly why: string;
}

interface Group extends Headline {
  readonly count: number;
}

/** The longest of the texts that fits: with the reason, with what else there is, with the nodes' number for their names. */
export function commitSubject(changes: readonly PendingChange[]): string {
  const groups = grouped(changes);
  const [first] = groups;
  if (first === undefined) return 'restore: files that others changed';
  const alike = groups.filter(({ topic, verb }) => kindOf(topic) === kindOf(first.topic) && verb === first.verb);
  const count = alike.reduce((sum, group) => sum + group.count, 0);
  const topic = alike.length === 1 ? first.topic : `${kindOf(first.topic)}(${String(alike.length)} nodes)`;
  const what = `${topic}: ${first.verb === '' ? '' : `${first.verb} `}${processors(count)}`;
  const rest = changes.length > count ? `, ${String(changes.length - count)} others` : '';
  const why = first.why === '' ? '' : ` (${first.why})`;
  return [what + rest + why, what + rest, what].find((text) => text.length <= subjectLength) ?? plainText(what, subjectLength);
}

function processors(count: number): string {
  return count === 1 ? '1 processor' : `${String(count)} processors`;
}

function kindOf(topic: string): string {
  return topic.replace(/\(.*$/, '');
}

/** Failovers before all others, for they are what one looks for in a log; then the largest. */
function grouped(changes: readonly PendingChange[]): readonly Group[] {
  const groups = new Map<string, Group>();
  for (const change of changes) {
    const { topic, verb, why } = headline(change);
    const known = groups.get(`${topic}\n${verb}`);
    groups.set(`${topic}\n${verb}`, { topic, verb, why: known?.why ?? why, count: (known?.count ?? 0) + 1 });
  }
  const rank = ({ topic }: Group): number => (topic.startsWith('failover') ? 0 : 1);
  return [...groups.values()].sort((a, b) => rank(a) - rank(b) || b.count - a.count || (a.topic + a.verb < b.topic + b.verb ? -1 : 1));
}

function headline({ kind, reason, evidence, before }: PendingChange): Headline {
  const node = plainText(String(evidence['node'] ?? (before === null ? 'fleet' : targetName(before.target))), 24);
  switch (kind) {
    case 'place': return reason === 'first-placement' ? { topic: 'place', verb: '', why: '' } : { topic: occasion(reason, node), verb: 'place', why: shortWhy(reason, evidence) };
    case 'move': return { topic: occasion(reason, node), verb: 'move', why: evidence['fence'] === undefined || deadly.has(reason) ? shortWhy(reason, evidence) : 'old pods stopped' };
    case 'stop': return { topic: occasion(reason, node), verb: 'stop', why: shortWhy(reason, evidence) };
    case 'resume': return { topic: 'resume', verb: '', why: 'they stay after all' };
    case 'update': return { topic: 'update', verb: '', why: plainText(String(evidence['changed'] ?? ''), 60) };
    case 'remove': return { topic: 'remove', verb: '', why: '' };
  }
}

const occasions: Readonly<Partial<Record<ReasonCode, string>>> = {
  'heartbeat-stale': 'failover', 'node-dead': 'failover', 'node-not-ready': 'failover', 'node-silent': 'failover', 'node-detached': 'failover',
  'node-recovered': 'failback', 'node-decommissioned': 'decommission', 'epochs-repaired': 'repair',
};

function occasion(reason: ReasonCode, node: string): string {
  const topic = occasions[reason];
  return topic === undefined ? 'move' : `${topic}(${node})`;
}

/** The whole sentence is in the body. */
/** Of a dead node one wants to know how it was seen to be dead, even where its leases fence it. */
const deadly: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['heartbeat-stale', 'node-dead', 'node-not-ready']);

function shortWhy(reason: ReasonCode, evidence: Evidence): string {
  const seconds = (key: string): string => `${String(Math.round(Number(evidence[key] ?? 0) / 1000))} s`;
  const short: Readonly<Partial<Record<ReasonCode, string>>> = {
    'heartbeat-stale': `heartbeat stale ${seconds('staleMs')}`,
    'node-silent': `Ready, heartbeat stale ${seconds('staleMs')}`,
    'node-dead': `not Ready, heartbeat stale ${seconds('staleMs')}`,
    'node-not-ready': `not Ready for ${seconds('notReadyMs')}`,
    'node-detached': `beats, but not Ready for ${seconds('notReadyMs')}`,
    'node-recovered': `steady for ${seconds('steadyMs')}`,
  };
  return short[reason] ?? '';
}

function totals(changes: readonly PendingChange[]): string {
  const counts = new Map<string, number>();
  for (const change of changes) {
    if (change.kind === 'update') continue;
    const route = routeOf(change);
    counts.set(route, (counts.get(route) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  const left = sorted.slice(totalsShown);
  const lines = sorted.slice(0, totalsShown).map(([route, count]) => `${String(count).padStart(5)}  ${route}`);
  const more = left.reduce((sum, [, count]) => sum + count, 0);
  return [...lines, ...(left.length > 0 ? [`${String(more).padStart(5)}  on ${String(left.length)} other routes`] : [])].join('\n');
}

function routeOf({ before, after, kind }: PendingChange): string {
  const from = before === null ? null : plainText(targetName(before.target), 63);
  const to = after === null ? 'removed' : plainText(targetName(after.target), 63);
  if (kind === 'stop') return `${to}: stopping`;
  return from === null ? `→ ${to}` : from === to ? to : `${from} → ${to}`;
}

function moves(changes: readonly PendingChange[]): string {
  const lines = changes.slice(0, movesShown).map((change) => {
    const epoch = change.after === null ? '' : ` (epoch ${String(change.after.epoch)})`;
    return `- ${nameOf(change)}: ${routeOf(change)}${epoch}: ${why(change)}`;
  });
  const left = changes.length - lines.length;
  return [...lines, ...(left > 0 ? [`- and ${String(left)} more`] : [])].join('\n');
}

/** As its file is called, by which one finds it. */
function nameOf({ slug, processorId }: PendingChange): string {
  return slug === null ? processorId : `${plainText(slug, 30).replace(/-+$/, '')}-${digestText(processorId).slice(0, 12)}`;
}

function why(change: PendingChange): string {
  const { reason, evidence } = change;
  const known = (code: unknown): code is ReasonCode => reasonCodes.includes(code as ReasonCode);
  const fence = evidence['fence'];
  const sentences = [
    known(reason) ? sentence(reason, evidence) : String(reason),
    ...(known(fence) ? [sentence(fence, evidence)] : []),
    ...(isUnfenced(change) ? ['unfenced'] : []),
  ];
  return plainText(sentences.join('; '), 300);
}

function remarks(changes: readonly PendingChange[], quarantined: number): string {
  const unfenced = changes.filter(isUnfenced).length;
  return [
    ...(unfenced === 0 ? [] : [`Unfenced moves: ${String(unfenced)}. Only the silence or the word of agents without leases shows that their old pods stopped; their next heartbeat tells them to.`]),
    ...(quarantined === 0 ? [] : [`In quarantine: ${processors(quarantined)}. Their files stay as they were; \`dory status\` says what is wrong.`]),
  ].join('\n');
}

function trailers({ cluster, renderer, pending, revision, treeDigest, events = [] }: MessageInput, changes: readonly PendingChange[]): string {
  const triggers = pending.length === 0 ? ['foreign-edit'] : [...new Set(pending.map(({ trigger }) => trigger as string))];
  const inputs = pending.at(-1)?.inputsDigest;
  // By which log lines and events are found; of many, the last.
  const cycles = pending.flatMap(({ cycle }) => cycle ?? []).slice(-rangesShown);
  const lines: readonly (readonly [string, string] | null)[] = [
    ['Dory-Cluster', cluster],
    ['Dory-Revision', String(revision)],
    pending.length > 1 ? ['Dory-Revisions', ranges(pending.map(({ id }) => id))] : null,
    ['Dory-Trigger', triggers.join(',')],
    events.length > 0 ? ['Dory-Events', ranges(events)] : null,
    cycles.length > 0 ? ['Dory-Cycle', cycles.join(',')] : null,
    ['Dory-Changes', String(changes.length)],
    // Of the newest revision: what came before it is in the database.
    inputs === undefined ? null : ['Dory-Inputs-Digest', inputs],
    ['Dory-Tree-Digest', treeDigest],
    ['Dory-Renderer', renderer],
  ];
  return lines.flatMap((line) => (line === null ? [] : [`${line[0]}: ${plainText(line[1], 400)}`])).join('\n');
}

/** Rising numbers as `1-3,5`; `+n` at the end for ranges that are left out. */
function ranges(numbers: readonly number[]): string {
  const found: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const open = found.at(-1);
    if (open?.last === number - 1) open.last = number;
    else found.push({ first: number, last: number });
  }
  const shown = found.slice(0, rangesShown).map(({ first, last }) => (first === last ? String(first) : `${String(first)}-${String(last)}`));
  return [...shown, ...(found.length > rangesShown ? [`+${String(found.length - rangesShown)}`] : [])].join(',');
}

/** What the trailers of a commit of ours say, by name; empty if its last paragraph is not made of trailers. */
export function parseTrailers(message: string): ReadonlyMap<string, string> {
  const lines = (message.trimEnd().split(/\n{2,}/).at(-1) ?? '').split('\n');
  const found = lines.map((line) => /^([A-Za-z][A-Za-z0-9-]*): (.*)$/.exec(line));
  return new Map(found.includes(null) ? [] : found.flatMap((match) => (match?.[1] === undefined || match[2] === undefined ? [] : [[match[1], match[2]] as const])));
}

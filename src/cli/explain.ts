import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { explain, explainFleet } from '../operator/explain.ts';
import type { Explanation } from '../operator/explain-parts.ts';
import type { CliContext } from './context.ts';
import { pageCommand } from './operation-command.ts';
import { printable, type Paint } from './output.ts';

export function explainCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: explain,
    positional: ['subject'],
    examples: ['explain people-counter-1f2e3d4c5b6a', 'explain edge-17', 'explain node/edge-17 -o json', 'explain edge-17 --fleet config/fleet.example.yaml'],
    page: explanationPage,
    fleet: explainFleet,
  });
}

type Node = NonNullable<Explanation['node']>;
type Processor = NonNullable<Explanation['processor']>;
type Line = readonly [label: string, text: string];

const span = (ms: number): string => formatMillis(millis(ms));
const ago = (ms: number | null): string => (ms === null ? 'never' : `${span(ms)} ago`);

/** As `kubectl describe` does it: what it is, what is known, what was decided, what comes next. */
export function explanationPage(explanation: Explanation, format: 'table' | 'wide', paint: Paint): string {
  const { processor, node, fleet, next, capacity } = explanation;
  const parts = [
    ...(processor === null ? [] : processorLines(processor, format)),
    ...numbered('Capacity', capacity),
    ...(node === null ? [] : nodeLines(node, processor !== null)),
    ...fleetLines(fleet),
    // What is decided now is not what comes next.
    [(processor?.planned ?? null) === null && (node?.planned.length ?? 0) === 0 ? 'Next' : 'Then', nextText(next)] as const,
  ];
  const width = Math.max(...parts.map(([label]) => label.length)) + 2;
  return `${parts.map(([label, text]) => `${paint('bold', `${label}${label === '' ? '' : ':'}`.padEnd(width))}${printable(text)}`).join('\n')}\n`;
}

function processorLines(processor: Processor, format: 'table' | 'wide'): Line[] {
  const { placement, planned, hold, end, locks, quarantined } = processor;
  return [
    ['Processor', `${processor.name} (${processor.id})`],
    ['Template', `${processor.template} ${processor.version}, namespace ${processor.namespace}`],
    ['Home', processor.home],
    ['Placement', placement === null ? 'none' : `${placement.phase} on ${placement.target}, epoch ${String(placement.epoch)}, for ${span(placement.ageMs)} (${placement.reason}, revision ${String(placement.revision)})`],
    ...agentLines(processor),
    ...commitLines(processor),
    ...rolloutLines(processor),
    ...appliedLines(processor),
    ['Policy', policyText(processor, format)],
    ...numbered('Candidates', processor.candidates.map(({ target, role, chosen, why }) => `${target} (${role}): ${why ?? (chosen ? 'chosen' : 'fit')}`)),
    ...(end === null ? [] : [['Old pod', `${end.passed && end.reason !== null ? 'has ended' : 'may still run'}: ${end.why}`] as const]),
    ['Decision', planned === null ? 'stays as it is' : `${planned.kind}${planned.to === null ? '' : ` ${planned.kind === 'move' ? 'to' : 'on'} ${planned.to}`}: ${planned.why}`],
    ...(hold === null ? [] : holdLines(hold)),
    ...numbered('Locks', locks.map(({ name, owner, reason, until }) => `${name} by ${owner} until ${until}: ${reason}`)),
    ...numbered('Quarantine', (quarantined ?? []).map(({ field, value, mend }) => `${field}${value === null ? '' : ` is ${JSON.stringify(value)}`}: ${mend}`)),
  ];
}

function agentLines({ agent, placement }: Processor): Line[] {
  if (agent === null) return [];
  const stop = agent.confirmedBy !== null ? `confirmed by ${agent.confirmedBy}` : agent.acknowledgedMs !== null ? `acknowledged ${ago(agent.acknowledgedMs)}` : 'not acknowledged';
  const lease = agent.leaseMs === null ? 'none: it never echoed its placement epoch' : agent.leaseMs > 0 ? `good for ${span(agent.leaseMs)}` : `over since ${span(0 - agent.leaseMs)}`;
  return [
    ['Agent', `last beat ${ago(agent.lastBeatMs)}; lease ${lease}; commit ${agent.publishedMs === null ? 'not on the remote yet' : `on the remote ${ago(agent.publishedMs)}`}`],
    // Nobody waits for the stop of what runs.
    ...(placement?.phase === 'stopping' ? [['', `stop ${stop}; pods ${agent.pods}`] as const] : []),
  ];
}

function commitLines({ commit }: Processor): Line[] {
  if (commit === null) return [];
  const { state, liveMs } = commit;
  const live = state === 'unknown' || liveMs === null ? '' : `; ${state === 'live' ? 'live after' : 'under way for'} ${span(liveMs)}`;
  return [['Commit', `${commit.commit.slice(0, 12)} at ${commit.committedAt}${live}`]];
}

function appliedLines({ applied }: Processor): Line[] {
  if (applied === null) return [];
  const problems = applied.problems.flatMap(({ object, reason, ageMs, detail, mend }) => [`${object}: ${reason} for ${span(ageMs)}: ${detail}`, ...(mend === null ? [] : [`  ${mend}`])]);
  return [
    ...numbered('Cluster', problems.length === 0 ? ['as committed'] : problems),
    ...numbered('Drift', applied.drift.map(({ object, ageMs, why }) => `${span(ageMs)} ago ${object}: ${why}`)),
  ];
}

function rolloutLines({ rollout }: Processor): Line[] {
  if (rollout === null) return [];
  const { state, ageMs, why, mend } = rollout;
  return [
    ['Roll-out', `${state}${ageMs === null ? '' : ` for ${span(ageMs)}`}${why === null ? '' : `: ${why}`}`],
    ...(mend === null ? [] : [['', mend] as const]),
  ];
}

/** What differs from the default first; all of it with `-o wide`. */
function policyText({ policy }: Processor, format: 'table' | 'wide'): string {
  const shown = policy.filter(({ origin, field }) => format === 'wide' || origin !== 'default' || field === 'onFailure' || field === 'failback' || field === 'targets');
  return shown.map(({ field, value, origin }) => `${field}=${value} (${origin})`).join('; ');
}

function holdLines({ why, needsPerson, mend, withheld }: NonNullable<Processor['hold']>): Line[] {
  return [
    ['Held', `${withheld === null ? '' : `${withheld}: `}${why}${needsPerson ? ' (waits for a person)' : ''}`],
    ...(mend === null ? [] : [['', mend] as const]),
  ];
}

function nodeLines(node: Node, besideProcessor: boolean): Line[] {
  const { heartbeat, kubernetes, processors, failover, flaps } = node;
  const kubelet = kubernetes.kubeletMs === null ? '' : `, kubelet seen ${ago(kubernetes.kubeletMs)}`;
  return [
    ['Node', `${node.name}${besideProcessor ? '' : ` (${node.id})`}, site ${node.site}`],
    ['Verdict', `${node.verdict} for ${span(node.ageMs)}${node.sure ? '' : ' (not sure: facts are missing)'}: ${node.why}`],
    ['Heartbeat', heartbeat.at === null ? 'never' : `${heartbeat.state}, ${ago(heartbeat.ageMs)} (${heartbeat.at})`],
    ['Kubernetes', `${kubernetes.state}${kubernetes.ready === null ? '' : `: Ready=${kubernetes.ready} for ${span(kubernetes.sinceMs ?? 0)}`}${kubelet}${kubernetes.taints.length === 0 ? '' : `; taints ${kubernetes.taints.join(', ')}`}`],
    ['Flaps', `${String(flaps)}; must be steady for ${span(node.windowMs)} before processors go home`],
    ['Failover', `${failover.enabled ? 'on' : 'off'}${failover.target === null ? '' : `, first to ${failover.target}`}`],
    ['Processors', `${String(processors.placed)} placed (${String(processors.stopping)} stopping), home of ${String(processors.home)}`],
    ...(besideProcessor ? [] : numbered('Decisions', node.planned.map(({ kind, reason, count }) => `${kind} ${String(count)}: ${reason}`))),
    ...(besideProcessor ? [] : numbered('Held', node.holds.map(({ why, count, needsPerson }) => `${String(count)}: ${why}${needsPerson ? ' (waits for a person)' : ''}`))),
    ...numbered('Node locks', node.locks.map(({ owner, reason, until }) => `by ${owner} until ${until}: ${reason}`)),
  ];
}

function fleetLines({ guard, paused, intake, refusals }: Explanation['fleet']): Line[] {
  return [
    ['Fleet guard', `${guard.state}: ${guard.why}`],
    ...(paused === null ? [] : [['Paused', `by ${paused.by} since ${paused.since}: ${paused.reason}`] as const]),
    ...(intake === null ? [] : [['Intake', `silence is no evidence: ${intake}`] as const]),
    ...numbered('Refused', refusals.map(({ why, subject }) => `${why}; dory approve ${subject} lets it happen`)),
  ];
}

function nextText(next: Explanation['next']): string {
  if (next === null) return 'nothing within the next minutes, if nothing changes';
  const { inMs, kind, to, count, why } = next;
  return `${inMs === 0 ? 'now' : `in ${span(inMs)}, if nothing changes`}: ${kind}${count > 1 ? ` ${String(count)} processors` : ''}${to === null ? '' : ` ${kind === 'move' ? 'to' : 'on'} ${to}`}: ${why}`;
}

/** The label once, then a line each. */
function numbered(label: string, lines: readonly string[]): Line[] {
  return lines.map((line, i) => [i === 0 ? label : '', line] as const);
}

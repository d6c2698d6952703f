import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { simulate, simulateFleet, type SimulatedCommit, type Simulation } from '../operator/simulate.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { pageCommand } from './operation-command.ts';
import { printable, table, type Paint } from './output.ts';
import { paintPatch } from './plan-page.ts';
import { manifestSettings } from './render-settings.ts';

export function simulateCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: simulate,
    details: 'Exits with 4 if a processor would be left without a place. The real rules decide; agents, stops and commits take as long as the flags say.',
    examples: [
      'simulate --fail edge-17', 'simulate --site harbor --diffs 3', 'simulate --at 50% --approve guard',
      'simulate --fleet config/fleet.example.yaml --fail harbor-edge-1,harbor-edge-2 --back 10m',
    ],
    page: simulationPage,
    exit: ({ unplaced }) => (unplaced.count > 0 ? exitCodes.held : exitCodes.ok),
    fleet: (snapshot, input, settings) => simulateFleet(snapshot, input, manifestSettings(settings)),
  });
}

/** Enough to see what would happen; `-o json` has all. */
const shown = 10;
const span = (ms: number): string => formatMillis(millis(ms));
const clock = (ms: number): string => `T+${span(ms)}`.padEnd(10);

/** A story in the order of time, then what it comes to. */
export function simulationPage(simulation: Simulation, format: 'table' | 'wide', paint: Paint): string {
  const { failed, commits, unplaced, quiet, endsAfterMs, due } = simulation;
  const processors = failed.reduce((sum, node) => sum + node.processors, 0);
  const names = failed.slice(0, shown).map(({ name }) => name).join(', ');
  const more = failed.length > shown ? ` and ${String(failed.length - shown)} more` : '';
  return [
    paint('bold', printable(`If ${names}${more} failed (processors placed there: ${String(processors)})`)),
    ...(due > 0 ? [`Due without that, and taken as done: ${due === 1 ? '1 change' : `${String(due)} changes`}.`] : []),
    '',
    ...story(simulation, format, paint),
    '',
    ...outcome(simulation),
    paint('bold', `Commits: ${String(commits.length)}. Left without a place: ${String(unplaced.count)}. ${quiet ? `Quiet after ${span(endsAfterMs)}.` : `Not quiet after ${span(endsAfterMs)}: --for looks further.`}`),
    '',
  ].join('\n');
}

function story({ verdicts, guard, commits }: Simulation, format: 'table' | 'wide', paint: Paint): string[] {
  const seen = (format === 'wide' ? verdicts.map((verdict) => ({ ...verdict, others: 0 })) : condensed(verdicts)).map(({ afterMs, node, verdict, why, others }) => ({
    afterMs,
    order: 0,
    lines: [`${printable(`${node} ${verdict}: ${why}`)}${others > 0 ? ` (and ${String(others)} more nodes)` : ''}`],
  }));
  const states = guard.slice(guard[0]?.state === 'calm' ? 1 : 0).map(({ afterMs, state, why }) => ({ afterMs, order: 1, lines: [printable(`fleet guard ${state}: ${why}`)] }));
  const made = commits.map((commit) => ({ afterMs: commit.decidedAfterMs, order: 2, lines: commitLines(commit, format, paint) }));
  return [...seen, ...states, ...made]
    .sort((a, b) => a.afterMs - b.afterMs || a.order - b.order)
    .flatMap(({ afterMs, lines: [first = '', ...others] }) => [`${paint('dim', clock(afterMs))} ${first}`, ...others]);
}

type Judged = Simulation['verdicts'][number];

/** Many nodes that are judged alike at one moment are one line. */
function condensed(verdicts: readonly Judged[]): readonly (Judged & { readonly others: number })[] {
  const groups = new Map<string, Judged & { others: number }>();
  for (const judged of verdicts) {
    const key = `${String(judged.afterMs)} ${judged.verdict}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { ...judged, others: 0 });
    else group.others += 1;
  }
  return [...groups.values()];
}

function commitLines({ subject, changes, count, publishedAfterMs, decidedAfterMs }: SimulatedCommit, format: 'table' | 'wide', paint: Paint): string[] {
  const listed = changes.slice(0, format === 'wide' ? changes.length : shown);
  const left = count - listed.length;
  return [
    `${paint('green', printable(`commit ${subject}`))} (pushed after ${span(publishedAfterMs - decidedAfterMs)})`,
    ...listed.map(({ processor, kind, from, to, epoch }) => printable(`             ${kind} ${processor} ${from !== null && to !== null && from !== to ? `${from} → ${to}` : (to ?? from ?? '')}${epoch === null ? '' : ` (epoch ${String(epoch)})`}`)),
    ...(left > 0 ? [`             … and ${String(left)} more`] : []),
    ...changes.flatMap(({ diff }) => (diff === null ? [] : [paintPatch(diff, paint)])),
  ];
}

function outcome({ targets, holds }: Simulation): string[] {
  const requests = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const gained = targets.length === 0 ? [] : [table([
    { header: 'TARGET', of: (t: Simulation['targets'][number]) => t.target },
    { header: 'GAINS', of: ({ gained: count }) => String(count) },
    { header: 'CPU', of: ({ cpu }) => String(cpu) },
    { header: 'MEMORY', of: ({ memoryBytes }) => requests(memoryBytes) },
  ], targets, 'table')];
  const held = holds.map(({ count, why, needsPerson, processor }) => printable(`held: ${String(count)}${needsPerson ? ', for a person' : ''}: ${processor}: ${why}`));
  return [...gained, ...held, ...(held.length > 0 ? [''] : [])];
}

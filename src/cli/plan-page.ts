import type { ProcessorId } from '../model/ids.ts';
import type { Change } from '../model/plan.ts';
import { targetName } from '../model/placement.ts';
import { sentence } from '../model/reasons.ts';
import type { PlanDocument } from '../operator/plan.ts';
import { printable, type Paint } from './output.ts';

/** A plan as people know them: a line a change with its reason, diffs, what is held, and a summary. */
export function planPage(document: PlanDocument, paint: Paint): string {
  const { changes, diffs } = document;
  const lines = changes.map((change) => changeLine(change, document, paint));
  const left = changes.length - diffs.length;
  return [
    ...lines,
    ...(lines.length > 0 ? [''] : []),
    ...diffs.map(({ diff }) => paintPatch(diff, paint)),
    ...(left > 0 && diffs.length > 0 ? [paint('dim', `… and the manifests of ${String(left)} more: --full shows them\n`)] : []),
    ...holdLines(document, paint),
    summaryLine(document, paint),
    '',
  ].join('\n');
}

const signs = { place: '+', move: '→', stop: '!', resume: '↩', update: '~', remove: '-' } as const;
const colors = { place: 'green', move: 'cyan', stop: 'yellow', resume: 'yellow', update: 'yellow', remove: 'red' } as const;

function nameOf(id: ProcessorId, { names }: PlanDocument): string {
  return `${names[id] ?? 'processor'} ${id}`;
}

function changeLine(change: Change, document: PlanDocument, paint: Paint): string {
  const { kind, processorId } = change;
  const from = change.before === null ? null : targetName(change.before.target);
  const to = change.after === null ? null : targetName(change.after.target);
  const where = from !== null && to !== null && from !== to ? `${from} → ${to}` : (to ?? from ?? '');
  const epoch = change.after === null ? '' : ` (epoch ${String(change.after.epoch)})`;
  return `  ${signs[kind]} ${paint(colors[kind], printable(`${kind} ${nameOf(processorId, document)}`))}${printable(` ${where}${epoch}: ${sentence(change.reason, change.evidence)}`)}`;
}

/** A unified diff, with what a terminal would obey as text, in colours. */
export function paintPatch(patch: string, paint: Paint): string {
  return patch.split('\n').map((line) => paintLine(printable(line), paint)).join('\n');
}

function paintLine(line: string, paint: Paint): string {
  if (line.startsWith('+++') || line.startsWith('---')) return paint('bold', line);
  if (line.startsWith('@@')) return paint('cyan', line);
  if (line.startsWith('+')) return paint('green', line);
  return line.startsWith('-') ? paint('red', line) : line;
}

function holdLines(document: PlanDocument, paint: Paint): string[] {
  const { holds, refusals, quarantined } = document;
  const lines = [
    ...refusals.map(({ subject, reason, evidence }) => `  ${sentence(reason, evidence)}; dory approve ${subject} lets it happen`),
    ...holds.flatMap(({ processorId, reason, evidence, rejected }) => [
      `  ${nameOf(processorId, document)}: ${sentence(reason, evidence)}`,
      ...rejected.map((r) => `    not ${targetName(r.target)}: ${sentence(r.reason, r.evidence)}`),
    ]),
    ...quarantined.flatMap(({ id, problems }) => problems.map((p) => `  ${id}: ${p.field}${p.value === null ? '' : ` is ${JSON.stringify(p.value)}`}: ${p.mend}`)),
  ];
  return lines.length === 0 ? [] : [paint('bold', 'Held or in quarantine:'), ...lines.map(printable), ''];
}

function summaryLine({ changes, holds, refusals, quarantined }: PlanDocument, paint: Paint): string {
  const kinds = ['place', 'move', 'stop', 'resume', 'update', 'remove'] as const;
  const counts = kinds.map((kind) => [kind, changes.filter((change) => change.kind === kind).length] as const).filter(([, n]) => n > 0);
  const what = counts.length === 0 ? 'no changes' : counts.map(([kind, n]) => `${String(n)} to ${kind}`).join(', ');
  return paint('bold', `Plan: ${what}; ${String(holds.length + refusals.length)} held, ${String(quarantined.length)} in quarantine.`);
}

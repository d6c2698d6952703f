import { createTwoFilesPatch } from 'diff';
import type { ProcessorId, RevisionId } from '../model/ids.ts';
import { placementAfter, type Change, type Plan } from '../model/plan.ts';
import { targetName, type ManifestInput } from '../model/placement.ts';
import { sentence } from '../model/reasons.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { printable, type Paint } from './output.ts';

/** What is planned, and what it is compared with. */
export interface Preview {
  readonly snapshot: Snapshot;
  readonly planned: Plan;
  /** What is rendered now. */
  readonly before: ReadonlyMap<ProcessorId, ManifestInput>;
}

export interface PageOptions {
  readonly paint: Paint;
  /** Of how many manifests the diff is shown. */
  readonly diffs: number;
  readonly manifest: (input: ManifestInput) => string;
}

/** A plan as people know them: a line a change with its reason, diffs, what is held, and a summary. */
export function planPage(preview: Preview, options: PageOptions): string {
  const { planned } = preview;
  const { paint, diffs } = options;
  const inputs = inputsOf(preview);
  const lines = planned.changes.map((change) => changeLine(change, inputs, paint));
  const shown = planned.changes.slice(0, diffs);
  const left = planned.changes.length - shown.length;
  return [
    ...lines,
    ...(lines.length > 0 ? [''] : []),
    ...shown.map((change) => manifestDiff(change, preview, inputs, options)),
    ...(left > 0 && diffs > 0 ? [paint('dim', `… and the manifests of ${String(left)} more: --full shows them\n`)] : []),
    ...holdLines(planned, inputs, paint),
    summaryLine(planned, paint),
    '',
  ].join('\n');
}

const signs = { place: '+', move: '→', stop: '!', resume: '↩', update: '~', remove: '-' } as const;
const colors = { place: 'green', move: 'cyan', stop: 'yellow', resume: 'yellow', update: 'yellow', remove: 'red' } as const;

type Inputs = ReadonlyMap<ProcessorId, Omit<ManifestInput, 'placement'>>;

/** What each processor would be rendered from, without its placement; of those that are removed, what they were. */
function inputsOf({ snapshot: { fleet }, before }: Preview): Inputs {
  const workloads = new Map(fleet.workloads.map((workload) => [workload.digest, workload]));
  const inputs = new Map<ProcessorId, Omit<ManifestInput, 'placement'>>(before);
  for (const spec of [...fleet.processors, ...fleet.quarantined.flatMap(({ lastGood }) => lastGood ?? [])]) {
    const workload = workloads.get(spec.workload);
    if (workload !== undefined) inputs.set(spec.id, { spec, workload });
  }
  return inputs;
}

function nameOf(id: ProcessorId, inputs: Inputs): string {
  return `${inputs.get(id)?.workload.slug ?? 'processor'} ${id}`;
}

function changeLine(change: Change, inputs: Inputs, paint: Paint): string {
  const { kind, processorId } = change;
  const from = change.before === null ? null : targetName(change.before.target);
  const to = change.after === null ? null : targetName(change.after.target);
  const where = from !== null && to !== null && from !== to ? `${from} → ${to}` : (to ?? from ?? '');
  const epoch = change.after === null ? '' : ` (epoch ${String(change.after.epoch)})`;
  return `  ${signs[kind]} ${paint(colors[kind], printable(`${kind} ${nameOf(processorId, inputs)}`))}${printable(` ${where}${epoch}: ${sentence(change.reason, change.evidence)}`)}`;
}

function manifestDiff(change: Change, preview: Preview, inputs: Inputs, { manifest, paint }: PageOptions): string {
  const { snapshot, before } = preview;
  const old = before.get(change.processorId);
  const input = inputs.get(change.processorId);
  // The number that the decision would get.
  const revision = (Math.max(0, ...snapshot.placements.map((placement) => placement.revision)) + 1) as RevisionId;
  const placement = placementAfter(change, revision, snapshot.at);
  const now = input === undefined || placement === null ? null : manifest({ ...input, placement });
  const name = nameOf(change.processorId, inputs).replace(' ', '/');
  const [oldName, newName] = [old === undefined ? '/dev/null' : `a/${name}`, now === null ? '/dev/null' : `b/${name}`];
  const patch = createTwoFilesPatch(oldName, newName, old === undefined ? '' : manifest(old), now ?? '', undefined, undefined, { context: 3 });
  return paintPatch(patch.split('\n').slice(1).join('\n'), paint);
}

/** A unified diff in colours. */
export function paintPatch(patch: string, paint: Paint): string {
  return patch.split('\n').map((line) => paintLine(line, paint)).join('\n');
}

function paintLine(line: string, paint: Paint): string {
  if (line.startsWith('+++') || line.startsWith('---')) return paint('bold', line);
  if (line.startsWith('@@')) return paint('cyan', line);
  if (line.startsWith('+')) return paint('green', line);
  return line.startsWith('-') ? paint('red', line) : line;
}

function holdLines({ holds, refusals, quarantined }: Plan, inputs: Inputs, paint: Paint): string[] {
  const lines = [
    ...refusals.map(({ subject, reason, evidence }) => `  ${sentence(reason, evidence)}; dory approve ${subject} lets it happen`),
    ...holds.flatMap(({ processorId, reason, evidence, rejected }) => [
      `  ${nameOf(processorId, inputs)}: ${sentence(reason, evidence)}`,
      ...rejected.map((r) => `    not ${targetName(r.target)}: ${sentence(r.reason, r.evidence)}`),
    ]),
    ...quarantined.flatMap(({ id, problems }) => problems.map((p) => `  ${id}: ${p.field}${p.value === null ? '' : ` is ${JSON.stringify(p.value)}`}: ${p.mend}`)),
  ];
  return lines.length === 0 ? [] : [paint('bold', 'Held or in quarantine:'), ...lines.map(printable), ''];
}

function summaryLine({ changes, holds, refusals, quarantined }: Plan, paint: Paint): string {
  const kinds = ['place', 'move', 'stop', 'resume', 'update', 'remove'] as const;
  const counts = kinds.map((kind) => [kind, changes.filter((change) => change.kind === kind).length] as const).filter(([, n]) => n > 0);
  const what = counts.length === 0 ? 'no changes' : counts.map(([kind, n]) => `${String(n)} to ${kind}`).join(', ');
  return paint('bold', `Plan: ${what}; ${String(holds.length + refusals.length)} held, ${String(quarantined.length)} in quarantine.`);
}

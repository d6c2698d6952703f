import type { Command } from 'commander';
import { formatMillis, millis } from '../model/time.ts';
import { status, type Status } from '../operator/status-view.ts';
import type { CliContext } from './context.ts';
import { exitCodes, firstOf, leftToPeople } from './exit-codes.ts';
import { appliedLine, appliedLines, liveLine } from './applied-lines.ts';
import { pageCommand } from './operation-command.ts';
import { printable, table } from './output.ts';

export function statusCommand(program: Command, context: CliContext): void {
  pageCommand(program, context, {
    operation: status,
    details: 'Exits with 3 if rows are in quarantine, with 4 if something is held until a person acts or, with `apply: ssa`, is not on the cluster as committed.',
    examples: ['status', 'status -o json', 'status -w'],
    page: (found, format) => statusPage(found, format),
    // Sentences tell ages, which change with every look.
    watched: ({ guard, nodes, holds, refusals, quarantined, rollouts, applied, commits, ...others }) => ({
      ...others,
      at: null,
      intake: others.intake !== null,
      guard: guard.state,
      nodes: nodes.map(({ name, verdict, since, processors }) => [name, verdict, since, processors]),
      holds: holds.map(({ processor, reason }) => [processor, reason]),
      refusals: refusals.map(({ subject }) => subject),
      rollouts: rollouts === null ? null : { ...rollouts, failures: rollouts.failures.map(({ processor, reason }) => [processor, reason]) },
      applied: applied === null ? null : { ...applied, problems: applied.problems.map(({ object, reason }) => [object, reason]), drift: applied.drift.map(({ object, at }) => [object, at]) },
      commits: commits.map(({ revision, state }) => [revision, state]),
      quarantined: quarantined.map(({ processor }) => processor),
    }),
    exit: (found) => firstOf([leftToPeople(found), found.behind === null && (found.applied?.differing ?? 0) === 0 ? exitCodes.ok : exitCodes.held]),
  });
}

/** Enough to see what is wrong; `-o json` has more. */
const shown = 20;

function statusPage(found: Status, format: 'table' | 'wide'): string {
  const nodes = table([
    { header: 'NODE', of: (n: Status['nodes'][number]) => n.name },
    { header: 'VERDICT', of: (n) => n.verdict },
    { header: 'FOR', of: (n) => formatMillis(millis(n.ageMs)) },
    { header: 'PROCESSORS', of: (n) => String(n.processors) },
    { header: 'WHY', of: (n) => n.why, wide: true },
  ], found.nodes, format);
  return [...headLines(found), '', nodes, ...holdLines(found), ...failureLines(found), ...appliedLines(found), ...quarantineLines(found)].join('\n');
}

function headLines(found: Status): string[] {
  const { processors, commit, committedAt, pending, leader, guard, paused, behind, intake, locks, verdicts } = found;
  const counts = Object.entries(verdicts).map(([verdict, count]) => `${String(count)} ${verdict}`).join(', ');
  return [
    `Revision    ${String(found.revision)}${pending > 0 ? ` (${String(pending)} not yet on the remote)` : ''}`,
    `Commit      ${commit === null ? '<none>' : `${commit.slice(0, 12)} at ${committedAt ?? '?'}`}`,
    `Leader      ${leader === null ? '<none>' : `${printable(leader)} (epoch ${String(found.leaderEpoch)})`}`,
    ...(behind === null ? [] : [`Behind      Git shows revision ${String(behind.git)}, the database knew ${String(behind.database)}: nothing is decided; dory repair epochs --dry-run`]),
    ...(paused === null ? [] : [`Paused      since ${paused.since} by ${printable(paused.by)}: ${printable(paused.reason)}`]),
    `Guard       ${guard.state}${guard.state === 'calm' ? '' : ` since ${guard.since}: ${printable(guard.why)}`}`,
    ...(intake === null ? [] : [`Intake      ${printable(intake)}`]),
    ...locks.slice(0, shown).map(({ subject, owner, until, reason }) => `Locked      ${printable(`${subject} by ${owner} until ${until}: ${reason}`)}`),
    `Nodes       ${counts === '' ? '<none>' : counts}`,
    ...argocdLines(found),
    ...appliedLine(found),
    `Processors  ${String(processors.desired)} desired, ${String(processors.placed)} placed, ${String(processors.managed)} of them managed${processors.stopping > 0 ? `, ${String(processors.stopping)} stopping` : ''}`,
    ...rolloutLine(found),
    ...liveLine(found),
    ...found.capacity.slice(0, shown).map((text) => `Capacity    ${printable(text)}`),
    ...(found.changes > 0 ? [`Changes     ${String(found.changes)} to decide: see dory plan`] : []),
  ];
}

function rolloutLine({ rollouts }: Status): string[] {
  if (rollouts === null) return [];
  const { live, of, failed } = rollouts;
  return [`Rolled out  ${String(live)} of ${String(of)}${failed > 0 ? `, ${String(failed)} failed` : ''}`];
}

/** What the cluster does not run, in its words. */
function failureLines({ rollouts }: Status): string[] {
  if (rollouts === null || rollouts.failed === 0) return [];
  const lines = rollouts.failures.slice(0, shown).flatMap(({ name, target, ageMs, why, mend }) => [
    `  ${printable(`${name} on ${target} for ${formatMillis(millis(ageMs))}: ${why}`)}`,
    ...(mend === null ? [] : [`    ${printable(mend)}`]),
  ]);
  return [`Failed roll-outs (${String(rollouts.failed)})`, ...lines, ''];
}

function argocdLines({ argocd }: Status): string[] {
  if (argocd === null) return [];
  const { applications, synced, problems, missing, untold, mend } = argocd;
  const more = (text: string, toDo: string | null): string[] => [`            ${printable(text)}`, ...(toDo === null || toDo === '' ? [] : [`              ${printable(toDo)}`])];
  const missed = missing.slice(0, shown).map(({ path }) => path).join(', ');
  return [
    `Argo CD     ${String(synced)} of ${String(applications)} Applications synced${missing.length > 0 ? `, ${String(missing.length)} missing` : ''}`,
    ...(missing.length > 0 ? more(`no Application syncs ${missed}${missing.length > shown ? ', …' : ''}`, mend) : []),
    ...(untold === null ? [] : more(`${untold.fellBack ? 'told in another way' : 'not told'} since ${untold.since}, last of commit ${untold.commit.slice(0, 12)}: ${untold.why}`, untold.mend)),
    ...problems.slice(0, shown).flatMap(({ application, sync, health, message, mend: toDo }) => more(`${application}: ${sync}, ${health}${message === null ? '' : `: ${message}`}`, toDo)),
  ];
}

function holdLines({ held, holds, refusals }: Status): string[] {
  const toDo = (mend: string | null): string[] => (mend === null ? [] : [`    to let it happen: ${printable(mend)}`]);
  const lines = [
    ...refusals.flatMap(({ why, mend }) => [`  everything: ${printable(why)}`, ...toDo(mend)]),
    ...holds.slice(0, shown).flatMap(({ processor, name, why, mend, rejected }) => [`  ${printable(name)} (${processor}): ${printable(why)}`, ...rejected.map((reason) => `    ${printable(reason)}`), ...toDo(mend)]),
  ];
  return lines.length === 0 ? [] : [`Held (${String(held + refusals.length)})`, ...lines, ''];
}

function quarantineLines({ quarantine, quarantined }: Status): string[] {
  if (quarantine === 0) return [];
  const lines = quarantined.slice(0, shown).flatMap(({ processor, problems }) => [
    `  ${processor}`,
    ...problems.map(({ field, value, mend }) => `    ${field}${value === null ? '' : ` is ${JSON.stringify(printable(value))}`}: ${printable(mend)}`),
  ]);
  return [`Quarantine (${String(quarantine)})`, ...lines, ''];
}

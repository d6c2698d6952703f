import type { Command } from 'commander';
import type { Pool } from 'pg';
import type { NodeId, NodeName } from '../model/ids.ts';
import type { Plan } from '../model/plan.ts';
import { sentence } from '../model/reasons.ts';
import type { Snapshot } from '../model/snapshot.ts';
import { elapsed, formatInstant, formatMillis, instant } from '../model/time.ts';
import { createObserver } from '../observe/database.ts';
import { plan } from '../plan/plan.ts';
import { withCluster } from './cluster.ts';
import type { CliContext } from './context.ts';
import { leftToPeople } from './exit-codes.ts';
import { formatOption, settingsOptions, type FormatFlags } from './options.ts';
import { printable, render, table } from './output.ts';
import { observeSettings } from './policy.ts';
import { withRuntime } from './runtime.ts';

export function statusCommand(program: Command, context: CliContext): void {
  const command = program
    .command('status')
    .description('the fleet at a glance: revision, leader, nodes, what is held, what is in quarantine and how to mend it')
    .addHelpText('after', '\nExits with 3 if rows are in quarantine, with 4 if something is held until a person acts.\n\nExamples:\n  dory status\n  dory status -o json');
  settingsOptions(formatOption(command)).action(async ({ output }: FormatFlags) => {
    await withRuntime(context, command, 'require', async (runtime) => {
      const { pool, settings } = runtime;
      const snapshot = await withCluster(runtime, (cluster) => createObserver(pool, observeSettings(settings), cluster).observe());
      const planned = plan(snapshot);
      const status = summarize(snapshot, planned, await readHead(pool));
      const text = output === 'table' || output === 'wide' ? page(status, output) : render(output, status, [], []);
      context.terminal.out(text);
      context.exit(leftToPeople(planned));
    });
  });
}

interface HeadRow {
  readonly revision: number;
  readonly pending: number;
  readonly commit: string | null;
  readonly committedAt: string | null;
  readonly leader: string | null;
  readonly leaderEpoch: number;
}

async function readHead(pool: Pool): Promise<HeadRow> {
  const { rows } = await pool.query<{ revision: string; pending: string; commit_sha: string | null; committed_ms: string | null; holder: string | null; epoch: string }>(
    `select s.revision, (select count(*) from dory.revisions where committed_at is null) as pending, r.commit_sha,
            (extract(epoch from r.committed_at) * 1000)::bigint as committed_ms,
            case when l.expires_at > clock_timestamp() then l.holder end as holder, l.epoch
       from dory.state s cross join dory.leader l
       left join lateral (select commit_sha, committed_at from dory.revisions where committed_at is not null order by id desc limit 1) r on true`,
  );
  const [row] = rows;
  return {
    revision: Number(row?.revision ?? 0),
    pending: Number(row?.pending ?? 0),
    commit: row?.commit_sha ?? null,
    committedAt: (row?.committed_ms ?? null) === null ? null : formatInstant(instant(Number(row?.committed_ms))),
    leader: row?.holder ?? null,
    leaderEpoch: Number(row?.epoch ?? 0),
  };
}

type Status = ReturnType<typeof summarize>;

function summarize(snapshot: Snapshot, planned: Plan, head: HeadRow) {
  const names = new Map<NodeId, NodeName>(snapshot.fleet.nodes.map(({ id, name }) => [id, name]));
  const placed = countBy(snapshot.placements, ({ target }) => (target.kind === 'edge' ? target.nodeId : 'managed'));
  return {
    ...head,
    at: formatInstant(snapshot.at),
    processors: { desired: snapshot.fleet.processors.length, placed: snapshot.placements.length, managed: placed.get('managed') ?? 0 },
    changes: planned.changes.length,
    nodes: planned.verdicts.map(({ nodeId, verdict, since, reason, evidence }) => ({
      name: names.get(nodeId) ?? nodeId,
      verdict,
      since: formatInstant(since),
      age: formatMillis(elapsed(since, snapshot.at)),
      processors: placed.get(nodeId) ?? 0,
      why: sentence(reason, evidence),
    })),
    holds: planned.holds.map(({ processorId, reason, evidence, rejected, needsPerson }) => ({
      processor: processorId,
      reason,
      needsPerson,
      why: sentence(reason, evidence),
      rejected: rejected.map((r) => sentence(r.reason, r.evidence)),
    })),
    refusals: planned.refusals.map(({ subject, reason, evidence }) => ({ subject, why: sentence(reason, evidence), mend: `dory approve ${subject}` })),
    quarantined: planned.quarantined.map(({ id, problems }) => ({ processor: id, problems })),
  };
}

function countBy<T>(items: readonly T[], key: (item: T) => string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

function page(status: Status, format: 'table' | 'wide'): string {
  const { processors, commit, committedAt, pending, leader } = status;
  const head = [
    `Revision    ${String(status.revision)}${pending > 0 ? ` (${String(pending)} not yet on the remote)` : ''}`,
    `Commit      ${commit === null ? '<none>' : `${commit.slice(0, 12)} at ${committedAt ?? '?'}`}`,
    `Leader      ${leader === null ? '<none>' : `${printable(leader)} (epoch ${String(status.leaderEpoch)})`}`,
    `Processors  ${String(processors.desired)} desired, ${String(processors.placed)} placed, ${String(processors.managed)} of them managed`,
    ...(status.changes > 0 ? [`Changes     ${String(status.changes)} to decide: see dory plan`] : []),
    '',
  ];
  const nodes = table([
    { header: 'NODE', of: (n: Status['nodes'][number]) => n.name },
    { header: 'VERDICT', of: (n) => n.verdict },
    { header: 'FOR', of: (n) => n.age },
    { header: 'PROCESSORS', of: (n) => String(n.processors) },
    { header: 'WHY', of: (n) => n.why, wide: true },
  ], status.nodes, format);
  return [...head, nodes, ...holdLines(status), ...quarantineLines(status)].join('\n');
}

/** Enough to see what is wrong; `-o json` has all. */
const shown = 20;

function holdLines({ holds, refusals }: Status): string[] {
  const lines = [
    ...refusals.map(({ why, mend }) => `  everything: ${printable(why)}\n    to let it happen: ${mend}`),
    ...holds.slice(0, shown).map(({ processor, why, rejected }) => `  ${processor}: ${printable(why)}${rejected.map((reason) => `\n    ${printable(reason)}`).join('')}`),
  ];
  return lines.length === 0 ? [] : [`Held (${String(holds.length + refusals.length)})`, ...lines, ''];
}

function quarantineLines({ quarantined }: Status): string[] {
  if (quarantined.length === 0) return [];
  const lines = quarantined.slice(0, shown).flatMap(({ processor, problems }) => [
    `  ${processor}`,
    ...problems.map(({ field, value, mend }) => `    ${field}${value === null ? '' : ` is ${JSON.stringify(printable(value))}`}: ${printable(mend)}`),
  ]);
  return [`Quarantine (${String(quarantined.length)})`, ...lines, ''];
}

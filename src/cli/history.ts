import type { Command } from 'commander';
import type { Pool } from 'pg';
import type { ChangeKind } from '../model/plan.ts';
import { targetName, type Placement } from '../model/placement.ts';
import { reasonCodes, sentence, type Evidence, type ReasonCode } from '../model/reasons.ts';
import { formatInstant, instant } from '../model/time.ts';
import type { CliContext } from './context.ts';
import { formatOption, settingsOptions, wholeNumber, type FormatFlags } from './options.ts';
import { render, type Column } from './output.ts';
import { findProcessor } from '../operator/subjects.ts';
import { withRuntime } from './runtime.ts';

interface Entry {
  readonly revision: number;
  readonly processor: string;
  readonly since: string;
  readonly event: ChangeKind;
  readonly target: string | null;
  readonly epoch: number | null;
  readonly phase: string | null;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly why: string;
  /** Null while it waits to be committed. */
  readonly commit: string | null;
}

interface Row {
  readonly revision: string;
  readonly processor_id: string;
  readonly slug: string | null;
  readonly decided_ms: string;
  readonly kind: ChangeKind;
  readonly placement: Placement | null;
  readonly reason: ReasonCode;
  readonly evidence: Evidence;
  readonly commit_sha: string | null;
}

export function historyCommand(program: Command, context: CliContext): void {
  const command = program
    .command('history')
    .description('where a processor was, since when, why, and in which commit; without PROCESSOR, the newest changes of all')
    .argument('[processor]', 'its id, the beginning of its id, or its name')
    .option('--limit <n>', 'at most so many changes, newest first', wholeNumber, 50)
    .addHelpText('after', '\nExamples:\n  dory history 0192f3c4\n  dory history people-counter-1f2e3d4c5b6a -o json\n  dory history --limit 10');
  settingsOptions(formatOption(command)).action(async (text: string | undefined, flags: FormatFlags & { limit: number }) => {
    await withRuntime(context, command, 'require', async ({ pool }) => {
      const processor = text === undefined ? null : await findProcessor(pool, text);
      const entries = await readHistory(pool, processor?.id ?? null, flags.limit);
      context.terminal.out(render(flags.output, entries, columns(processor !== null), entries));
    });
  });
}

function columns(one: boolean): readonly Column<Entry>[] {
  const processor: Column<Entry> = { header: 'PROCESSOR', of: (e) => e.processor };
  return [
    { header: 'REVISION', of: (e) => String(e.revision) },
    { header: 'SINCE', of: (e) => e.since },
    ...(one ? [] : [processor]),
    { header: 'EVENT', of: (e) => e.event },
    { header: 'TARGET', of: (e) => e.target ?? '' },
    { header: 'EPOCH', of: (e) => (e.epoch === null ? '' : String(e.epoch)) },
    { header: 'COMMIT', of: (e) => e.commit?.slice(0, 12) ?? '<pending>' },
    { header: 'REASON', of: (e) => e.reason, wide: true },
    { header: 'WHY', of: (e) => e.why },
  ];
}

async function readHistory(pool: Pool, processor: string | null, limit: number): Promise<readonly Entry[]> {
  const { rows } = await pool.query<Row>(
    `select c.revision, c.processor_id, w.body ->> 'slug' as slug, (extract(epoch from r.decided_at) * 1000)::bigint as decided_ms,
            c.kind, c.placement, c.reason, c.evidence, r.commit_sha
       from dory.changes c join dory.revisions r on r.id = c.revision left join dory.workloads w on w.digest = c.workload
      where $1::uuid is null or c.processor_id = $1 order by c.revision desc, c.processor_id limit $2`,
    [processor, limit],
  );
  return rows.map((row) => ({
    revision: Number(row.revision),
    processor: row.slug === null ? row.processor_id : `${row.slug} ${row.processor_id.slice(0, 8)}`,
    since: formatInstant(instant(Number(row.decided_ms))),
    event: row.kind,
    target: row.placement === null ? null : targetName(row.placement.target),
    epoch: row.placement?.epoch ?? null,
    phase: row.placement?.phase ?? null,
    reason: row.reason,
    evidence: row.evidence,
    why: explain(row.reason, row.evidence),
    commit: row.commit_sha,
  }));
}

/** With the fence, where one was needed. A code from a newer version is shown as it is. */
function explain(reason: ReasonCode, evidence: Evidence): string {
  const known = (code: unknown): code is ReasonCode => reasonCodes.includes(code as ReasonCode);
  const why = known(reason) ? sentence(reason, evidence) : reason;
  const fence = evidence['fence'];
  return known(fence) ? `${why}; ${sentence(fence, evidence)}` : why;
}

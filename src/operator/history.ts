import { z } from 'zod';
import type { ChangeKind } from '../model/plan.ts';
import { targetName, type Placement } from '../model/placement.ts';
import type { Evidence, ReasonCode } from '../model/reasons.ts';
import { formatInstant, instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { moment, processor } from './fields.ts';
import { operation, pageInput, pageOf } from './operation.ts';
import { badCursor, page } from './pages.ts';
import { findProcessor } from './subjects.ts';
import { why } from './why.ts';

const entry = z.object({
  revision: z.int(),
  processor: z.string().describe('The beginning of its id, after its template.'),
  since: moment,
  event: z.enum(['place', 'move', 'stop', 'resume', 'update', 'remove']),
  target: z.string().nullable().describe('Null: it was removed.'),
  epoch: z.int().nullable(),
  phase: z.string().nullable(),
  reason: z.string().describe('A reason code.'),
  evidence: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  why: z.string(),
  cycle: z.string().nullable().describe('The cycle that decided it, as the log names it.'),
  commit: z.string().nullable().describe('Null while it waits to be committed.'),
  liveAt: moment.nullable().describe('When the cluster showed all of its revision; null: not yet, it was replaced before, or nobody looked.'),
  liveMs: z.int().nullable().describe('How long that took from the commit.'),
});
type HistoryEntry = z.output<typeof entry>;

export const history = operation({
  name: 'history',
  method: 'GET',
  path: '/api/v1/history',
  summary: 'where a processor was, since when, why, and in which commit; without PROCESSOR, the newest changes of all',
  changesState: false,
  input: z.strictObject({ processor: processor.optional(), ...pageInput }),
  output: pageOf(entry),
  run: async ({ pool }, { processor: text, limit, continue: from }) => {
    const found = text === undefined ? null : await findProcessor(pool, text);
    const [revision, last] = cursorOf(from);
    const { rows } = await pool.query<Row>(
      `select c.revision, c.processor_id, w.body ->> 'slug' as slug, ${ms('r.decided_at')} as decided_ms,
              c.kind, c.placement, c.reason, c.evidence, r.cycle, r.commit_sha, ${ms('r.live_at')} as live_ms, ${ms('(r.live_at - r.committed_at)')} as took_ms
         from dory.changes c join dory.revisions r on r.id = c.revision left join dory.workloads w on w.digest = c.workload
        where ($1::uuid is null or c.processor_id = $1)
          and ($2::bigint is null or c.revision < $2 or c.revision = $2 and c.processor_id > $3::uuid)
        order by c.revision desc, c.processor_id limit $4`,
      [found?.id ?? null, revision, last, limit + 1],
    );
    return page(rows, limit, toEntry, (row) => `${row.revision}_${row.processor_id}`);
  },
});

/** @throws Failure `invalid-input` */
function cursorOf(text: string | undefined): readonly [string | null, string | null] {
  if (text === undefined) return [null, null];
  const [, revision, id] = /^(\d{1,18})_([0-9a-f-]{36})$/.exec(text) ?? [];
  if (revision === undefined || id === undefined) throw badCursor(text);
  return [revision, id];
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
  readonly cycle: string | null;
  readonly commit_sha: string | null;
  readonly live_ms: string | null;
  readonly took_ms: string | null;
}

function toEntry(row: Row): HistoryEntry {
  return {
    revision: Number(row.revision),
    processor: row.slug === null ? row.processor_id : `${row.slug} ${row.processor_id.slice(0, 8)}`,
    since: formatInstant(instant(Number(row.decided_ms))),
    event: row.kind,
    target: row.placement === null ? null : targetName(row.placement.target),
    epoch: row.placement?.epoch ?? null,
    phase: row.placement?.phase ?? null,
    reason: row.reason,
    evidence: row.evidence,
    why: why(row.reason, row.evidence),
    cycle: row.cycle,
    commit: row.commit_sha,
    liveAt: row.live_ms === null ? null : formatInstant(instant(Number(row.live_ms))),
    liveMs: row.took_ms === null ? null : Math.max(0, Number(row.took_ms)),
  };
}

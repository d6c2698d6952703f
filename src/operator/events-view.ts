import type { Pool } from 'pg';
import { z } from 'zod';
import type { ProcessorId } from '../model/ids.ts';
import type { Evidence } from '../model/reasons.ts';
import { formatInstant, instant, seconds } from '../model/time.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { driftSentence, evidenceSchema } from './drift-sentence.ts';
import { duration, moment, node as nodeName, processor, text } from './fields.ts';
import { operation, pageInput, pageOf } from './operation.ts';
import { numberCursor, page } from './pages.ts';
import { findNode, findProcessor } from './subjects.ts';
import { why } from './why.ts';
import { ms } from '../platform/pg.ts';

const event = z.object({
  id: z.int(),
  at: moment,
  ageMs: z.int(),
  kind: z.string().describe('verdict-lost, move, held, approved, …'),
  node: z.string().nullable(),
  processor: z.string().nullable(),
  processorId: z.string().nullable(),
  reason: z.string().nullable(),
  why: z.string().nullable().describe('The reason as a sentence, or what a person said.'),
  evidence: z.record(z.string(), z.unknown()),
  cycle: z.string().nullable().describe('The cycle that wrote it, as the log and the commit name it.'),
  revision: z.int().nullable().describe('The revision that acted on it.'),
  commit: z.string().nullable().describe('The commit of that revision; null until it is on the remote.'),
});
export type EventItem = z.output<typeof event>;

const longest = seconds(10 * 365 * 24 * 3600);
const name = (what: string) => text(what, 100);

export const eventsList = operation({
  name: 'events',
  method: 'GET',
  path: '/api/v1/events',
  summary: 'what was noticed, decided, held and done, newest first, with revision and commit',
  changesState: false,
  input: z.strictObject({
    ...pageInput,
    since: duration(seconds(1), longest, '1h').optional().describe('Only events of the last 30m, 24h, ….'),
    node: nodeName.optional().describe('Only events about this node, or arrivals there.'),
    processor: processor.optional().describe('Only events about this processor: its id, the beginning of its id, or its name.'),
    kind: name('a kind').optional().describe('Only events of this kind, or whose kind begins with it.'),
    cycle: name('a cycle').optional().describe('Only events of this cycle.'),
    revision: z.int({ error: 'give the number of a revision' }).min(1, { error: 'give the number of a revision' }).optional().describe('Only events that this revision acted on.'),
  }),
  output: pageOf(event),
  run: async ({ pool }, input) => {
    const rows = await readEvents(pool, {
      limit: input.limit + 1,
      before: numberCursor(input.continue),
      sinceMs: input.since ?? null,
      nodeId: input.node === undefined ? null : (await findNode(pool, input.node)).id,
      processorId: input.processor === undefined ? null : (await findProcessor(pool, input.processor)).id,
      kind: input.kind ?? null,
      cycle: input.cycle ?? null,
      revision: input.revision ?? null,
    });
    return page(rows, input.limit, toItem, ({ id }) => id);
  },
});

interface Row {
  readonly id: string;
  readonly at_ms: string;
  readonly now_ms: string;
  readonly kind: string;
  readonly node: string | null;
  readonly processor_id: ProcessorId | null;
  readonly slug: string | null;
  readonly reason: string | null;
  readonly evidence: Evidence;
  readonly cycle: string | null;
  readonly revision: string | null;
  readonly commit_sha: string | null;
}

interface Asked {
  readonly limit: number;
  readonly before: string | null;
  readonly sinceMs: number | null;
  readonly nodeId: string | null;
  readonly processorId: string | null;
  readonly kind: string | null;
  readonly cycle: string | null;
  readonly revision: number | null;
}

/** Conditions that are not asked for are left out, so that each question has the index that fits it. */
async function readEvents(pool: Pool, { limit, before, sinceMs, nodeId, processorId, kind, cycle, revision }: Asked): Promise<readonly Row[]> {
  const conditions = ([
    ['e.id < $::bigint', before],
    [`e.at > now() - $ * interval '1 ms'`, sinceMs],
    ['e.node_id = $::uuid', nodeId],
    ['e.processor_id = $::uuid', processorId],
    ['starts_with(e.kind, $)', kind],
    ['e.cycle = $', cycle],
    ['e.revision = $::bigint', revision],
  ] as const).filter(([, value]) => value !== null);
  const where = conditions.map(([condition], i) => condition.replace('$', `$${String(i + 2)}`)).join(' and ');
  const { rows } = await pool.query<Row>(
    `select e.id, ${ms('e.at')} as at_ms, ${ms('now()')} as now_ms, e.kind, coalesce(n.name, e.node_id::text) as node, e.processor_id, t.slug,
            e.reason, e.evidence, e.cycle, e.revision, r.commit_sha
       from (select * from dory.events e ${where === '' ? '' : `where ${where}`} order by e.id desc limit $1) e
       left join dory.revisions r on r.id = e.revision
       left join edge_nodes n on n.id = e.node_id
       left join processors p on p.id = e.processor_id
       left join processor_templates t on t.id = p.processor_template_id
      order by e.id desc`,
    [limit, ...conditions.map(([, value]) => value)],
  );
  return rows;
}

function toItem(row: Row): EventItem {
  const { kind, node, reason, evidence, cycle, processor_id: processorId, slug } = row;
  return {
    id: Number(row.id),
    at: formatInstant(instant(Number(row.at_ms))),
    ageMs: Math.max(0, Number(row.now_ms) - Number(row.at_ms)),
    kind, node, reason, evidence, cycle, processorId,
    processor: processorId === null ? null : processorStem(slug ?? 'processor', processorHash(processorId)),
    why: whyOf(row),
    revision: row.revision === null ? null : Number(row.revision),
    commit: row.commit_sha,
  };
}

function whyOf({ kind, reason, evidence }: Row): string | null {
  if (reason === null) return said(kind, evidence);
  // Of what is over, no more is known than what it was.
  return kind === 'hold-ended' ? `no longer ${reason}` : why(reason, evidence);
}

/** What is not decided by a reason was done by somebody: who, and why. */
function said(kind: string, evidence: Evidence): string | null {
  const drift = kind === 'drift' ? evidenceSchema.safeParse(evidence) : null;
  if (drift?.success === true) return driftSentence(drift.data);
  const { by, reason, subject } = evidence;
  const parts = [subject, by === undefined ? undefined : `by ${String(by)}`, reason].filter((part) => part !== undefined && part !== null);
  return parts.length === 0 ? null : parts.map(String).join(': ');
}

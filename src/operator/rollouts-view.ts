import type { Pool } from 'pg';
import { z } from 'zod';
import type { ProcessorId } from '../model/ids.ts';
import type { Evidence } from '../model/reasons.ts';
import { formatInstant, instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { moment } from './fields.ts';
import { why } from './why.ts';

const failure = z.object({
  processor: z.string(),
  name: z.string(),
  target: z.string(),
  since: moment,
  ageMs: z.int(),
  reason: z.string().describe('A reason code.'),
  why: z.string().describe("The reason as a sentence, with the cluster's words."),
  mend: z.string().nullable().describe('A command that shows more.'),
});

/** Roll-outs as `status` tells them. */
export const rolloutsSchema = (listed: number) => z
  .object({
    live: z.int().describe('Placements of which the cluster shows all that was decided: the pod ready, or, where it is to stop, gone.'),
    of: z.int(),
    failed: z.int(),
    failures: z.array(failure).describe(`At most ${String(listed)}.`),
  })
  .nullable()
  .describe('How far the cluster is with what was decided; null: no cluster was ever looked at.');

/** One roll-out as `explain` tells it. */
export const rolloutSchema = z
  .object({
    state: z.enum(['progressing', 'live', 'failed']),
    since: moment.nullable().describe('Null while it is under way.'),
    ageMs: z.int().nullable(),
    reason: z.string().nullable(),
    why: z.string().nullable().describe("Why it failed, with the cluster's words."),
    mend: z.string().nullable(),
  })
  .nullable()
  .describe('What the cluster shows of its placement; null: no cluster was ever looked at.');

interface FailureRow {
  readonly id: ProcessorId;
  readonly slug: string | null;
  readonly target: string;
  readonly since_ms: string;
  readonly now_ms: string;
  readonly reason: string;
  readonly evidence: Evidence;
}

export async function readRollouts(pool: Pool, listed: number): Promise<z.output<ReturnType<typeof rolloutsSchema>>> {
  const { rows: [counts] } = await pool.query<{ any: boolean; live: string; failed: string; of: string }>(
    `select exists (select from dory.rollouts) as any, count(*) filter (where ro.state = 'live') as live, count(*) filter (where ro.state = 'failed') as failed, count(*) as of
       from dory.placements pl left join dory.rollouts ro on ro.processor_id = pl.processor_id and ro.revision = pl.revision`,
  );
  if (counts?.any !== true) return null;
  const { rows } = await pool.query<FailureRow>(
    `select ro.processor_id as id, t.slug, coalesce(pl.target_node_name, pl.target_kind) as target, ${ms('ro.since')} as since_ms, ${ms('now()')} as now_ms, ro.reason, ro.evidence
       from dory.rollouts ro
       join dory.placements pl on pl.processor_id = ro.processor_id and pl.revision = ro.revision
       left join processors p on p.id = ro.processor_id
       left join processor_templates t on t.id = p.processor_template_id
      where ro.state = 'failed' order by ro.reason, ro.processor_id limit $1`,
    [listed],
  );
  return { live: Number(counts.live), of: Number(counts.of), failed: Number(counts.failed), failures: rows.map(toFailure) };
}

function toFailure({ id, slug, target, reason, evidence, ...row }: FailureRow): z.output<typeof failure> {
  const since = Number(row.since_ms);
  return {
    processor: id,
    name: processorStem(slug ?? 'processor', processorHash(id)),
    target,
    since: formatInstant(instant(since)),
    ageMs: Math.max(0, Number(row.now_ms) - since),
    reason,
    why: why(reason, evidence),
    mend: describeCommand(evidence),
  };
}

/** Names in evidence came from the cluster, which checked them. */
function describeCommand({ namespace, pod }: Evidence): string | null {
  return typeof namespace === 'string' && typeof pod === 'string' ? `kubectl --namespace ${namespace} describe pod ${pod}` : null;
}

interface RolloutRow {
  readonly any: boolean;
  readonly state: 'progressing' | 'live' | 'failed' | null;
  readonly since_ms: string | null;
  readonly now_ms: string;
  readonly reason: string | null;
  readonly evidence: Evidence | null;
}

export async function readRollout(pool: Pool, processorId: string): Promise<z.output<typeof rolloutSchema>> {
  const { rows: [row] } = await pool.query<RolloutRow>(
    `select exists (select from dory.rollouts) as any, ro.state, ${ms('ro.since')} as since_ms, ${ms('now()')} as now_ms, ro.reason, ro.evidence
       from dory.placements pl left join dory.rollouts ro on ro.processor_id = pl.processor_id and ro.revision = pl.revision
      where pl.processor_id = $1`,
    [processorId],
  );
  if (row?.any !== true) return null;
  const { state, reason, evidence } = row;
  const since = row.since_ms === null ? null : Number(row.since_ms);
  return {
    state: state ?? 'progressing',
    since: since === null ? null : formatInstant(instant(since)),
    ageMs: since === null ? null : Math.max(0, Number(row.now_ms) - since),
    reason,
    why: reason === null ? null : why(reason, evidence ?? {}),
    mend: reason === null ? null : describeCommand(evidence ?? {}),
  };
}

import type { Pool } from 'pg';
import { z } from 'zod';
import type { ProcessorId } from '../model/ids.ts';
import type { Evidence } from '../model/reasons.ts';
import { formatInstant, instant } from '../model/time.ts';
import { processorHash, processorStem } from '../render/names.ts';
import { moment, node as nodeName, text } from './fields.ts';
import { operation, pageInput, pageOf } from './operation.ts';
import { badCursor, page } from './pages.ts';
import { findNode } from './subjects.ts';
import { why } from './why.ts';
import { ms } from '../platform/pg.ts';

const processor = z.object({
  id: z.string(),
  name: z.string().describe('As its file is named.'),
  template: z.string().nullable(),
  home: z.string().nullable().describe('A node, or managed.'),
  target: z.string().nullable().describe('Where it belongs now; null: it has no placement.'),
  phase: z.enum(['active', 'stopping']).nullable(),
  epoch: z.int().nullable().describe('The placement epoch.'),
  reason: z.string().nullable().describe('Why it is there.'),
  since: moment.nullable(),
  ageMs: z.int().nullable().describe('For how long it is there.'),
  held: z.string().nullable().describe('Why something that should happen to it does not.'),
  quarantined: z.boolean().describe("Its row can't be rendered."),
  status: z.string().describe('As its row says.'),
  health: z.string().nullable().describe('As its agent said last.'),
  failures: z.int().nullable().describe('Beats in a row that were not healthy.'),
  rollout: z.enum(['progressing', 'live', 'failed']).nullable().describe('What the cluster shows of its placement; null: no cluster was ever looked at, or it has none.'),
  rolloutWhy: z.string().nullable().describe("Why it failed, with the cluster's words."),
  pod: z.string().nullable(),
  nodeIp: z.string().nullable(),
  heartbeat: moment.nullable().describe('The newest heartbeat of its placement.'),
  heartbeatAgeMs: z.int().nullable(),
  role: z.string().nullable().describe('As its agent says.'),
  sdkEpoch: z.int().nullable().describe("The SDK's own fencing counter: shown, never compared with ours."),
  stateSizeBytes: z.int().nullable(),
  lastStateSync: moment.nullable(),
  leaseUntil: moment.nullable().describe('Of an agent that honours leases.'),
});
export type ProcessorItem = z.output<typeof processor>;

export const processorsList = operation({
  name: 'processors',
  method: 'GET',
  path: '/api/v1/processors',
  summary: 'processors with home, target, phase, epoch, and what their agents say',
  changesState: false,
  input: z.strictObject({
    ...pageInput,
    node: nodeName.optional().describe('Only those placed on this node.'),
    template: text('a slug', 255).optional().describe('Only those of this template.'),
    away: z.boolean({ error: 'give true or false' }).default(false).describe('Only those that are not at home.'),
    held: z.boolean({ error: 'give true or false' }).default(false).describe('Only those to which something should happen, and does not.'),
  }),
  output: pageOf(processor),
  run: async ({ pool }, { limit, continue: from, node, template, away, held }) => {
    const nodeId = node === undefined ? null : (await findNode(pool, node)).id;
    const rows = await readProcessors(pool, { limit: limit + 1, after: cursorOf(from), nodeId, template: template ?? null, away, held });
    return page(rows, limit, toItem, ({ id }) => id);
  },
});

interface Row {
  readonly id: ProcessorId;
  readonly slug: string | null;
  readonly home: string | null;
  readonly target: string | null;
  readonly phase: 'active' | 'stopping' | null;
  readonly epoch: string | null;
  readonly reason: string | null;
  readonly now_ms: string;
  readonly since_ms: string | null;
  readonly held: string | null;
  readonly quarantined: boolean;
  readonly status: string;
  readonly health: string | null;
  readonly failures: number | null;
  readonly rollout: 'progressing' | 'live' | 'failed' | null;
  readonly rollout_reason: string | null;
  readonly rollout_evidence: Evidence | null;
  readonly pod: string | null;
  readonly node_ip: string | null;
  readonly beat_ms: string | null;
  readonly role: string | null;
  readonly sdk_epoch: string | null;
  readonly state_size_bytes: string | null;
  readonly sync_ms: string | null;
  readonly lease_ms: string | null;
}

interface Asked {
  readonly limit: number;
  readonly after: string | null;
  readonly nodeId: string | null;
  readonly template: string | null;
  readonly away: boolean;
  readonly held: boolean;
}

/** By id: a page costs what is on it, however large the fleet is. A beat of another epoch says nothing of this placement. Older tables may lack the pod's columns. */
async function readProcessors(pool: Pool, { limit, after, nodeId, template, away, held }: Asked): Promise<readonly Row[]> {
  const { rows } = await pool.query<Row>(
    `select p.id, t.slug, case when p.node_type = 'managed' then 'managed' else coalesce(n.name, p.node_id::text) end as home,
            coalesce(pl.target_node_name, pl.target_kind) as target, pl.phase, pl.epoch, pl.reason, ${ms('now()')} as now_ms, ${ms('pl.since')} as since_ms,
            h.reason as held, q.processor_id is not null as quarantined, p.status, p.health_status ->> 'status' as health,
            p.consecutive_failures as failures, ${ms('b.last_beat_at')} as beat_ms, b.role, b.sdk_epoch, b.state_size_bytes,
            case when pl.processor_id is not null and exists (select from dory.rollouts) then coalesce(ro.state, 'progressing') end as rollout,
            ro.reason as rollout_reason, ro.evidence as rollout_evidence, to_jsonb(p) ->> 'k8s_pod_name' as pod, to_jsonb(p) ->> 'node_ip' as node_ip,
            ${ms('b.last_state_sync')} as sync_ms, ${ms('b.lease_until')} as lease_ms
       from processors p
       left join processor_templates t on t.id = p.processor_template_id
       left join edge_nodes n on n.id = p.node_id
       left join dory.placements pl on pl.processor_id = p.id
       left join dory.beats b on b.processor_id = p.id and b.epoch = pl.epoch
       left join dory.rollouts ro on ro.processor_id = p.id and ro.revision = pl.revision
       left join dory.holds h on h.processor_id = p.id
       left join dory.quarantine q on q.processor_id = p.id
      where p.status not in ('terminated', 'failed') and ($1::uuid is null or p.id > $1) and ($2::uuid is null or pl.target_node_id = $2)
        and ($3::text is null or t.slug = $3) and (not $4 or h.processor_id is not null)
        and (not $5 or pl.target_node_id is distinct from case when p.node_type = 'managed' then null else p.node_id end)
      order by p.id limit $6`,
    [after, nodeId, template, held, away, limit],
  );
  return rows;
}

/** @throws Failure `invalid-input` */
function cursorOf(text: string | undefined): string | null {
  if (text === undefined) return null;
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text)) return text;
  throw badCursor(text);
}

function toItem(row: Row): ProcessorItem {
  const at = (value: string | null): string | null => (value === null ? null : formatInstant(instant(Number(value))));
  const age = (value: string | null): number | null => (value === null ? null : Number(row.now_ms) - Number(value));
  const count = (value: string | null): number | null => (value === null ? null : Number(value));
  const { id, slug, home, target, phase, reason, held, quarantined, status, health, failures, role, rollout, pod } = row;
  return {
    id, template: slug, home, target, phase, reason, held, quarantined, status, health, failures, role, rollout, pod,
    rolloutWhy: row.rollout_reason === null ? null : why(row.rollout_reason, row.rollout_evidence ?? {}),
    nodeIp: row.node_ip,
    name: processorStem(slug ?? 'processor', processorHash(id)),
    epoch: count(row.epoch),
    since: at(row.since_ms),
    ageMs: age(row.since_ms),
    heartbeat: at(row.beat_ms),
    heartbeatAgeMs: age(row.beat_ms),
    sdkEpoch: count(row.sdk_epoch),
    stateSizeBytes: count(row.state_size_bytes),
    lastStateSync: at(row.sync_ms),
    leaseUntil: at(row.lease_ms),
  };
}

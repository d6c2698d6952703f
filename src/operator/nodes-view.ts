import type { Pool } from 'pg';
import { z } from 'zod';
import type { NodeName } from '../model/ids.ts';
import type { Evidence } from '../model/reasons.ts';
import type { NodeCondition, Policy, Verdict } from '../model/snapshot.ts';
import { formatInstant, instant } from '../model/time.ts';
import { flapsAt } from '../plan/flaps.ts';
import { moment } from './fields.ts';
import { operation, pageInput, pageOf } from './operation.ts';
import { badCursor, page } from './pages.ts';
import { why } from './why.ts';
import { ms } from '../platform/pg.ts';

const verdicts = ['healthy', 'returning', 'silent', 'detached', 'lost', 'unknown', 'decommissioned'] as const satisfies readonly Verdict[];

const node = z.object({
  id: z.string(),
  name: z.string(),
  site: z.string().nullable().describe('From its label in Kubernetes or the column that the settings name, else its organisation.'),
  verdict: z.enum(verdicts).describe('As it was decided last; unknown before that.'),
  since: moment.nullable().describe('Since when the verdict holds.'),
  ageMs: z.int().nullable().describe('For how long the verdict holds.'),
  why: z.string().nullable(),
  ready: z.enum(['True', 'False', 'Unknown']).nullable().describe('Its condition in Kubernetes, where the one who answers watches it.'),
  heartbeat: moment.nullable().describe('The newest heartbeat that counts for it; null: there never was one.'),
  heartbeatAgeMs: z.int().nullable(),
  processors: z.int().describe('Placed there now.'),
  flaps: z.int().describe('How often it failed lately; health forgets it over time.'),
  lock: z.object({ owner: z.string(), reason: z.string(), until: moment }).nullable(),
});
export type NodeItem = z.output<typeof node>;

export const nodesList = operation({
  name: 'nodes',
  method: 'GET',
  path: '/api/v1/nodes',
  summary: 'edge nodes with verdict, last heartbeat, processors and locks',
  changesState: false,
  input: z.strictObject({
    ...pageInput,
    verdict: z.enum(verdicts, { error: `give one of ${verdicts.join(', ')}` }).optional().describe('Only nodes with this verdict.'),
  }),
  output: pageOf(node),
  run: async ({ pool, settings, nodeCondition }, { limit, continue: from, verdict }) => {
    const rows = await readNodes(pool, { limit: limit + 1, after: cursorOf(from), verdict: verdict ?? null, siteColumn: settings.sites.column });
    return page(rows, limit, (row) => toItem(row, nodeCondition(row.name), settings.failover), ({ id, name }) => `${id}/${name}`);
  },
});

interface Row {
  readonly id: string;
  readonly name: NodeName;
  readonly site: string | null;
  readonly verdict: Verdict;
  readonly now_ms: string;
  readonly since_ms: string | null;
  readonly beat_ms: string | null;
  readonly reason: string | null;
  readonly evidence: Evidence | null;
  readonly flaps: number;
  readonly processors: string;
  readonly owner: string | null;
  readonly lock_reason: string | null;
  readonly until_ms: string | null;
}

interface Asked {
  readonly limit: number;
  readonly after: { readonly id: string; readonly name: string } | null;
  readonly verdict: Verdict | null;
  readonly siteColumn: string | null;
}

/** By name, then id. A column that a database may lack is asked of the row as JSON. */
async function readNodes(pool: Pool, { limit, after, verdict, siteColumn }: Asked): Promise<readonly Row[]> {
  const { rows } = await pool.query<Row>(
    `with judged as (
       select n.*, coalesce(to_jsonb(n) ->> $1, to_jsonb(n) ->> 'organization_id') as site_name,
              case when n.status = 'decommissioned' then 'decommissioned' else coalesce(v.verdict, 'unknown') end as verdict,
              v.since, v.reason, v.evidence, coalesce(v.flaps, 0) as flaps
         from edge_nodes n left join dory.node_verdicts v on v.node_id = n.id
     ), asked as (
       select * from judged
        where ($2::text is null or (name collate "C", id) > ($2, $3::uuid)) and ($4::text is null or verdict = $4)
        order by name collate "C", id limit $5
     )
     select a.id, a.name, a.site_name as site, a.verdict, a.reason, a.evidence, a.flaps, ${ms('now()')} as now_ms, ${ms('a.since')} as since_ms,
            ${ms("greatest(least(a.last_heartbeat_at, now()), 'epoch')")} as beat_ms,
            (select count(*) from dory.placements p where p.target_node_id = a.id) as processors,
            l.owner, l.reason as lock_reason, ${ms('l.expires_at')} as until_ms
       from asked a
       left join dory.locks l on l.scope = 'node' and l.subject = a.id and l.ended_at is null and l.expires_at > now()
      order by a.name collate "C", a.id`,
    [siteColumn, after?.name ?? null, after?.id ?? null, verdict, limit],
  );
  return rows;
}

/** @throws Failure `invalid-input` */
function cursorOf(text: string | undefined): Asked['after'] {
  if (text === undefined) return null;
  const [, id, name] = /^([0-9a-f-]{36})\/(.*)$/s.exec(text) ?? [];
  if (id === undefined || name === undefined) throw badCursor(text);
  return { id, name };
}

const readyWords = { true: 'True', false: 'False', unknown: 'Unknown' } as const;

function toItem(row: Row, condition: NodeCondition | null, memory: Pick<Policy, 'flapMemory'>): NodeItem {
  const now = instant(Number(row.now_ms));
  const recorded = row.since_ms === null ? null : { verdict: row.verdict, since: instant(Number(row.since_ms)), flaps: row.flaps };
  const at = (value: string | null): string | null => (value === null ? null : formatInstant(instant(Number(value))));
  const age = (value: string | null): number | null => (value === null ? null : Number(row.now_ms) - Number(value));
  return {
    id: row.id,
    name: row.name,
    site: condition?.site ?? row.site,
    verdict: row.verdict,
    since: at(row.since_ms),
    ageMs: age(row.since_ms),
    why: row.reason === null ? null : why(row.reason, row.evidence ?? {}),
    ready: condition === null ? null : readyWords[condition.ready],
    heartbeat: at(row.beat_ms),
    heartbeatAgeMs: age(row.beat_ms),
    processors: Number(row.processors),
    flaps: flapsAt(recorded, now, memory),
    lock: row.owner === null || row.until_ms === null ? null : { owner: row.owner, reason: row.lock_reason ?? '', until: formatInstant(instant(Number(row.until_ms))) },
  };
}

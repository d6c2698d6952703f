import type { PoolClient } from 'pg';
import type { ProcessorId } from '../model/ids.ts';
import type { GuardState, MaintenanceLock, Pause, Policy, PolicyOverride, ProcessorPolicy, RecordedGuard, Snapshot } from '../model/snapshot.ts';
import { instant, type Instant } from '../model/time.ts';
import { ms } from '../platform/pg.ts';

/** What people told Dory, and what the guard and the budget remember: small tables, read whole in one question each cycle. */
export type Controls = Pick<Snapshot, 'policies' | 'approvals' | 'locks' | 'pause' | 'guard' | 'spent'>;

/** As JSON, with moments in milliseconds: one row, whatever the tables hold. */
interface Row {
  readonly policies: readonly PolicyRow[];
  readonly approvals: readonly { readonly subject: string; readonly by: string; readonly at: number; readonly covers: readonly ProcessorId[] | null }[];
  readonly locks: readonly (Omit<MaintenanceLock, 'until' | 'endedAt'> & { readonly until: number; readonly ended_at: number | null })[];
  readonly pause: { readonly paused: boolean; readonly by: string | null; readonly reason: string | null; readonly at: number | null } | null;
  readonly guard: { readonly state: GuardState; readonly since: number; readonly left_panic_at: number | null } | null;
  readonly spent: string;
}

interface PolicyRow {
  readonly match: string;
  readonly on_failure: ProcessorPolicy['onFailure'] | null;
  readonly failback: ProcessorPolicy['failback'] | null;
  readonly failback_from: number | null;
  readonly failback_to: number | null;
  readonly targets: ProcessorPolicy['targets'] | null;
  readonly writer_alive: ProcessorPolicy['writerAlive'] | null;
  readonly unfenced: ProcessorPolicy['unfenced'] | null;
  readonly state_loss: ProcessorPolicy['stateLoss'] | null;
  readonly priority: number | null;
}

/** Locks that ended longer ago than the longest clock that waits for it are history. */
export async function readControls(client: PoolClient, policy: Policy, fromSettings: readonly PolicyOverride[]): Promise<Controls> {
  const clocks = Math.max(policy.heartbeatStale, policy.longestWindow, policy.stabilityWindow);
  const { rows } = await client.query<Row>(
    `select (select coalesce(jsonb_agg(to_jsonb(p) order by p.match collate "C"), '[]') from dory.policies p) as policies,
            (select coalesce(jsonb_agg(jsonb_build_object('subject', a.subject, 'by', a.approved_by, 'at', ${ms('a.approved_at')},
                       'covers', case when a.covers is not null then (select coalesce(jsonb_agg(id order by id), '[]') from unnest(a.covers) as id) end) order by a.subject collate "C"), '[]')
               from dory.approvals a where a.expires_at > now()) as approvals,
            (select coalesce(jsonb_agg(jsonb_build_object('id', l.id, 'scope', l.scope, 'subject', l.subject, 'owner', l.owner, 'reason', l.reason,
                       'until', ${ms('l.expires_at')}, 'ended_at', ${ms("coalesce(l.ended_at, case when l.expires_at <= now() then l.expires_at end)")})
                       order by l.scope, l.subject, l.id), '[]')
               from dory.locks l where coalesce(l.ended_at, l.expires_at) > now() - $1 * interval '1 ms') as locks,
            (select jsonb_build_object('paused', paused, 'by', changed_by, 'reason', reason, 'at', ${ms('changed_at')}) from dory.pause) as pause,
            (select jsonb_build_object('state', state, 'since', ${ms('since')}, 'left_panic_at', ${ms('left_panic_at')}) from dory.guard) as guard,
            (select coalesce(sum(spent), 0) from dory.revisions where decided_at > now() - $2 * interval '1 ms') as spent`,
    [clocks, policy.budget.window],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('observe: the controls returned no row');
  return {
    policies: mergePolicies(fromSettings, row.policies.map(toOverride)),
    approvals: row.approvals.map(({ at, ...approval }) => ({ ...approval, at: instant(at) })),
    locks: row.locks.map(({ ended_at: endedAt, until, ...lock }) => ({ ...lock, until: instant(until), endedAt: moment(endedAt) })),
    pause: toPause(row.pause),
    guard: row.guard === null ? null : toGuard(row.guard),
    spent: Number(row.spent),
  };
}

/** Nothing said by anybody: a fleet file's world. */
export const noControls: Controls = { policies: [], approvals: [], locks: [], pause: { paused: null, resumedAt: null }, guard: null, spent: 0 };

/** Sorted by `match`; what the database says of one goes over what the settings say of it, field by field. */
function mergePolicies(settings: readonly PolicyOverride[], database: readonly PolicyOverride[]): readonly PolicyOverride[] {
  const merged = new Map<string, Partial<ProcessorPolicy>>();
  for (const { match, policy } of [...settings, ...database]) merged.set(match, { ...merged.get(match), ...policy });
  return [...merged].sort(([a], [b]) => (a < b ? -1 : 1)).map(([match, policy]) => ({ match, policy }));
}

function toOverride(row: PolicyRow): PolicyOverride {
  const { failback_from: from, failback_to: to } = row;
  const fields = {
    onFailure: row.on_failure,
    failback: row.failback,
    failbackWindow: from === null || to === null ? null : { fromMinute: from, toMinute: to },
    targets: row.targets,
    writerAlive: row.writer_alive,
    unfenced: row.unfenced,
    stateLoss: row.state_loss,
    priority: row.priority,
  };
  return { match: row.match, policy: Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) };
}

function toPause(row: Row['pause']): Pause {
  const since = moment(row?.at ?? null);
  if (row === null || since === null) return { paused: null, resumedAt: null };
  return row.paused ? { paused: { by: row.by ?? '', reason: row.reason ?? '', since }, resumedAt: null } : { paused: null, resumedAt: since };
}

function toGuard({ state, since, left_panic_at: left }: NonNullable<Row['guard']>): RecordedGuard {
  return { state, since: instant(since), leftPanicAt: moment(left) };
}

function moment(value: number | null): Instant | null {
  return value === null ? null : instant(value);
}

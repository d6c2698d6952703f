import type { PoolClient } from 'pg';
import { z } from 'zod';
import { formatInstant, instant } from '../model/time.ts';
import { inTransaction, ms } from '../platform/pg.ts';
import { moment, reason } from './fields.ts';
import { operation, type Caller } from './operation.ts';
import { recordAct } from './record.ts';

const state = z.object({
  paused: z.boolean(),
  changed: z.boolean().describe('False: it was so before, and stays as it was.'),
  by: z.string().nullable().describe('Who made it so.'),
  reason: z.string().nullable(),
  since: moment.nullable(),
});

export const pause = operation({
  name: 'pause',
  method: 'POST',
  path: '/api/v1/pause',
  summary: 'stop all automation: nothing is placed, moved or removed until it is resumed',
  changesState: true,
  input: z.strictObject({ reason }),
  output: state,
  run: ({ pool }, input, caller) => inTransaction(pool, {}, (client) => set(client, true, input.reason, caller)),
});

export const resume = operation({
  name: 'resume',
  method: 'POST',
  path: '/api/v1/resume',
  summary: 'let automation go on; every clock begins anew, so that nothing moves at once',
  changesState: true,
  input: z.strictObject({ reason }),
  output: state,
  run: ({ pool }, input, caller) => inTransaction(pool, {}, (client) => set(client, false, input.reason, caller)),
});

/** One who asks for what is so already changes nothing: above all no clock. */
async function set(client: PoolClient, paused: boolean, why: string, caller: Caller): Promise<z.output<typeof state>> {
  const { rowCount } = await client.query(
    'update dory.pause set paused = $1, changed_by = $2, reason = $3, changed_at = now() where paused <> $1',
    [paused, caller.name, why],
  );
  const changed = rowCount === 1;
  if (changed) await recordAct(client, caller, { kind: paused ? 'paused' : 'resumed', evidence: { reason: why } });
  const { rows } = await client.query<{ by: string | null; reason: string | null; changed_ms: string | null }>(
    `select changed_by as by, reason, ${ms('changed_at')} as changed_ms from dory.pause`,
  );
  const { by = null, reason: last = null, changed_ms: changedMs = null } = rows[0] ?? {};
  return { paused, changed, by, reason: last, since: changedMs === null ? null : formatInstant(instant(Number(changedMs))) };
}

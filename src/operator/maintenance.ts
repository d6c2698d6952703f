import type { PoolClient } from 'pg';
import { z } from 'zod';
import { endExpiredLocks } from '../decide/locks.ts';
import { Failure } from '../model/failure.ts';
import { formatInstant, instant, seconds } from '../model/time.ts';
import { inTransaction, ms } from '../platform/pg.ts';
import { duration, moment, reason, subject } from './fields.ts';
import { holdLocksStill, lockedBy, lockOn, type HeldLock } from './locks.ts';
import { operation, pageInput, pageOf, type Caller } from './operation.ts';
import { numberCursor, page } from './pages.ts';
import { recordAct } from './record.ts';
import { findSubject, type Subject } from './subjects.ts';

const lock = z.object({
  id: z.int(),
  subject: z.string().describe('node/NAME, processor/NAME or template/SLUG.'),
  owner: z.string(),
  reason: z.string(),
  begun: moment,
  until: moment,
  ended: moment.nullable().describe('Null while it holds.'),
  endedBy: z.string().nullable(),
});
export type Lock = z.output<typeof lock>;

/** Maintenance that takes longer than a month is a change of the fleet. */
const longest = seconds(31 * 24 * 3600);

export const maintenanceBegin = operation({
  name: 'maintenance.begin',
  method: 'POST',
  path: '/api/v1/maintenance',
  summary: 'lock a node, a processor or a template, so that automation leaves it alone',
  changesState: true,
  input: z.strictObject({
    subject,
    reason,
    for: duration(seconds(60), longest, '2h, from 1m to 744h').describe('How long it holds at most, such as 2h.'),
    extend: z.boolean({ error: 'give true or false' }).default(false).describe('Let a lock of your own hold from now on for as long as --for says.'),
  }),
  output: lock,
  run: ({ pool }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const found = await findSubject(client, input.subject);
      const held = await lockOn(client, found, caller);
      if (held !== null && !(input.extend && held.owner === caller.name)) throw lockedBy(held);
      if (held === null && input.extend) throw new Failure('not-found', `${input.subject} has no lock to extend.`, { mend: 'Begin without --extend.' });
      return held === null ? begin(client, found, input, caller) : extend(client, held, input, caller);
    }),
});

interface Term {
  readonly reason: string;
  readonly for: number;
}

async function begin(client: PoolClient, found: Subject, term: Term, caller: Caller): Promise<Lock> {
  // One that ran out was ended by nobody; its row must not stand in the way.
  await endExpiredLocks(client, found);
  const { rows } = await client.query<LockRow>(
    `insert into dory.locks (scope, subject, name, owner, reason, expires_at) values ($1, $2, $3, $4, $5, now() + $6 * interval '1 ms') returning ${columns}`,
    [found.scope, found.id, found.name, caller.name, term.reason, term.for],
  );
  return recorded(client, rows, 'maintenance-begun', caller);
}

async function extend(client: PoolClient, { id }: HeldLock, term: Term, caller: Caller): Promise<Lock> {
  const { rows } = await client.query<LockRow>(
    `update dory.locks set reason = $2, expires_at = now() + $3 * interval '1 ms' where id = $1 returning ${columns}`,
    [id, term.reason, term.for],
  );
  return recorded(client, rows, 'maintenance-extended', caller);
}

export const maintenanceEnd = operation({
  name: 'maintenance.end',
  method: 'DELETE',
  path: '/api/v1/maintenance',
  summary: 'end a lock; what it covered gets a fresh grace before automation acts on it',
  changesState: true,
  input: z.strictObject({
    subject,
    force: z.boolean({ error: 'give true or false' }).default(false).describe("End somebody else's lock."),
  }),
  output: lock,
  run: ({ pool }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const found = await findSubject(client, input.subject);
      await holdLocksStill(client);
      const { rows } = await client.query<LockRow>(
        `select ${columns} from dory.locks where scope = $1 and subject = $2 and ended_at is null and expires_at > now()`,
        [found.scope, found.id],
      );
      const [row] = rows;
      if (row === undefined) throw new Failure('not-found', `${input.subject} is not locked.`, { mend: 'See `dory maintenance list`.' });
      if (row.owner !== caller.name && !input.force) throw lockedByOther(row);
      const ended = await client.query<LockRow>(`update dory.locks set ended_at = now(), ended_by = $2 where id = $1 returning ${columns}`, [row.id, caller.name]);
      return recorded(client, ended.rows, 'maintenance-ended', caller);
    }),
});

function lockedByOther({ scope, name, owner, until_ms: until, reason: why }: LockRow): Failure {
  return new Failure('locked', `${scope}/${name} is locked by ${owner} until ${formatInstant(instant(Number(until)))}: ${why}`, {
    mend: "Ask its owner; --force ends somebody else's lock.",
  });
}

export const maintenanceList = operation({
  name: 'maintenance.list',
  method: 'GET',
  path: '/api/v1/maintenance',
  summary: 'who holds what, why, and until when',
  changesState: false,
  input: z.strictObject({
    ...pageInput,
    all: z.boolean({ error: 'give true or false' }).default(false).describe('Also locks that ended.'),
  }),
  output: pageOf(lock),
  run: async ({ pool }, { limit, continue: from, all }) => {
    const { rows } = await pool.query<LockRow>(
      `select ${columns} from dory.locks where id > coalesce($1::bigint, 0) and ($2 or ended_at is null and expires_at > now()) order by id limit $3`,
      [numberCursor(from), all, limit + 1],
    );
    return page(rows, limit, toLock, ({ id }) => id);
  },
});

interface LockRow {
  readonly id: string;
  readonly scope: Subject['scope'];
  readonly subject: string;
  readonly name: string;
  readonly owner: string;
  readonly reason: string;
  readonly begun_ms: string;
  readonly until_ms: string;
  readonly ended_ms: string | null;
  readonly ended_by: string | null;
}

/** One that ran out ended when it did. */
const columns = `id, scope, subject, name, owner, reason, ${ms('begun_at')} as begun_ms, ${ms('expires_at')} as until_ms,
  ${ms('coalesce(ended_at, case when expires_at <= now() then expires_at end)')} as ended_ms, ended_by`;

function toLock(row: LockRow): Lock {
  const at = (value: string): string => formatInstant(instant(Number(value)));
  return {
    id: Number(row.id),
    subject: `${row.scope}/${row.name}`,
    owner: row.owner,
    reason: row.reason,
    begun: at(row.begun_ms),
    until: at(row.until_ms),
    ended: row.ended_ms === null ? null : at(row.ended_ms),
    endedBy: row.ended_by,
  };
}

async function recorded(client: PoolClient, rows: readonly LockRow[], kind: string, caller: Caller): Promise<Lock> {
  const [row] = rows;
  if (row === undefined) throw new Error('a statement on a lock returned no row');
  const { subject: name, owner, reason: why, until } = toLock(row);
  await recordAct(client, caller, {
    kind,
    ...(row.scope === 'node' ? { nodeId: row.subject } : {}),
    ...(row.scope === 'processor' ? { processorId: row.subject } : {}),
    evidence: { lock: name, owner, reason: why, until },
  });
  return toLock(row);
}

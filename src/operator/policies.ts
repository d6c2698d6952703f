import type { PoolClient } from 'pg';
import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { conflictsOfPolicy, conflictsOfThresholds } from '../model/policy-conflicts.ts';
import { formatInstant, instant } from '../model/time.ts';
import { timeOfDay } from '../plan/policy.ts';
import { inTransaction, ms } from '../platform/pg.ts';
import type { Settings } from '../platform/settings-schema.ts';
import { moment, reason, text } from './fields.ts';
import { operation, pageInput, pageOf, type Caller } from './operation.ts';
import { page } from './pages.ts';
import { recordAct } from './record.ts';
import { findSubject } from './subjects.ts';

const oneOf = <const Values extends readonly [string, ...string[]]>(...values: Values) => z.enum(values, { error: `give one of ${values.join(', ')}` });
const window = (() => {
  const error = 'give a time of day in UTC such as 02:00-04:30';
  return z.string({ error }).regex(/^(?:[01]\d|2[0-3]):[0-5]\d-(?:[01]\d|2[0-3]):[0-5]\d$/, { error });
})();
const priorityError = 'give a whole number from -1000 to 1000';

const fields = {
  onFailure: oneOf('replace', 'hold', 'manual').describe('When its node fails: move it, leave it, or ask a person.'),
  failback: oneOf('auto', 'window', 'manual').describe('When home is fit again: go home, go within --failback-window, or ask a person.'),
  failbackWindow: window.describe('Time of day in UTC in which it goes home, such as 02:00-04:30.'),
  targets: z.array(oneOf('failover-target', 'managed'), { error: 'give a list of failover-target, managed' }).min(1, { error: 'give at least one target' }).max(2)
    .describe('Where it goes, in this order: failover-target, managed.'),
  writerAlive: oneOf('move', 'hold').describe('When its node is not ready and its agent beats: move it behind a fence, or leave it.'),
  unfenced: oneOf('replace', 'hold').describe('Whether the silence, or the word, of its agent may be taken for its end, if that never proved that it honours leases: replace it then, or leave it.'),
  stateLoss: oneOf('refuse', 'accept').describe('State that stays on the node: never leave without it, or start without it.'),
  priority: z.int({ error: priorityError }).min(-1000, { error: priorityError }).max(1000, { error: priorityError }).describe('Higher goes first where failovers are slowed down.'),
};

const match = text('what it is for', 300)
  .regex(/^(?:processor|template)\/[^/]+$/, { error: 'give template/SLUG or processor/ID' })
  .describe('template/SLUG or processor/ID.');

const nullable = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.nullable()])) as { [Name in keyof typeof fields]: z.ZodNullable<(typeof fields)[Name]> };
const policy = z.object({
  match: z.string(),
  ...nullable,
  by: z.string(),
  set: moment,
});
export type PolicyRecord = z.output<typeof policy>;

export const policySet = operation({
  name: 'policy.set',
  method: 'PUT',
  path: '/api/v1/policies',
  summary: 'say how failures of one template or processor are met, over the settings',
  changesState: true,
  input: z.strictObject({ match, ...z.object(fields).partial().shape, reason }),
  output: policy,
  run: ({ pool, settings }, { match: given, reason: why, ...wanted }, caller) =>
    inTransaction(pool, {}, async (client) => {
      const values = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
      if (Object.keys(values).length === 0) throw new Failure('invalid-input', `${given}: nothing is said of it.`, { mend: `Give at least one of ${Object.keys(fields).join(', ')}.` });
      const subject = await canonical(client, given);
      await recordAct(client, caller, { kind: 'policy-set', ...subject.about, evidence: { match: subject.match, ...values, reason: why } });
      const written = await write(client, subject.match, wanted, caller);
      refuseConflicts(given, written, settings);
      return written;
    }),
});

/** What is wrong with it on top of the settings. @throws Failure `invalid-input` */
function refuseConflicts(given: string, { failback, failbackWindow, unfenced }: PolicyRecord, { failover, heartbeats }: Settings): void {
  const [from, to] = failbackWindow?.split('-').map(minuteOfDay) ?? [];
  const window = from === undefined || to === undefined ? failover.failbackWindow : { fromMinute: from, toMinute: to };
  const [conflict] = [
    ...conflictsOfPolicy({ failback: failback ?? failover.failback, failbackWindow: window }),
    ...conflictsOfThresholds(failover, unfenced ?? failover.unfenced, heartbeats.interval),
  ];
  if (conflict !== undefined) throw new Failure('invalid-input', `${given}: ${conflict.sentence}.`, { mend: 'Nothing was changed: give what goes together, such as --failback window --failback-window 02:00-04:30.' });
}

/** What is not given stays as it was said before. */
async function write(client: PoolClient, subject: string, wanted: Wanted, { name }: Caller): Promise<PolicyRecord> {
  const [from = null, to = null] = wanted.failbackWindow?.split('-').map(minuteOfDay) ?? [];
  const { rows } = await client.query<PolicyRow>(
    `insert into dory.policies as p (match, on_failure, failback, failback_from, failback_to, targets, writer_alive, unfenced, state_loss, priority, set_by)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     on conflict (match) do update set
       ${['on_failure', 'failback', 'failback_from', 'failback_to', 'targets', 'writer_alive', 'unfenced', 'state_loss', 'priority']
         .map((column) => `${column} = coalesce(excluded.${column}, p.${column})`).join(', ')},
       set_by = excluded.set_by, set_at = now()
     returning ${columns}`,
    [
      subject, wanted.onFailure ?? null, wanted.failback ?? null, from, to, wanted.targets ?? null,
      wanted.writerAlive ?? null, wanted.unfenced ?? null, wanted.stateLoss ?? null, wanted.priority ?? null, name,
    ],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('writing a policy returned no row');
  return toPolicy(row);
}

type Wanted = { readonly [Name in keyof typeof fields]?: z.output<(typeof fields)[Name]> | undefined };

export const policyClear = operation({
  name: 'policy.clear',
  method: 'DELETE',
  path: '/api/v1/policies',
  summary: 'take back what was said of one template or processor: the settings hold again',
  changesState: true,
  input: z.strictObject({ match, reason }),
  output: policy,
  run: ({ pool }, { match: given, reason: why }, caller) =>
    inTransaction(pool, {}, async (client) => {
      const subject = await canonical(client, given);
      const { rows } = await client.query<PolicyRow>(`delete from dory.policies where match = $1 returning ${columns}`, [subject.match]);
      const [row] = rows;
      if (row === undefined) throw new Failure('not-found', `Nothing is said of ${given}.`, { mend: 'See `dory policy list`.' });
      await recordAct(client, caller, { kind: 'policy-cleared', ...subject.about, evidence: { match: subject.match, reason: why } });
      return toPolicy(row);
    }),
});

export const policyList = operation({
  name: 'policy.list',
  method: 'GET',
  path: '/api/v1/policies',
  summary: 'what was said of single templates and processors, over the settings',
  changesState: false,
  input: z.strictObject({ ...pageInput }),
  output: pageOf(policy),
  run: async ({ pool }, { limit, continue: from }) => {
    const { rows } = await pool.query<PolicyRow>(
      `select ${columns} from dory.policies where match collate "C" > $1 order by match collate "C" limit $2`,
      [from ?? '', limit + 1],
    );
    return page(rows, limit, toPolicy, ({ match: last }) => last);
  },
});

interface PolicyRow {
  readonly match: string;
  readonly on_failure: PolicyRecord['onFailure'];
  readonly failback: PolicyRecord['failback'];
  readonly failback_from: number | null;
  readonly failback_to: number | null;
  readonly targets: PolicyRecord['targets'];
  readonly writer_alive: PolicyRecord['writerAlive'];
  readonly unfenced: PolicyRecord['unfenced'];
  readonly state_loss: PolicyRecord['stateLoss'];
  readonly priority: number | null;
  readonly set_by: string;
  readonly set_ms: string;
}

const columns = `match, on_failure, failback, failback_from, failback_to, targets, writer_alive, unfenced, state_loss, priority, set_by,
  ${ms('set_at')} as set_ms`;

function toPolicy(row: PolicyRow): PolicyRecord {
  const { failback_from: from, failback_to: to } = row;
  return {
    match: row.match,
    onFailure: row.on_failure,
    failback: row.failback,
    failbackWindow: from === null || to === null ? null : `${timeOfDay(from)}-${timeOfDay(to)}`,
    targets: row.targets,
    writerAlive: row.writer_alive,
    unfenced: row.unfenced,
    stateLoss: row.state_loss,
    priority: row.priority,
    by: row.set_by,
    set: formatInstant(instant(Number(row.set_ms))),
  };
}

/** As `plan` compares it: with the processor's whole id. */
async function canonical(client: PoolClient, given: string): Promise<{ readonly match: string; readonly about: { readonly processorId?: string } }> {
  const found = await findSubject(client, given);
  return found.scope === 'processor' ? { match: `processor/${found.id}`, about: { processorId: found.id } } : { match: `template/${found.name}`, about: {} };
}

/** `04:30` → 270 */
function minuteOfDay(time: string): number {
  const [hour = 0, minute = 0] = time.split(':').map(Number);
  return hour * 60 + minute;
}

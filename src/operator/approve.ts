import type { PoolClient } from 'pg';
import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { ReasonCode } from '../model/reasons.ts';
import { formatInstant, instant, seconds } from '../model/time.ts';
import { plan } from '../plan/plan.ts';
import { inTransaction, ms } from '../platform/pg.ts';
import { duration, moment, processor, reason, text } from './fields.ts';
import { assertUnlocked } from './locks.ts';
import { operation, type Caller, type OperatorContext } from './operation.ts';
import { recordAct } from './record.ts';
import { findProcessor } from './subjects.ts';

const subjects = 'empty-result, foreign-edit, guard, budget, move/PROCESSOR or failback/PROCESSOR';

export const approve = operation({
  name: 'approve',
  method: 'POST',
  path: '/api/v1/approvals',
  summary: 'let happen what waits for a person',
  changesState: true,
  input: z.strictObject({
    subject: text(subjects, 300)
      .regex(/^(?:empty-result|foreign-edit|guard|budget|(?:move|failback)\/[^/]+)$/, { error: `give ${subjects}` })
      .describe(`${subjects}, as \`dory status\` names it.`),
    reason,
    // Long enough for a person to see what happens, short enough to be forgotten safely.
    for: duration(seconds(60), seconds(24 * 3600), '1h, from 1m to 24h').prefault('1h').describe('How long it holds.'),
  }),
  output: z.object({
    subject: z.string(),
    by: z.string(),
    until: moment,
    covers: z.array(z.string()).nullable().describe('The processors that it lets go, as withheld when it was given; null: it is not about single ones.'),
  }),
  run: async (context, input, caller) => {
    const covers = await withheld(context, input.subject);
    return inTransaction(context.pool, {}, async (client) => {
      const subject = await canonical(client, input.subject, caller);
      const { rows } = await client.query<{ until_ms: string }>(
        `insert into dory.approvals (subject, approved_by, reason, expires_at, covers) values ($1, $2, $3, now() + $4 * interval '1 ms', $5)
         on conflict (subject) do update set approved_by = excluded.approved_by, reason = excluded.reason, approved_at = now(),
           expires_at = excluded.expires_at, covers = excluded.covers
         returning ${ms('expires_at')} as until_ms`,
        [subject, caller.name, input.reason, input.for, covers],
      );
      const until = formatInstant(instant(Number(rows[0]?.until_ms)));
      await recordAct(client, caller, { kind: 'approved', ...aboutProcessor(subject), evidence: { subject, reason: input.reason, until, processors: covers?.length ?? null } });
      return { subject, by: caller.name, until, covers };
    });
  },
});

/** The holds that an approval of the subject ends. */
const holdsOf: Readonly<Record<string, readonly ReasonCode[]>> = {
  guard: ['guard-frozen', 'guard-rate'],
  budget: ['budget-spent', 'budget-exceeded'],
};

/** What the guard or the budget withholds right now: an approval is of what a person saw, not of what comes next. */
async function withheld(context: OperatorContext, subject: string): Promise<ProcessorId[] | null> {
  const reasons = holdsOf[subject];
  if (reasons === undefined) return null;
  const { holds, guard } = plan(await context.observe());
  const covered = holds.filter((hold) => hold.withheld !== null && reasons.includes(hold.reason)).map(({ processorId }) => processorId);
  // A panic may freeze what has not been decided yet.
  if (covered.length > 0 || (subject === 'guard' && guard.state === 'panic')) return covered;
  throw new Failure('conflict', `Nothing is withheld by the ${subject} now: there is nothing to approve.`, { mend: 'See `dory status` for what waits.' });
}

/** The subject with the processor's id in it. @throws Failure `locked` if somebody else works on that processor */
async function canonical(client: PoolClient, subject: string, caller: Caller): Promise<string> {
  const [what = '', name] = subject.split('/');
  if (name === undefined) return subject;
  const found = await findProcessor(client, name);
  await assertUnlocked(client, { scope: 'processor', ...found }, caller);
  return `${what}/${found.id}`;
}

function aboutProcessor(subject: string): { readonly processorId?: string } {
  const [, processorId] = subject.split('/');
  return processorId === undefined ? {} : { processorId };
}

export const confirmStop = operation({
  name: 'confirm-stop',
  method: 'POST',
  path: '/api/v1/processors/:processor/confirm-stop',
  summary: 'vouch that the old pod of a processor runs no more, so that its successor may start',
  changesState: true,
  input: z.strictObject({ processor, reason }),
  output: z.object({ processor: z.string(), name: z.string(), epoch: z.int().describe('The placement that is over.') }),
  run: ({ pool }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const found = await findProcessor(client, input.processor);
      await assertUnlocked(client, { scope: 'processor', ...found }, caller);
      const epoch = await epochToEnd(client, found);
      await client.query(
        `insert into dory.stop_confirmations (processor_id, epoch, confirmed_by) values ($1, $2, $3)
         on conflict (processor_id, epoch) do update set confirmed_by = excluded.confirmed_by, confirmed_at = excluded.confirmed_at`,
        [found.id, epoch, caller.name],
      );
      await recordAct(client, caller, { kind: 'stop-confirmed', processorId: found.id, evidence: { epoch, reason: input.reason } });
      return { processor: found.id, name: found.name, epoch };
    }),
});

/** A pod on a node that is well can be asked; nobody has to vouch for it. @throws Failure `conflict` */
async function epochToEnd(client: PoolClient, { id, name }: { readonly id: ProcessorId; readonly name: string }): Promise<number> {
  const { rows } = await client.query<{ epoch: string; phase: string; verdict: string | null }>(
    `select p.epoch, p.phase, v.verdict from dory.placements p left join dory.node_verdicts v on v.node_id = p.target_node_id
      where p.processor_id = $1 for share of p`,
    [id],
  );
  const [row] = rows;
  if (row !== undefined && (row.phase === 'stopping' || row.verdict === 'lost' || row.verdict === 'silent')) return Number(row.epoch);
  throw new Failure('conflict', `${name} is neither stopping, nor on a node that is lost: there is nothing to confirm.`, { mend: 'See `dory status` for what waits.' });
}

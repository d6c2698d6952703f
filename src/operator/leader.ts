import { z } from 'zod';
import { formatInstant } from '../model/time.ts';
import { leaderOf, stepDown } from '../platform/leadership.ts';
import { moment, reason } from './fields.ts';
import { operation } from './operation.ts';

export const leader = operation({
  name: 'leader',
  method: 'GET',
  path: '/api/v1/leader',
  summary: 'which instance leads; every instance answers',
  changesState: false,
  input: z.strictObject({}),
  output: z.object({
    holder: z.string().nullable().describe('Null: nobody leads.'),
    epoch: z.int().nullable(),
    since: moment.nullable(),
    leaseLeftMs: z.number().nullable().describe('Until the lease runs out if it is not renewed.'),
  }),
  run: async ({ pool }) => {
    const found = await leaderOf(pool);
    if (found === null) return { holder: null, epoch: null, since: null, leaseLeftMs: null };
    return { holder: found.holder, epoch: found.epoch, since: formatInstant(found.since), leaseLeftMs: found.leaseLeft };
  },
});

export const leaderStepDown = operation({
  name: 'leader.step-down',
  method: 'POST',
  path: '/api/v1/leader/step-down',
  summary: 'take leadership away from the instance that has it; another takes it at once',
  changesState: true,
  input: z.strictObject({ reason }),
  output: z.object({
    holder: z.string().nullable().describe('Who led; null: nobody did.'),
    epoch: z.int().nullable(),
  }),
  run: async ({ pool }, input, caller) => {
    const before = await stepDown(pool, caller.name, { reason: input.reason });
    return { holder: before?.holder ?? null, epoch: before?.epoch ?? null };
  },
});

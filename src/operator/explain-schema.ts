import { z } from 'zod';
import { appliedProcessorSchema, commitSchema } from './applied-view.ts';
import { moment } from './fields.ts';
import { rolloutSchema } from './rollouts-view.ts';

/** What `explain` answers with. */
const because = { reason: z.string().describe('A reason code.'), why: z.string().describe('The reason as a sentence.') };
const age = z.int().nullable();

const lock = z.object({ name: z.string(), owner: z.string(), reason: z.string(), until: moment });

export const fleetSchema = z.object({
  guard: z.object({ state: z.enum(['calm', 'site-out', 'degraded', 'panic']), since: moment, ...because }),
  paused: z.object({ by: z.string(), reason: z.string(), since: moment }).nullable(),
  intake: z.string().nullable().describe('Null: heartbeats are stored, so silence is evidence. Else why it is none.'),
  refusals: z.array(z.object({ subject: z.string(), ...because })).describe('What stops everything until a person approves.'),
  budget: z.object({ spent: z.int(), windowMs: z.int() }).describe('Changes within the window that count against the change budget.'),
});

export const nodeSchema = z.object({
  id: z.string(),
  name: z.string(),
  site: z.string(),
  verdict: z.string(),
  since: moment,
  ageMs: z.int(),
  sure: z.boolean().describe('Whether the facts of now say so; nothing moves on account of a verdict that is not.'),
  ...because,
  heartbeat: z.object({ state: z.string().describe('fresh, pending, stale, none (nobody is expected to beat) or blind.'), at: moment.nullable(), ageMs: age }),
  kubernetes: z.object({
    state: z.string().describe('ready, grace, not-ready, down (no news of the cluster) or none (no cluster, or none that knows the node).'),
    ready: z.string().nullable(),
    sinceMs: age.describe('For how long Ready is as it is.'),
    kubeletMs: age.describe('How long ago the kubelet renewed its lease.'),
    taints: z.array(z.string()),
  }),
  flaps: z.int().describe('How often it failed lately.'),
  windowMs: z.int().describe('So long it must be steady before processors go home.'),
  failover: z.object({ enabled: z.boolean(), target: z.string().nullable() }),
  processors: z.object({ placed: z.int(), stopping: z.int(), home: z.int().describe('Those of which it is the home.') }),
  planned: z.array(z.object({ kind: z.string(), reason: z.string(), count: z.int() })).describe('What would be decided now for those that are placed there, at home there, or come there.'),
  holds: z.array(z.object({ ...because, needsPerson: z.boolean(), count: z.int() })).describe('Of those that are placed there, or at home there.'),
  locks: z.array(lock),
});

export const processorSchema = z.object({
  id: z.string(),
  name: z.string(),
  template: z.string(),
  version: z.string(),
  namespace: z.string(),
  home: z.string(),
  atHome: z.boolean(),
  placement: z
    .object({ target: z.string(), phase: z.enum(['active', 'stopping']), epoch: z.int(), reason: z.string(), since: moment, ageMs: z.int(), revision: z.int() })
    .nullable()
    .describe('Null: it runs nowhere.'),
  agent: z
    .object({
      lastBeatMs: age.describe('How long ago its last heartbeat came; null: none of this epoch.'),
      leaseMs: age.describe('How long its lease is still good; negative: over. Null: it never proved that it honours leases.'),
      publishedMs: age.describe('How long ago the commit of its placement reached the remote.'),
      acknowledgedMs: age.describe('How long ago it said that it stopped.'),
      confirmedBy: z.string().nullable(),
      pods: z.string().describe('present, gone, or why it is not known.'),
    })
    .nullable(),
  applied: appliedProcessorSchema,
  commit: commitSchema,
  rollout: rolloutSchema,
  policy: z.array(z.object({ field: z.string(), value: z.string(), origin: z.enum(['default', 'template', 'processor']) })),
  candidates: z.array(z.object({ target: z.string(), role: z.enum(['home', 'refuge']), chosen: z.boolean(), reason: z.string().nullable(), why: z.string().nullable() })),
  end: z.object({ passed: z.boolean(), reason: z.string().nullable(), why: z.string() }).nullable().describe('What is known of the end of its old pod, while it has to leave.'),
  planned: z.object({ kind: z.string(), to: z.string().nullable(), epoch: z.int().nullable(), ...because }).nullable().describe('What would be decided now.'),
  hold: z
    .object({ ...because, needsPerson: z.boolean(), mend: z.string().nullable().describe('What a person can do.'), withheld: z.string().nullable().describe('What was decided and may not happen now.') })
    .nullable(),
  locks: z.array(lock),
  quarantined: z.array(z.object({ field: z.string(), value: z.string().nullable(), mend: z.string() })).nullable(),
});

export const nextSchema = z.object({
  inMs: z.int(),
  kind: z.string(),
  to: z.string().nullable(),
  count: z.int().describe('How many processors.'),
  ...because,
});

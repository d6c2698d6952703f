import { z } from 'zod';
import { createNodeRegistry, parseRegistration, type MayLeave, type NodeOutcome, type NodeRegistry } from '../http/nodes.ts';
import { Failure } from '../model/failure.ts';
import type { NodeId } from '../model/ids.ts';
import { formatInstant, instant } from '../model/time.ts';
import { inTransaction } from '../platform/pg.ts';
import { moment, node, reason, text } from './fields.ts';
import { assertUnlocked } from './locks.ts';
import { operation, type OperatorContext } from './operation.ts';
import { recordAct } from './record.ts';
import { findNode } from './subjects.ts';

const row = z.object({
  id: z.string(),
  name: z.string(),
  organizationId: z.string().nullable(),
  status: z.string(),
  failoverEnabled: z.boolean(),
  failoverTargetNodeId: z.string().nullable(),
  lastHeartbeat: moment.nullable(),
  changed: z.boolean().describe('False: it was so before.'),
});
export type NodeRecord = z.output<typeof row>;

export const nodeRegister = operation({
  name: 'node.register',
  method: 'POST',
  path: '/api/v1/nodes',
  summary: 'put an edge node into service, or a decommissioned one back',
  changesState: true,
  input: z.strictObject({
    name: text('the name of the Kubernetes node', 63).describe("The Kubernetes node's name."),
    organizationId: z.uuid({ error: 'give a uuid' }).optional().describe('Where the same name is used by several organisations.'),
    failoverEnabled: z.boolean({ error: 'give true or false' }).optional().describe('Whether its processors may leave it when it fails; true unless said.'),
    reason,
  }),
  output: row,
  run: async (context, { name, organizationId, failoverEnabled, reason: why }, caller) => {
    const parsed = parseRegistration({ name, organization_id: organizationId, failover_enabled: failoverEnabled });
    if (!parsed.ok) throw new Failure('invalid-input', parsed.problems.map(({ field, mend }) => `${field}: ${mend}`).join(' '), { problems: parsed.problems });
    return recordOf(await registryOf(context).register(parsed.value, { by: caller.name, reason: why }));
  },
});

export const nodeDecommission = operation({
  name: 'node.decommission',
  method: 'POST',
  path: '/api/v1/nodes/:node/decommission',
  summary: 'take an edge node out of service for good: its processors leave it first',
  changesState: true,
  input: z.strictObject({ node, reason }),
  output: row,
  run: async (context, input, caller) => {
    const { id } = await findNode(context.pool, input.node);
    return recordOf(await registryOf(context).decommission({ by: 'id', id }, { by: caller.name, reason: input.reason }));
  },
});

/** A node under somebody's maintenance stays until it is over. @throws Failure `locked` */
export const mayLeave: MayLeave = (client, { id, name }, word) => assertUnlocked(client, { scope: 'node', id: id as NodeId, name }, { name: word?.by ?? '' });

function registryOf({ pool }: OperatorContext): NodeRegistry {
  return createNodeRegistry(pool, mayLeave);
}

function recordOf(outcome: NodeOutcome): NodeRecord {
  switch (outcome.kind) {
    case 'created':
    case 'changed':
    case 'unchanged': {
      const { node: found } = outcome;
      return {
        id: found.id,
        name: found.name,
        organizationId: found.organization_id,
        status: found.status,
        failoverEnabled: found.failover_enabled ?? true,
        failoverTargetNodeId: found.failover_target_node_id,
        lastHeartbeat: found.last_heartbeat_at === null ? null : formatInstant(instant(found.last_heartbeat_at.getTime())),
        changed: outcome.kind !== 'unchanged',
      };
    }
    case 'missing':
      throw new Failure('not-found', 'There is no such node.');
    case 'invalid':
    case 'conflict':
      throw new Failure(outcome.kind === 'invalid' ? 'invalid-input' : 'conflict', `${outcome.problem.field} (${outcome.problem.value}): ${outcome.problem.mend}`, { problems: [outcome.problem] });
  }
}

export const ack = operation({
  name: 'ack',
  method: 'POST',
  path: '/api/v1/nodes/:node/ack',
  summary: 'forget the failures of a node that came and went: its processors may go home after the shortest window',
  changesState: true,
  input: z.strictObject({ node, reason }),
  output: z.object({ node: z.string(), name: z.string(), flaps: z.int().describe('How many failures were forgotten.') }),
  run: ({ pool }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const { id, name } = await findNode(client, input.node);
      const { rows } = await client.query<{ flaps: number }>('select flaps from dory.node_verdicts where node_id = $1 for update', [id]);
      const flaps = rows[0]?.flaps ?? 0;
      if (flaps > 0) {
        await client.query('update dory.node_verdicts set flaps = 0 where node_id = $1', [id]);
        await recordAct(client, caller, { kind: 'flaps-acknowledged', nodeId: id, evidence: { flaps, reason: input.reason } });
      }
      return { node: id, name, flaps };
    }),
});

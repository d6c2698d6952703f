import type { PoolClient } from 'pg';
import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import type { NodeName } from '../model/ids.ts';
import { inTransaction } from '../platform/pg.ts';
import { node, reason } from './fields.ts';
import { assertUnlocked } from './locks.ts';
import { operation } from './operation.ts';
import { recordAct } from './record.ts';
import { findNode, type KnownNode } from './subjects.ts';

export const nodePowerOffConfirmed = operation({
  name: 'node.power-off-confirmed',
  method: 'POST',
  path: '/api/v1/nodes/:node/power-off-confirmed',
  summary: 'vouch that a node has no power: its pods have ended, and Kubernetes may free their volumes',
  changesState: true,
  input: z.strictObject({ node, reason }),
  output: z.object({
    node: z.string(),
    name: z.string(),
    processors: z.int().describe('Those that are placed there: their stop is proved with it, as soon as the cluster can start them there no more.'),
    changed: z.boolean().describe('False: it was confirmed before.'),
  }),
  run: (context, input, caller) =>
    inTransaction(context.pool, {}, async (client) => {
      const found = await findNode(client, input.node);
      await assertUnlocked(client, { scope: 'node', ...found }, caller);
      // As a decision locks them: the word, then the verdict.
      await client.query('select from dory.power_offs where node_id = $1 for update', [found.id]);
      await assertOff(client, found, context.nodeCondition(found.name as NodeName)?.ready ?? 'unknown');
      const { rowCount } = await client.query(
        // A word from before it beat again is of another time: without a cluster, nobody ends it.
        `insert into dory.power_offs as p (node_id, node_name, confirmed_by, reason) values ($1, $2, $3, $4)
         on conflict (node_id) do update set confirmed_by = excluded.confirmed_by, reason = excluded.reason, confirmed_at = now()
          where exists (select from edge_nodes n where n.id = p.node_id and n.last_heartbeat_at > p.confirmed_at)`,
        [found.id, found.name, caller.name, input.reason],
      );
      const { rowCount: processors } = await client.query('select from dory.placements where target_node_id = $1', [found.id]);
      const changed = rowCount === 1;
      if (changed) await recordAct(client, caller, { kind: 'power-off-confirmed', nodeId: found.id, evidence: { processors, reason: input.reason } });
      return { node: found.id, name: found.name, processors: processors ?? 0, changed };
    }),
});

/** Whose kubelet or agents show life has power, whatever a person says. @throws Failure `conflict` */
async function assertOff(client: PoolClient, { id, name }: KnownNode, ready: 'true' | 'false' | 'unknown'): Promise<void> {
  const { rows } = await client.query<{ verdict: string }>('select verdict from dory.node_verdicts where node_id = $1 for share', [id]);
  const verdict = rows[0]?.verdict ?? 'unknown';
  if (ready === 'unknown' && (verdict === 'lost' || verdict === 'decommissioned')) return;
  throw new Failure('conflict', `${name} is ${ready === 'unknown' ? verdict : `told by its kubelet to be ${ready === 'true' ? 'Ready' : 'not Ready'}`}: only what is lost, or decommissioned, can be without power.`, {
    mend: 'Check that it is the right node; one that was just switched off is lost as soon as its heartbeats are stale: see `dory nodes`.',
  });
}

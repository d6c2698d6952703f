import type { Pool, PoolClient } from 'pg';
import type { NodeId, NodeName } from '../model/ids.ts';
import { Failure } from '../model/failure.ts';
import { outOfServiceTaint } from '../model/kubernetes-names.ts';
import type { LiveProcessor } from '../model/rollout.ts';
import { refusal } from '../platform/kube/client.ts';
import { inTransaction } from '../platform/pg.ts';
import { inTurn } from './in-turn.ts';
import { nodePath, readNode, type LiveNode, type PodCalls } from './pods.ts';

/**
 * Nodes of which a person said that they have no power: the word is a row of `dory.power_offs`. Kubernetes then tells their pods to end and
 * frees their volumes at once, on account of the taint, and starts nothing there: only so is the word a proof (`observe/power-offs.ts`).
 * Both go when anything there shows life: the kubelet, though it may say that the node is not ready yet, for what makes it ready may not
 * tolerate the taint; or an agent's beat since. Not before the cluster has done what was decided on that word: until the
 * StatefulSet of what left is gone, it would start anew there, beside its successor.
 */
export interface PowerOffOptions extends PodCalls {
  readonly pool: Pool;
  /** What the watch shows of a node, so that nothing is asked while all is as it should be; null where it shows no such node. */
  readonly condition: (name: NodeName) => { readonly ready: 'true' | 'false' | 'unknown'; readonly taints: readonly string[] } | null;
  /** What the watch shows of a processor; null while that is not known for certain. */
  readonly live: (processorId: string) => LiveProcessor | null;
  /** Reads the lease again. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
}

const [key = '', value = ''] = outOfServiceTaint.split('=');
const outOfService = { key, value, effect: 'NoExecute' } as const;

interface PowerOff {
  readonly id: NodeId;
  readonly name: NodeName;
  /** Since the word was given. */
  readonly beats: boolean;
}

/** @throws Failure of the database or the cluster, `not-leader`; what was not done is done next time */
export async function tendPowerOffs(options: PowerOffOptions): Promise<void> {
  const { rows } = await options.pool.query<PowerOff>(
    `select p.node_id as id, p.node_name as name, coalesce(n.last_heartbeat_at > p.confirmed_at, false) as beats
       from dory.power_offs p left join edge_nodes n on n.id = p.node_id order by p.node_id`,
  );
  const failed = await inTurn(rows.map((powerOff) => () => tend(options, powerOff)));
  if (failed !== null) throw failed.error;
}

async function tend(options: PowerOffOptions, { id, name, beats }: PowerOff): Promise<void> {
  const seen = options.condition(name);
  const settled = seen === null || (seen.ready === 'unknown' && seen.taints.includes(outOfServiceTaint));
  if (settled && !beats) return;
  const node = await readNode(options, name);
  await options.assertLeading();
  const tainted = node?.taints.some(isOurs) === true;
  if (!beats && (node === null || node.ready === 'Unknown')) {
    if (node !== null && !tainted) await setTaints(options, name, node, [...node.taints, outOfService]);
    return;
  }
  // Patient: were the row let go of while the node is asked for, a decision could take the word of a node that is back in service.
  await inTransaction(options.pool, { patient: true }, async (client) => {
    // A decision on this word that is being written comes before this, and is seen below; or after it, and sees that the word is over.
    const { rowCount } = await client.query('select from dory.power_offs where node_id = $1 for update', [id]);
    if (rowCount === 0 || (await mayStartOld(client, options, { id, name }))) return;
    const cleared = node === null || !tainted || (await setTaints(options, name, node, node.taints.filter((taint) => !isOurs(taint))));
    if (cleared) await endPowerOff(client, id);
  });
}

/** Whether something that left the node since the word was given would start there once more; what is not known would. */
async function mayStartOld(client: PoolClient, { live }: PowerOffOptions, { id, name }: Pick<PowerOff, 'id' | 'name'>): Promise<boolean> {
  const { rows } = await client.query<{ processor: string; epoch: string }>(
    `select c.processor_id as processor, coalesce(p.epoch, max((c.before ->> 'epoch')::bigint) + 1) as epoch
       from dory.power_offs o
       join dory.revisions r on r.decided_at >= o.confirmed_at - interval '5 minutes'
       join dory.changes c on c.revision = r.id and c.before -> 'target' ->> 'nodeId' = o.node_id::text
       left join dory.placements p on p.processor_id = c.processor_id
      where o.node_id = $1 and (c.placement is null or (c.placement ->> 'epoch')::bigint > (c.before ->> 'epoch')::bigint)
      group by c.processor_id, p.epoch`,
    [id],
  );
  return rows.some(({ processor, epoch }) => {
    const shown = live(processor);
    if (shown === null) return true;
    const isOld = (member: { readonly epoch: number }): boolean => member.epoch > 0 && member.epoch < Number(epoch);
    return shown.sets.some((set) => isOld(set) && set.wanted > 0) || shown.pods.some((pod) => isOld(pod) && !pod.terminating && (pod.node === null || pod.node === name));
  });
}

function isOurs({ key, value, effect }: LiveNode['taints'][number]): boolean {
  return key === outOfService.key && value === outOfService.value && effect === outOfService.effect;
}

/** The list is written whole, so only on the version that was read. False: somebody else wrote it in between. */
async function setTaints({ writer }: PowerOffOptions, name: string, { resourceVersion }: LiveNode, taints: LiveNode['taints']): Promise<boolean> {
  const what = `PATCH ${nodePath(name)}`;
  const text = JSON.stringify({ metadata: { resourceVersion }, spec: { taints } });
  const answer = await writer.send({ method: 'PATCH', path: nodePath(name), body: { type: 'application/merge-patch+json', text } });
  if (answer.kind !== 'answered') throw new Failure('kubernetes-unreachable', `Kubernetes can't be reached (${what}): ${answer.why}`);
  if (answer.status === 409) return false;
  if (answer.status >= 300) throw refusal(answer.status, what, typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
  return true;
}

async function endPowerOff(client: PoolClient, id: NodeId): Promise<void> {
  await client.query(
    `with ended as (delete from dory.power_offs where node_id = $1 returning node_id, confirmed_by, confirmed_at)
     insert into dory.events (kind, node_id, evidence)
     select 'power-off-ended', node_id, jsonb_build_object('by', confirmed_by, 'since', confirmed_at) from ended`,
    [id],
  );
}

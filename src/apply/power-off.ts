import type { Pool } from 'pg';
import type { NodeName } from '../model/ids.ts';
import { Failure } from '../model/failure.ts';
import { refusal } from '../platform/kube/client.ts';
import { inTurn } from './in-turn.ts';
import { nodePath, readNode, type LiveNode, type PodCalls } from './pods.ts';

/**
 * Nodes of which a person said that they have no power: the word is a row of `dory.power_offs`. Kubernetes then deletes their pods and
 * frees their volumes at once, on account of the taint. It goes, and so does the row, as soon as anything there shows life: the kubelet,
 * though it may say that the node is not ready yet, for what makes it ready may not tolerate the taint; or an agent's beat since.
 */
export interface PowerOffOptions extends PodCalls {
  readonly pool: Pool;
  /** What the watch shows of a node, so that nothing is asked while all is as it should be; null where it shows no such node. */
  readonly condition: (name: NodeName) => { readonly ready: 'true' | 'false' | 'unknown'; readonly taints: readonly string[] } | null;
  /** Reads the lease again. @throws Failure `not-leader` */
  readonly assertLeading: () => Promise<void>;
}

/** As Kubernetes' documentation of non-graceful node shutdown has it. */
const outOfService = { key: 'node.kubernetes.io/out-of-service', value: 'nodeshutdown', effect: 'NoExecute' } as const;

interface PowerOff {
  readonly id: string;
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
  const settled = seen === null || (seen.ready === 'unknown' && seen.taints.includes(`${outOfService.key}=${outOfService.value}`));
  if (settled && !beats) return;
  const node = await readNode(options, name);
  await options.assertLeading();
  const tainted = node?.taints.some(isOurs) === true;
  if (!beats && (node === null || node.ready === 'Unknown')) {
    if (node !== null && !tainted) await setTaints(options, name, node, [...node.taints, outOfService]);
    return;
  }
  const cleared = node === null || !tainted || (await setTaints(options, name, node, node.taints.filter((taint) => !isOurs(taint))));
  if (cleared) await endPowerOff(options.pool, id);
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

async function endPowerOff(pool: Pool, id: string): Promise<void> {
  await pool.query(
    `with ended as (delete from dory.power_offs where node_id = $1 returning node_id, confirmed_by, confirmed_at)
     insert into dory.events (kind, node_id, evidence)
     select 'power-off-ended', node_id, jsonb_build_object('by', confirmed_by, 'since', confirmed_at) from ended`,
    [id],
  );
}

import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { lookAgain, type ConditionOf } from '../../../src/decide/freshest.ts';
import { known } from '../../../src/model/observed.ts';
import type { Plan } from '../../../src/model/plan.ts';
import type { NodeCondition, Snapshot } from '../../../src/model/snapshot.ts';
import { plan } from '../../../src/plan/plan.ts';
import { inTransaction } from '../../../src/platform/pg.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

const [edge1, edge2, cam1, cam2] = ['e1', 'e2', 'c1', 'c2'].map((end) => `00000000-0000-4000-8000-0000000000${end}`) as [string, string, string, string];

let fleet: SmallFleet;
beforeEach(async () => {
  fleet = await openSmallFleet();
  await sql('update edge_nodes set failover_target_node_id = $1 where id = $2', edge2, edge1);
  await fleet.once();
});
afterEach(() => fleet.close());

const sql = (text: string, ...values: unknown[]) => fleet.pool.query(text, values);
const look = (snapshot: Snapshot, planned: Plan, conditionOf: ConditionOf | null = null): Promise<void> =>
  inTransaction(fleet.pool, { isolation: 'read committed' }, (client) => lookAgain(client, snapshot, planned, conditionOf));
const conflict = { code: 'database-conflict', retry: 'now' };

/** edge-1 is lost, and both of its processors are about to move to edge-2. */
async function aboutToMove(): Promise<{ snapshot: Snapshot; planned: Plan }> {
  await fleet.age(61_000, 'edge-1');
  await fleet.beat('edge-2');
  const snapshot = await fleet.engine.stages.observe();
  const planned = plan(snapshot);
  expect(planned.changes.map(({ kind }) => kind)).toEqual(['move', 'move']);
  await look(snapshot, planned);
  return { snapshot, planned };
}

describe('what was decided is not written when meanwhile', () => {
  test.each<[string, string, unknown[]]>([
    ['the lost node spoke up', 'update edge_nodes set last_heartbeat_at = clock_timestamp() where id = $1', [edge1]],
    ['an agent on it beat', "insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 1, clock_timestamp())", [cam1]],
    ['a lease was given', "insert into dory.beats (processor_id, epoch, last_beat_at, lease_until) values ($1, 1, '2020-01-01Z', now() + interval '30 s')", [cam1]],
    ['the node that takes them was decommissioned', "update edge_nodes set status = 'decommissioned' where id = $1", [edge2]],
    ['somebody locked something', "insert into dory.locks (scope, subject, name, owner, reason, expires_at) values ('node', $1, 'edge-1', 'ann', 'x', now() + interval '1 h')", [edge1]],
    ['automation was paused', "update dory.pause set paused = true, changed_by = 'ann', reason = 'x', changed_at = now()", []],
    ['one was handed back', "insert into dory.handovers (subject, towards, asked_by, reason) values ('processor/' || $1::text, 'theirs', 'ann', 'x')", [cam1]],
    ['all were handed back, save another', "insert into dory.handovers (subject, towards, asked_by, reason) values ('fleet', 'theirs', 'ann', 'x'), ('processor/' || $1::text, 'ours', 'ann', 'x')", [cam1]],
  ])('%s', async (_, text, values) => {
    const { snapshot, planned } = await aboutToMove();
    await sql(text, ...values);
    await expect(look(snapshot, planned)).rejects.toMatchObject(conflict);
    await expect(fleet.lead((stages) => stages.decide(snapshot, planned))).rejects.toMatchObject(conflict);
    expect((await sql('select from dory.placements where epoch > 1')).rowCount).toBe(0);
  });
});

describe('what was decided stands although meanwhile', () => {
  test.each<[string, string, unknown[]]>([
    ['a beat of an earlier placement came', 'insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 0, clock_timestamp())', [cam1]],
    ['policy changed', "insert into dory.policies (match, on_failure, set_by) values ('processor/' || $1::text, 'hold', 'ann')", [cam1]],
    ['both are ours by name, of a fleet that was handed back', "insert into dory.handovers (subject, towards, asked_by, reason) values ('fleet', 'theirs', 'ann', 'x'), ('processor/' || $1::text, 'ours', 'ann', 'x'), ('processor/' || $2::text, 'ours', 'ann', 'x')", [cam1, cam2]],
    ['a lock ended', "insert into dory.locks (scope, subject, name, owner, reason, expires_at, ended_at) values ('node', $1, 'edge-1', 'ann', 'x', now() + interval '1 h', now())", [edge1]],
  ])('%s', async (_, text, values) => {
    const { snapshot, planned } = await aboutToMove();
    await sql(text, ...values);
    await look(snapshot, planned);
  });
});

describe('a fence', () => {
  const withFence = (planned: Plan, fence: string): Plan => ({ ...planned, changes: planned.changes.map((change) => ({ ...change, evidence: { ...change.evidence, fence } })) });

  it('of an agent that said that it stopped falls when it started again', async () => {
    const { snapshot, planned } = await aboutToMove();
    await sql('insert into dory.beats (processor_id, epoch, last_beat_at, stop_acknowledged_at) values ($1, 1, now(), now())', cam1);
    await look(snapshot, withFence(planned, 'fence-acknowledged'));
    await sql('update dory.beats set stop_acknowledged_at = null');
    await expect(look(snapshot, withFence(planned, 'fence-acknowledged'))).rejects.toMatchObject(conflict);
  });

  it('that a person vouched for stands', async () => {
    const { snapshot, planned } = await aboutToMove();
    await sql('insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 1, clock_timestamp())', cam1);
    await sql("insert into dory.stop_confirmations (processor_id, epoch, confirmed_by) values ($1, 1, 'ann'), ($2, 1, 'ann')", cam1, cam2);
    await look(snapshot, withFence(planned, 'fence-confirmed'));
    await sql('update dory.stop_confirmations set epoch = 2 where processor_id = $1', cam2);
    await expect(look(snapshot, withFence(planned, 'fence-confirmed'))).rejects.toMatchObject(conflict);
  });

  it('that rests on the word that a node has no power falls when that word is over, by a beat or by whoever ends it', async () => {
    const { snapshot, planned } = await aboutToMove();
    // Of a node that is not lost, no other look is taken at its beats.
    const left = { ...withFence(planned, 'fence-confirmed'), verdicts: [] };
    await sql("insert into dory.power_offs (node_id, node_name, confirmed_by, reason) values ($1, 'edge-1', 'ann', 'the fuse')", edge1);
    await look(snapshot, left);
    await sql('update edge_nodes set last_heartbeat_at = clock_timestamp() where id = $1', edge1);
    await expect(look(snapshot, left)).rejects.toMatchObject(conflict);
    await sql("update edge_nodes set last_heartbeat_at = now() - interval '1 hour' where id = $1", edge1);
    await look(snapshot, left);
    await sql('update dory.power_offs set node_id = $1', edge2);
    await expect(look(snapshot, left)).rejects.toMatchObject(conflict);
  });
});

describe('what the cluster says at the moment of writing', () => {
  const condition = (ready: NodeCondition['ready'], snapshot: Snapshot): NodeCondition => ({ ready, since: snapshot.at, taints: [], leaseAgeMs: null, architecture: null, gpu: null, site: null });
  /** As the snapshot saw it: edge-1 not ready, edge-2 ready. */
  const seenBy = (snapshot: Snapshot): Snapshot => ({
    ...snapshot,
    nodes: snapshot.nodes.map((node) => ({ ...node, kubernetes: known(condition(node.nodeId === edge1 ? 'unknown' : 'true', snapshot), snapshot.at) })),
  });

  test.each<[string, Record<string, NodeCondition['ready'] | null>, boolean]>([
    ['is what was seen', { 'edge-1': 'false', 'edge-2': 'true' }, true],
    ['is nothing', { 'edge-1': null, 'edge-2': null }, true],
    ['is that the lost node is ready', { 'edge-1': 'true', 'edge-2': 'true' }, false],
    ['is that the node that takes them is not ready any more', { 'edge-1': 'unknown', 'edge-2': 'unknown' }, false],
  ])('%s', async (_, now, stands) => {
    const { snapshot, planned } = await aboutToMove();
    const told = look(seenBy(snapshot), planned, (name) => {
      const ready = now[name] ?? null;
      return ready === null ? null : condition(ready, snapshot);
    });
    await (stands ? told : expect(told).rejects.toMatchObject(conflict));
  });
});

test('flaps are recorded with the verdict, read again, and every failed node is offline to others', async () => {
  await fleet.age(61_000, 'edge-1');
  await fleet.once();
  expect((await sql('select verdict, flaps from dory.node_verdicts where node_id = $1', edge1)).rows).toEqual([{ verdict: 'lost', flaps: 1 }]);
  expect((await sql('select status from edge_nodes where id = $1', edge1)).rows).toEqual([{ status: 'offline' }]);
  const { nodes } = await fleet.engine.stages.observe();
  expect(nodes.find(({ nodeId }) => nodeId === edge1)?.recorded).toMatchObject({ verdict: 'lost', flaps: 1 });
});

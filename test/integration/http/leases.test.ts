import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { writeBatch, type JudgedBeat } from '../../../src/http/intake-sql.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { beatOf, testFleet, type TestFleet } from './fleet.ts';

let db: TestDatabase;
let fleet: TestFleet;
let home: string;
let other: string;

beforeAll(async () => {
  db = await testDatabase();
  fleet = await testFleet(db.pool);
});
afterAll(() => db.close());
beforeEach(async () => {
  home = await fleet.node(`home-${randomUUID()}`);
  other = await fleet.node(`other-${randomUUID()}`);
});

const send = (...bodies: Readonly<Record<string, unknown>>[]): Promise<JudgedBeat[]> =>
  writeBatch(db.pool, bodies.map(beatOf), { gapSec: 5, restartCoverage: false, leaseSec: 30, nodeSec: 1, timeoutMs: 10_000 });

async function placed(nodeId: string | null, where: Parameters<TestFleet['place']>[2] = {}): Promise<string> {
  const id = await fleet.processor();
  await fleet.place(id, nodeId, where);
  return id;
}

/** How long the lease is good for after the newest beat; null: none. */
const leaseOf = async (id: string): Promise<number | null | undefined> => {
  const { last_beat_at, lease_until } = (await fleet.beat(id))!;
  return lease_until === null ? null : lease_until.getTime() - last_beat_at.getTime();
};

test('an agent that echoes its epoch from its placement has one, counted from the beat', async () => {
  const id = await placed(home, { epoch: 4 });
  await send({ processor_id: id, node_id: home, placement_epoch: 4 });
  expect(await leaseOf(id)).toBe(30_000);
  await db.pool.query(`update dory.beats set lease_until = '2001-01-01Z' where processor_id = $1`, [id]);
  await send({ processor_id: id, placement_epoch: 4 });
  expect(await leaseOf(id)).toBe(30_000);
  const managed = await placed(null, { epoch: 2 });
  await send({ processor_id: managed, node_id: 'ip-10-0-0-1', placement_epoch: 2 });
  expect(await leaseOf(managed)).toBe(30_000);
});

test('an agent that does not echo, or no more, or from another node, has none', async () => {
  const [silent, downgraded, astray] = [await placed(home), await placed(home), await placed(home)];
  await send({ processor_id: silent, node_id: home }, { processor_id: downgraded, placement_epoch: 1 }, { processor_id: astray, node_id: other, placement_epoch: 1 });
  expect([await leaseOf(silent), await leaseOf(downgraded), await leaseOf(astray)]).toEqual([null, 30_000, null]);
  await send({ processor_id: downgraded, node_id: home });
  expect(await leaseOf(downgraded)).toBeNull();
});

test('a stop extends none, and keeps what was promised while its agent echoes', async () => {
  const id = await placed(home);
  await send({ processor_id: id, placement_epoch: 1 });
  const promised = (await fleet.beat(id))!.lease_until;
  await fleet.place(id, home, { phase: 'stopping' });
  await send({ processor_id: id, placement_epoch: 1 });
  expect((await fleet.beat(id))!.lease_until).toEqual(promised);
  await send({ processor_id: id });
  expect(await leaseOf(id)).toBeNull();
  const unheard = await placed(home, { phase: 'stopping' });
  await send({ processor_id: unheard, placement_epoch: 1 });
  expect(await leaseOf(unheard)).toBeNull();
});

test('a new epoch begins without', async () => {
  const id = await placed(home);
  await send({ processor_id: id, placement_epoch: 1 });
  await fleet.place(id, other, { epoch: 2 });
  await send({ processor_id: id, node_id: other });
  expect(await fleet.beat(id)).toMatchObject({ epoch: '2', lease_until: null });
  await fleet.place(id, other, { epoch: 3, phase: 'stopping' });
  await send({ processor_id: id, placement_epoch: 3 });
  expect(await fleet.beat(id)).toMatchObject({ epoch: '3', lease_until: null });
});

test('a beat that waited for the decision to leave its node learns of it', async () => {
  const [id, old] = [await placed(home), await placed(home)];
  const decision = await db.pool.connect();
  try {
    await decision.query('begin');
    await decision.query('select from edge_nodes where id = $1 for no key update', [home]);
    await decision.query(`update dory.placements set epoch = 2, target_kind = 'managed', target_node_id = null, target_node_name = null where processor_id = $1`, [id]);
    const answers = send({ processor_id: id, node_id: home, placement_epoch: 1 }, { processor_id: old, node_id: home, placement_epoch: 1 });
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await expect.poll(async () => (await db.pool.query(waiting)).rowCount).toBe(1);
    await decision.query('commit');
    expect((await answers).map(({ standing }) => standing)).toEqual(['stale', 'current']);
  } finally {
    await decision.query('rollback');
    decision.release();
  }
  expect(await fleet.beat(id)).toBeUndefined();
  expect(await leaseOf(old)).toBe(30_000);
  expect(await fleet.lastHeartbeat(home)).not.toBeNull();
});

test('where another instance stored the first beat since this one began, its lease is kept all the same', async () => {
  const id = await placed(home);
  const client = await db.pool.connect();
  try {
    await client.query('begin');
    await client.query(`insert into dory.beats (processor_id, epoch, last_beat_at) values ($1, 1, now() - interval '10 seconds')`, [id]);
    const answers = send({ processor_id: id, placement_epoch: 1 });
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await expect.poll(async () => (await db.pool.query(waiting)).rowCount).toBe(1);
    await client.query('commit');
    expect(await answers).toMatchObject([{ standing: 'current' }]);
  } finally {
    await client.query('rollback');
    client.release();
  }
  expect(await leaseOf(id)).toBe(30_000);
});

test('an epoch above the database\'s is told of once for each processor and epoch', async () => {
  const [one, two] = [await placed(home, { epoch: 3 }), await placed(home)];
  for (const placement_epoch of [5, 5, 6]) await send({ processor_id: one, placement_epoch }, { processor_id: two, placement_epoch: 5 });
  const { rows } = await db.pool.query<{ processor_id: string; evidence: unknown }>(
    `select processor_id, evidence from dory.events where kind = 'epoch-ahead' and processor_id = any($1) order by id`, [[one, two]],
  );
  expect(rows.filter(({ processor_id }) => processor_id === one).map(({ evidence }) => evidence)).toEqual([{ echoed: 5, known: 3 }, { echoed: 6, known: 3 }]);
  expect(rows.filter(({ processor_id }) => processor_id === two).map(({ evidence }) => evidence)).toEqual([{ echoed: 5, known: 1 }]);
});

import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
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

type Body = Readonly<Record<string, unknown>>;
const options = { gapSec: 5, restartCoverage: false, leaseSec: 30, nodeSec: 1, timeoutMs: 10_000 };
const send = (...bodies: Body[]): Promise<JudgedBeat[]> => writeBatch(db.pool, bodies.map(beatOf), options);
const standingOf = async (body: Body): Promise<string | undefined> => (await send(body))[0]?.standing;
const nameOf = async (id: string): Promise<string> => (await db.pool.query<{ name: string }>('select name from edge_nodes where id = $1', [id])).rows[0]!.name;

async function placed(nodeId: string | null, where: Parameters<TestFleet['place']>[2] = {}, status = 'running'): Promise<string> {
  const id = await fleet.processor(status);
  await fleet.place(id, nodeId, where);
  return id;
}

describe('where a beat comes from', () => {
  test('an unknown processor, a terminated and a failed one, one without a placement', async () => {
    expect(await standingOf({ processor_id: randomUUID() })).toBe('unknown');
    expect(await standingOf({ processor_id: 'no-uuid', node_id: home })).toBe('unknown');
    expect(await standingOf({ processor_id: await placed(home, {}, 'terminated'), node_id: home })).toBe('ended');
    expect(await standingOf({ processor_id: await placed(home, {}, 'failed'), node_id: home })).toBe('ended');
    expect(await standingOf({ processor_id: await fleet.processor(), node_id: home })).toBe('unplaced');
    expect(await standingOf({ node_id: home })).toBe('node');
    expect(await standingOf({})).toBe('node');
  });

  test('the node it names decides where the placement is on an edge node', async () => {
    const id = await placed(home, { epoch: 7 });
    expect(await send({ processor_id: id, node_id: home })).toEqual([{ standing: 'current', epoch: 7 }]);
    expect(await standingOf({ processor_id: id, node_id: await nameOf(home) })).toBe('current');
    expect(await standingOf({ processor_id: id })).toBe('current');
    expect(await standingOf({ processor_id: id, node_id: 'unknown' })).toBe('current');
    expect(await standingOf({ processor_id: id, node_id: other })).toBe('stale');
    expect(await standingOf({ processor_id: id, node_id: await nameOf(other) })).toBe('stale');
    expect(await standingOf({ processor_id: id, node_id: 'ip-10-0-0-1' })).toBe('stale');
  });

  test('a managed placement is anywhere but on an edge node', async () => {
    const id = await placed(null);
    expect(await standingOf({ processor_id: id, node_id: 'ip-10-0-0-1' })).toBe('current');
    expect(await standingOf({ processor_id: id, node_id: randomUUID() })).toBe('current');
    expect(await standingOf({ processor_id: id })).toBe('current');
    expect(await standingOf({ processor_id: id, node_id: home })).toBe('stale');
    expect(await standingOf({ processor_id: id, node_id: await nameOf(home) })).toBe('stale');
  });

  test('an echoed epoch decides instead', async () => {
    const id = await placed(home, { epoch: 3 });
    expect(await standingOf({ processor_id: id, node_id: other, placement_epoch: 3 })).toBe('current');
    expect(await standingOf({ processor_id: id, node_id: home, placement_epoch: 2 })).toBe('stale');
    expect(await standingOf({ processor_id: id, node_id: home, placement_epoch: 4 })).toBe('ahead');
    expect(await standingOf({ processor_id: id, node_id: home, epoch: 99 })).toBe('current');
  });

  test('a name that two organisations use means the node of the placement, else none', async () => {
    const name = `twin-${randomUUID()}`;
    const [one, two] = [await fleet.node(name, { organizationId: randomUUID() }), await fleet.node(name, { organizationId: randomUUID() })];
    const id = await placed(two);
    expect(await standingOf({ processor_id: id, node_id: name })).toBe('current');
    expect(await fleet.lastHeartbeat(two)).not.toBeNull();
    expect(await standingOf({ processor_id: await placed(null), node_id: name })).toBe('stale');
    await send({ node_id: name });
    expect(await fleet.lastHeartbeat(one)).toBeNull();
  });

  test('stopping is told to stop, whoever asks from there', async () => {
    const id = await placed(home, { phase: 'stopping' });
    expect(await standingOf({ processor_id: id, node_id: home })).toBe('stopping');
    expect(await standingOf({ processor_id: id, node_id: other })).toBe('stale');
  });
});

describe('what a beat counts for', () => {
  test('the node that it names, even from where the processor should no longer be', async () => {
    const id = await placed(home);
    await send({ processor_id: id, node_id: other });
    expect(await fleet.lastHeartbeat(other)).not.toBeNull();
    expect(await fleet.lastHeartbeat(home)).toBeNull();
    expect(await fleet.beat(id)).toBeUndefined();
    expect((await fleet.row(id)).last_health_check_at).toBeNull();
  });

  test('the current placement where none is named, never another node', async () => {
    const id = await placed(home);
    await send({ processor_id: id });
    expect(await fleet.lastHeartbeat(home)).not.toBeNull();
    const moved = await placed(other, { epoch: 2 });
    await db.pool.query('update processors set node_id = $2 where id = $1', [moved, home]);
    await db.pool.query('update edge_nodes set last_heartbeat_at = null where id = $1', [home]);
    await send({ processor_id: moved, placement_epoch: 1 }, { processor_id: moved, placement_epoch: 3 }, { processor_id: await fleet.processor() });
    expect(await fleet.lastHeartbeat(other)).toBeNull();
    await send({ processor_id: moved });
    expect(await fleet.lastHeartbeat(other)).not.toBeNull();
    expect(await fleet.lastHeartbeat(home)).toBeNull();
  });

  test('a node beat; but nothing revives a decommissioned node', async () => {
    const gone = await fleet.node(`gone-${randomUUID()}`, { status: 'decommissioned' });
    const here = await placed(gone);
    expect(await send({ node_id: home }, { node_id: gone }, { node_id: await nameOf(gone) }, { processor_id: here, node_id: gone })).toMatchObject([
      { standing: 'node' }, { standing: 'node' }, { standing: 'node' }, { standing: 'current' },
    ]);
    expect(await standingOf({ processor_id: await placed(null), node_id: gone })).toBe('stale');
    expect(await fleet.lastHeartbeat(home)).not.toBeNull();
    expect(await fleet.lastHeartbeat(gone)).toBeNull();
    expect(await fleet.beat(here)).toBeDefined();
  });

  test('never moves last_heartbeat_at back', async () => {
    await db.pool.query(`update edge_nodes set last_heartbeat_at = '2100-01-01Z' where id = $1`, [home]);
    await send({ node_id: home });
    expect(await fleet.lastHeartbeat(home)).toEqual(new Date('2100-01-01Z'));
  });
});

describe('what is stored of a processor', () => {
  test('health, and running once it beats from its active placement', async () => {
    const id = await placed(home, {}, 'starting');
    await send({ processor_id: id, status: 'degraded', epoch: 12, last_state_sync: 1.5, state_size_bytes: 10, uptime_sec: 2.25, role: 'primary' });
    const row = await fleet.row(id);
    expect(row).toMatchObject({ status: 'running', health_status: { status: 'degraded', healthy: false }, consecutive_failures: 1 });
    expect(row.updated_at).toEqual(new Date('2001-01-01Z'));
    expect(await fleet.beat(id)).toMatchObject({ epoch: '1', status: 'degraded', node_id: home, sdk_epoch: '12', stop_acknowledged_at: null, role: 'primary', state_size_bytes: '10', uptime_sec: 2.25, last_state_sync: new Date(1500) });
    await send({ processor_id: id });
    expect(await fleet.row(id)).toMatchObject({ health_status: { status: 'healthy', healthy: true }, consecutive_failures: 0 });
  });

  test('status stays what it is without a placement, in a stop, and in a failover that was decided', async () => {
    const [unplaced, stopping, moved] = [await fleet.processor('pending'), await placed(home, { phase: 'stopping' }, 'pending'), await placed(null, {}, 'failover')];
    await send(...[unplaced, stopping, moved].map((id) => ({ processor_id: id })));
    expect(await fleet.row(unplaced)).toMatchObject({ status: 'pending', health_status: { healthy: true } });
    expect((await fleet.row(stopping)).status).toBe('pending');
    expect((await fleet.row(moved)).status).toBe('failover');
    const leaving = await placed(home, {}, 'pending');
    await send({ processor_id: leaving, status: 'stopped' });
    expect((await fleet.row(leaving)).status).toBe('pending');
  });

  test('terminated and failed rows are left alone, and so are their nodes', async () => {
    const id = await placed(home, {}, 'failed');
    await send({ processor_id: id });
    expect(await fleet.row(id)).toMatchObject({ status: 'failed', health_status: null, last_health_check_at: null });
    expect(await fleet.lastHeartbeat(home)).toBeNull();
  });

  test('a stop is acknowledged while stopping only, taken back by a beat that works on, and forgotten with a new epoch', async () => {
    const id = await placed(home);
    const acknowledged = async (): Promise<Date | null | undefined> => (await fleet.beat(id))?.stop_acknowledged_at;
    await send({ processor_id: id, status: 'stopped' });
    expect(await acknowledged()).toBeNull();
    await fleet.place(id, home, { phase: 'stopping' });
    await send({ processor_id: id, status: 'stopped', node_id: other });
    expect(await acknowledged()).toBeNull();
    await send({ processor_id: id, status: 'stopped' });
    const first = await acknowledged();
    expect(first).toBeInstanceOf(Date);
    await send({ processor_id: id, status: 'stopped' });
    expect(await acknowledged()).toEqual(first);
    await send({ processor_id: id });
    expect(await acknowledged()).toBeNull();
    await send({ processor_id: id, status: 'stopped' });
    await fleet.place(id, other, { epoch: 2 });
    await send({ processor_id: id, node_id: other });
    expect(await fleet.beat(id)).toMatchObject({ epoch: '2', stop_acknowledged_at: null });
  });
});

test('a node that was written just now is neither written again nor waited for', async () => {
  const id = await placed(home);
  await send({ processor_id: id });
  const first = await fleet.lastHeartbeat(home);
  const client = await db.pool.connect();
  try {
    await client.query('begin');
    await client.query('select from edge_nodes where id = $1 for update', [home]);
    expect(await send({ processor_id: id }, { node_id: home })).toMatchObject([{ standing: 'current' }, { standing: 'node' }]);
  } finally {
    await client.query('rollback');
    client.release();
  }
  expect(await fleet.lastHeartbeat(home)).toEqual(first);
  await send({ processor_id: id, node_id: other });
  expect(await fleet.lastHeartbeat(other)).not.toBeNull();
  await writeBatch(db.pool, [beatOf({ processor_id: id })], { ...options, nodeSec: 0 });
  expect((await fleet.lastHeartbeat(home))!.getTime()).toBeGreaterThan(first!.getTime());
});

test('texts arrive as they were sent', async () => {
  const ids = await Promise.all(Array.from({ length: 5 }, () => placed(home)));
  const texts = ['null', 'NULL', '{"a",\\}', ' ', 'ünï, "q"'];
  await send(...ids.map((processor_id, at) => ({ processor_id, status: texts[at]!, role: texts[at]! })));
  for (const [at, id] of ids.entries()) expect(await fleet.beat(id)).toMatchObject({ status: texts[at], role: texts[at] });
});

describe('beside others', () => {
  test('a processor whose row is held by a decision delays nobody', async () => {
    const [held, free] = [await placed(home), await placed(home)];
    const client = await db.pool.connect();
    try {
      await client.query('begin');
      await client.query(`update processors set status = 'failover' where id = $1`, [held]);
      expect(await send({ processor_id: held }, { processor_id: free })).toMatchObject([{ standing: 'current' }, { standing: 'current' }]);
      expect(await fleet.beat(held)).toBeDefined();
      expect((await fleet.row(held)).last_health_check_at).toBeNull();
      expect((await fleet.row(free)).last_health_check_at).not.toBeNull();
    } finally {
      await client.query('rollback');
      client.release();
    }
  });

  test('batches of many instances on the same rows neither deadlock nor lose an answer', async () => {
    const nodes = await Promise.all(Array.from({ length: 20 }, () => fleet.node(`n-${randomUUID()}`)));
    const ids = await Promise.all(nodes.map((node) => placed(node)));
    const batch = ids.map((processor_id, at) => ({ processor_id, node_id: nodes[at]! }));
    const rounds = Array.from({ length: 40 }, (_, round) => send(...(round % 2 === 0 ? batch : [...batch].reverse())));
    for (const answers of await Promise.all(rounds)) expect(answers.map(({ standing }) => standing)).toEqual(ids.map(() => 'current'));
  });

  test.each(['lost', 'silent', 'detached'] as const)('wakes the loop for a node that is %s and beats again, once, and for a stop', async (verdict) => {
    const [id, lost] = [await placed(home, { phase: 'stopping' }), await fleet.node(`lost-${randomUUID()}`)];
    await fleet.verdict(lost, verdict);
    await fleet.verdict(home, 'healthy');
    const heard: (string | undefined)[] = [];
    const listener = new pg.Client({ connectionString: db.url });
    await listener.connect();
    try {
      listener.on('notification', ({ payload }) => heard.push(payload));
      await listener.query('listen dory');
      await send({ processor_id: id, node_id: home }, { node_id: other });
      await send({ node_id: lost });
      await send({ node_id: lost });
      await send({ processor_id: id, status: 'stopped' });
      await db.pool.query(`select pg_notify('dory', 'end')`);
      await expect.poll(() => heard).toContain('end');
      expect(heard).toEqual(['edge_nodes', 'beats', 'end']);
    } finally {
      await listener.end();
    }
  });
});

test('the record of intake goes on without a break, starts anew after a gap or a loss, and needs no beat', async () => {
  const intake = async (): Promise<{ covered_since: Date; covered_until: Date }> =>
    (await db.pool.query<{ covered_since: Date; covered_until: Date }>('select covered_since, covered_until from dory.intake')).rows[0]!;
  await db.pool.query('delete from dory.intake');
  await send();
  const first = await intake();
  await db.pool.query(`update dory.intake set covered_until = covered_until - interval '1 second'`);
  await send();
  const second = await intake();
  expect(second.covered_since).toEqual(first.covered_since);
  expect(second.covered_until.getTime()).toBeGreaterThanOrEqual(first.covered_until.getTime());
  await db.pool.query(`update dory.intake set covered_since = now() - interval '1 hour', covered_until = now() - interval '6 seconds'`);
  await send();
  expect((await intake()).covered_since.getTime()).toBeGreaterThan(second.covered_since.getTime());
  await db.pool.query(`update dory.intake set covered_since = now() - interval '1 hour'`);
  await writeBatch(db.pool, [], { ...options, restartCoverage: true });
  expect((await intake()).covered_since.getTime()).toBeGreaterThan(second.covered_since.getTime());
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HealthChange } from '../../../src/apply/health-rows.ts';
import { beginRollouts, podColumns, settle, writeHealth } from '../../../src/apply/health-sql.ts';
import { inTransaction } from '../../../src/platform/pg.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

const processorId = '00000000-0000-4000-8000-0000000000c1';

let database: TestDatabase;
beforeEach(async () => {
  database = await testDatabase();
  await seedSmallFleet(database.pool);
});
afterEach(() => database.close());

const nothing: HealthChange = { processorId, status: null, pod: null, health: null, failures: null, rollout: null, event: null };

test('each column is written where there is news of it, and the time of the last check with the word on health alone', async () => {
  const columns = await podColumns(database.pool);
  const after = async (change: Partial<HealthChange>) => {
    await inTransaction(database.pool, {}, (client) => writeHealth(client, columns, [{ ...nothing, ...change }]));
    return (await database.pool.query(`select status, k8s_pod_name as pod, node_ip as ip, health_status as health, consecutive_failures as failures, last_health_check_at is not null as checked, updated_at = created_at as untouched from processors where id = $1`, [processorId])).rows[0] as unknown;
  };
  const before = { status: 'pending', pod: null, ip: null, health: null, failures: 0, checked: false, untouched: true };
  expect(await after({ status: 'starting' })).toEqual({ ...before, status: 'starting' });
  expect(await after({ pod: { name: 'cam-0', ip: '10.0.0.1' } })).toEqual({ ...before, status: 'starting', pod: 'cam-0', ip: '10.0.0.1' });
  expect(await after({ failures: 3 })).toMatchObject({ pod: 'cam-0', failures: 3, checked: false });
  const health = { status: 'healthy', healthy: true, source: 'kubernetes' } as const;
  expect(await after({ health })).toMatchObject({ status: 'starting', pod: 'cam-0', failures: 3, health, checked: true });
  expect(await after({ pod: { name: null, ip: null }, status: 'running' })).toMatchObject({ status: 'running', pod: null, ip: null, health, untouched: true });
});

test('of what was committed before anybody looked, nobody knows when it was live', async () => {
  await beginRollouts(database.pool);
  await database.pool.query(`
    insert into dory.revisions (id, decided_at, committed_at, leader_epoch, trigger, inputs_digest, renderer)
      select n, now(), s.rollouts_since + (n - 2) * interval '1 ms', 1, 'first-placement', '', 'test' from dory.state s, generate_series(1, 2) as n;
    insert into dory.placements (processor_id, epoch, target_kind, phase, reason, since, spec_digest, revision)
      select id, 1, 'managed', 'active', 'first-placement', now(), '', row_number() over (order by id) from processors order by id limit 2`);
  expect(await inTransaction(database.pool, {}, (client) => settle(client, [1, 2]))).toHaveLength(1);
  expect((await database.pool.query('select id::int, settled, live_at is not null as live from dory.revisions order by id')).rows).toEqual([{ id: 1, settled: true, live: false }, { id: 2, settled: true, live: true }]);
});

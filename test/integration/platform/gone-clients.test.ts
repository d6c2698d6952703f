import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createPool, inTransaction, type TransactionOptions } from '../../../src/platform/pg.ts';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await testDatabase({ migrated: false });
  await db.pool.query('create table locked (n int); insert into locked values (1)');
});
afterAll(async () => {
  await db.close();
});

const options = { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' };

const waitsFor = async (event: string): Promise<void> => {
  await vi.waitFor(async () => {
    expect((await db.pool.query(`select from pg_stat_activity where datname = current_database() and wait_event = $1`, [event])).rowCount).toBe(1);
  }, { timeout: 20_000 });
};

test('a server that still sends to a client that is gone lets go of its locks', { timeout: 90_000 }, async () => {
  const proxy = await halfOpenProxy(db.url);
  const pool = createPool(proxy.url, options);
  const ended = inTransaction(pool, {}, async (client) => {
    await client.query('select from locked for update');
    // More than all buffers on the way hold.
    await client.query(`select repeat('x', 50000000) from pg_sleep(1)`);
  }).catch(() => undefined);
  await waitsFor('PgSleep');
  proxy.freeze();
  await waitsFor('ClientWrite');
  await expect(db.pool.query('select from locked for update nowait')).rejects.toMatchObject({ code: '55P03' });
  await db.pool.query('select from locked for update');
  pool.cut();
  await ended;
  await proxy.close();
  await pool.end();
});

test('a server looks after clients that are silent, and what the URL says of it counts more', async () => {
  const settings = async (search: string): Promise<unknown> => {
    const url = new URL(db.url);
    url.search = search;
    const pool = createPool(url.href, options);
    const { rows } = await pool.query(`select current_setting('tcp_user_timeout') as gone, current_setting('tcp_keepalives_idle') as idle, current_setting('work_mem') as memory`);
    await pool.end();
    return rows[0];
  };
  expect(await settings('')).toMatchObject({ gone: '10000', idle: '10' });
  expect(await settings('?options=-c%20tcp_user_timeout%3D3000%20-c%20work_mem%3D5MB')).toEqual({ gone: '3000', idle: '10', memory: '5MB' });
});

test('a transaction that only reads, or waits for something else, may be idle for longer than one that holds locks', async () => {
  const pool = createPool(db.url, options);
  const idle = (how: TransactionOptions): Promise<unknown> =>
    inTransaction(pool, how, async (client) => (await client.query<{ idle: string }>(`select current_setting('idle_in_transaction_session_timeout') as idle`)).rows[0]?.idle);
  expect(await idle({ readOnly: true })).toBe('2min');
  expect(await idle({ patient: true })).toBe('2min');
  expect(await idle({})).toBe('10s');
  await pool.end();
});

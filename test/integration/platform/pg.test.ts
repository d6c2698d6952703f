import type { Pool, PoolClient } from 'pg';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createPool, inTransaction, type CuttablePool } from '../../../src/platform/pg.ts';
import { halfOpenProxy } from '../../support/half-open-proxy.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await testDatabase({ migrated: false });
  await db.pool.query('create table numbers (n int primary key)');
});
afterAll(async () => {
  await db.close();
});

const numbers = async (client: Pool | PoolClient): Promise<readonly number[]> =>
  (await client.query<{ n: number }>('select n from numbers order by n')).rows.map(({ n }) => n);

/** A pool on another database, role or server, which ends with the test. */
async function withPool(change: (url: URL) => void, options: { readonly statementTimeoutMs?: number }, use: (pool: Pool) => Promise<void>): Promise<void> {
  const url = new URL(db.url);
  change(url);
  const pool = createPool(url.href, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test', ...options });
  try {
    await use(pool);
  } finally {
    await pool.end();
  }
}

test('a transaction that resolves is committed, one that throws is rolled back', async () => {
  await inTransaction(db.pool, {}, (client) => client.query('insert into numbers values (1)'));
  const error = new Error('ours');
  const failed = inTransaction(db.pool, {}, async (client) => {
    await client.query('insert into numbers values (2)');
    throw error;
  });
  await expect(failed).rejects.toBe(error);
  expect(await numbers(db.pool)).toEqual([1]);
});

test('a read-only transaction reads one moment and writes nothing', async () => {
  const options = { isolation: 'repeatable read', readOnly: true } as const;
  await inTransaction(db.pool, options, async (client) => {
    const before = await numbers(client);
    await db.pool.query('insert into numbers values (10)');
    expect(await numbers(client)).toEqual(before);
  });
  expect(await numbers(db.pool)).toContain(10);
  await expect(inTransaction(db.pool, options, (client) => client.query('insert into numbers values (11)'))).rejects.toThrow();
  expect(await numbers(db.pool)).not.toContain(11);
});

test('transactions that collide are a conflict', async () => {
  await db.pool.query('insert into numbers values (20)');
  const collide = inTransaction(db.pool, { isolation: 'serializable' }, async (client) => {
    await numbers(client);
    await db.pool.query('update numbers set n = 21 where n = 20');
    await client.query('update numbers set n = 22 where n = 20');
  });
  await expect(collide).rejects.toMatchObject({ code: 'database-conflict', retry: 'now' });
});

test('a connection that is killed in a transaction is unreachable, and the pool goes on', async () => {
  const killed = inTransaction(db.pool, {}, async (client) => {
    const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
    await db.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await numbers(client);
  });
  await expect(killed).rejects.toMatchObject({ code: 'database-unreachable', retry: 'backoff' });
  expect(await numbers(db.pool)).toContain(1);
});

test('idle connections that are killed harm nobody', async () => {
  await withPool(() => undefined, {}, async (pool) => {
    const { rows } = await pool.query<{ pid: number }>('select pg_backend_pid() as pid');
    const removed = new Promise((resolve) => pool.once('remove', resolve));
    await db.pool.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await removed;
    expect(await numbers(pool)).toContain(1);
  });
});

test('a statement beyond its time is cancelled, and may be tried again', async () => {
  await withPool(() => undefined, { statementTimeoutMs: 20 }, async (pool) => {
    await expect(inTransaction(pool, {}, (client) => client.query('select pg_sleep(60)'))).rejects.toMatchObject({ code: 'database-unreachable' });
    // On a busy machine that may be too short for any statement.
    await vi.waitFor(async () => { expect(await numbers(pool)).toContain(1); }, { timeout: 30_000 });
  });
});

/** A pool through a proxy; of statements that take longer than `statementTimeoutMs` the server says so itself. */
async function throughProxy(statementTimeoutMs: number, use: (pool: CuttablePool, freeze: () => void) => Promise<void>): Promise<void> {
  const proxy = await halfOpenProxy(db.url);
  const pool = createPool(proxy.url, { max: 1, statementTimeoutMs, applicationName: 'dory-test' });
  try {
    await use(pool, () => { proxy.freeze(); });
  } finally {
    await pool.end();
    await proxy.close();
  }
}

test('a server that is gone without a word is given up in the end, in the middle of a transaction as well', async () => {
  await throughProxy(1_000, async (pool, freeze) => {
    const given = inTransaction(pool, {}, async (client) => {
      freeze();
      await numbers(client);
    });
    await expect(given).rejects.toMatchObject({ code: 'database-unreachable', cause: { message: 'Query read timeout' } });
    expect(await numbers(pool)).toContain(1);
  });
});

test('cutting the connections ends what waits on them at once, and the pool goes on', async () => {
  await throughProxy(0, async (pool, freeze) => {
    const waiting = inTransaction(pool, {}, async (client) => {
      await numbers(client);
      freeze();
      const answer = numbers(client);
      pool.cut();
      await answer;
    });
    await expect(waiting).rejects.toMatchObject({ code: 'database-unreachable' });
    expect(await numbers(pool)).toContain(1);
    // Of idle connections the next query needs to know nothing.
    freeze();
    const removed = new Promise((resolve) => pool.once('remove', resolve));
    pool.cut();
    await removed;
    expect(await numbers(pool)).toContain(1);
  });
});

test('a server that became a standby is asked no more on this connection, and what waits for a primary may be tried again', async () => {
  await withPool(() => undefined, {}, async (pool) => {
    const pidOf = async (): Promise<unknown> => (await pool.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]?.pid;
    const before = await pidOf();
    await pool.query('set default_transaction_read_only = on');
    const refused = inTransaction(pool, {}, async (client) => {
      // As on a standby, where `read write` is refused by the server as soon as something is written.
      await client.query('set transaction read only');
      await client.query('insert into numbers values (30)');
    });
    await expect(refused).rejects.toMatchObject({ code: 'database-unreachable', retry: 'backoff' });
    expect(await pidOf()).not.toBe(before);
  });
});

test.each<[string, (url: URL) => void, string]>([
  ['a wrong password', (url) => (url.password = 'hunter2'), 'database-refused'],
  ['an unknown role', (url) => (url.username = 'nobody_of_dory'), 'database-refused'],
  ['an unknown database', (url) => (url.pathname = '/nothing_of_dory'), 'database-refused'],
  ['a port where nobody listens', (url) => (url.port = '1'), 'database-unreachable'],
])('%s', async (what, change, code) => {
  await withPool(change, {}, async (pool) => {
    const failure: unknown = await inTransaction(pool, {}, numbers).catch((error: unknown) => error);
    // A server of your own may be set to trust every password.
    if (what === 'a wrong password' && Array.isArray(failure)) return;
    expect(failure).toMatchObject({ code });
    expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toContain('hunter2');
  });
});

test('sslmode=require on a server without TLS is refused with a word on sslmode', async () => {
  const { rows } = await db.pool.query<{ ssl: string }>('show ssl');
  await withPool((url) => { url.searchParams.set('sslmode', 'require'); }, {}, async (pool) => {
    const attempt = inTransaction(pool, {}, numbers);
    if (rows[0]?.ssl === 'on') await expect(attempt).resolves.toContain(1);
    else await expect(attempt).rejects.toMatchObject({ code: 'database-refused', mend: expect.stringContaining('sslmode') as string });
  });
});

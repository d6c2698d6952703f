import type { Pool } from 'pg';
import { expect, test } from 'vitest';
import { migrate, requireMigrated } from '../../../src/platform/migrate.ts';

/** A pool on a server that tells its version and knows nothing else. */
function poolOf(number: number, text: string): Pool {
  const query = (sql: string): Promise<unknown> =>
    sql.includes('server_version') ? Promise.resolve({ rows: [{ number, text }] }) : Promise.reject(new Error(`unexpected: ${sql}`));
  const client = { query, on: () => undefined, off: () => undefined, release: () => undefined };
  return { connect: () => Promise.resolve(client) } as unknown as Pool;
}

test('PostgreSQL before 15 is refused by its version, before anything else is asked', async () => {
  const old = poolOf(140_012, '14.12');
  await expect(migrate(old)).rejects.toMatchObject({ code: 'database-refused', message: expect.stringContaining('14.12') as string });
  await expect(requireMigrated(old)).rejects.toMatchObject({ code: 'database-refused' });
});

test('PostgreSQL 15 is not', async () => {
  await expect(migrate(poolOf(150_000, '15.0'))).rejects.toThrow('unexpected');
});

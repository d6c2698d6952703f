import type { Pool, PoolClient } from 'pg';
import { createPool } from '../../src/platform/pg.ts';
import { testFleet } from './fleet.ts';

/**
 * A cycle that is killed (SIGKILL, nothing is cleaned up) at the point that its third argument names: after a step, before
 * the push, or right before or after a statement. Arguments: database URL, folder, point. Ends with 0 if the point never came.
 */
const [url = '', folder = '', point = ''] = process.argv.slice(2);

function die(here: string): void {
  if (here === point) process.kill(process.pid, 'SIGKILL');
}

/** Statements by what they begin with; the name of the point is `before:` or `after:` and this. */
const statements = ['insert into dory.revisions', 'insert into dory.changes', 'update dory.state', 'commit', 'update dory.revisions'];

function mortal(pool: Pool): Pool {
  const watch = (target: Pool | PoolClient): void => {
    const query = target.query.bind(target) as (...args: unknown[]) => Promise<unknown>;
    Object.assign(target, {
      query: async (...args: unknown[]) => {
        const text = typeof args[0] === 'string' ? args[0] : '';
        const name = statements.find((start) => text.trimStart().startsWith(start));
        if (name !== undefined) die(`before:${name}`);
        const result = await query(...args);
        if (name !== undefined) die(`after:${name}`);
        return result;
      },
    });
  };
  watch(pool);
  pool.on('connect', (client) => { watch(client); });
  return pool;
}

const fleet = await testFleet({
  pool: mortal(createPool(url, { max: 5, statementTimeoutMs: 0, applicationName: 'dying' })),
  url,
  folder,
  onStep: (step) => { die(step); },
  beforePush: () => {
    die('push');
    return Promise.resolve();
  },
});
await fleet.once();
await fleet.close();
await fleet.pool.end();

import { spawnSync } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { eventually, small, type LogLine, type Running, type Workshop } from './program.ts';

const [cam1, edge1] = ['00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000e1'];

/** As the running system is started: no command, these flags. The poll is too rare to be what anything here waits for. */
const flags = ({ url }: Workshop): readonly string[] => [
  `--config-db=${url}`, '--namespace', 'default', '--poll-interval', '1h', '--log-level', 'info', '--enable-monitor', '--http-host', '127.0.0.1', '--http-port', '0',
];

const pushed = (revision: number) => ({ msg, ...line }: LogLine): boolean => msg === 'pushed' && line['revision'] === revision;
const urlOf = async (running: Running): Promise<string> => String((await running.logged(({ msg }) => msg === 'listening'))['url']);

async function release({ pool }: Workshop, version: string): Promise<void> {
  await pool.query('update processor_template_versions set version = $1', [version]);
  await wake(pool);
}
const wake = (pool: Workshop['pool']): Promise<unknown> => pool.query(`select pg_notify('dory', 'test')`);

/** What is left of a process group; where it can be told, without what has ended and only its parent has not asked how. */
function left(group: number): readonly string[] {
  try {
    process.kill(-group, 0);
  } catch {
    return [];
  }
  const { stdout, error } = spawnSync('ps', ['-A', '-o', 'pgid=,stat=,args='], { encoding: 'utf8' });
  return error !== undefined ? [] : stdout.split('\n').filter((line) => line.trim().startsWith(`${String(group)} `) && !/^\s*\d+ Z/.test(line));
}

describe.concurrent('run', () => {
  it('serves, commits when it is woken, and shuts down cleanly', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const running = shop.start(flags(shop));
    const url = await urlOf(running);
    await running.logged(pushed(1));
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);

    const before = await shop.pool.query<{ at: Date }>(`update edge_nodes set last_heartbeat_at = now() - interval '30 seconds' where id = $1 returning last_heartbeat_at as at`, [edge1]);
    const beat = await fetch(`${url}/api/v1/edge/heartbeat`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ processor_id: cam1, node_id: edge1, status: 'running', role: 'primary', epoch: 7 }),
    });
    expect(await beat.json()).toMatchObject({ directive: 'continue', placement_epoch: 1 });
    await eventually(async () => {
      const now = await shop.pool.query<{ at: Date }>('select last_heartbeat_at as at from edge_nodes where id = $1', [edge1]);
      expect(Number(now.rows[0]?.at)).toBeGreaterThan(Number(before.rows[0]?.at));
    });

    await release(shop, '1.0.1');
    await running.logged(pushed(2));
    expect(await shop.git('log', '-1', '--format=%B', 'main')).toContain('Dory-Revision: 2\n');

    const metrics = await (await fetch(`${url}/metrics`)).text();
    for (const line of ['dory_applications_total 3', 'dory_nodes_total 2', 'dory_leader 1', 'dory_config_changes_total{change_type="place"} 3', 'dory_config_changes_total{change_type="update"} 3']) {
      expect(metrics).toContain(`\n${line}\n`);
    }
    for (const name of ['dory_cycle_seconds', 'dory_commit_seconds', 'dory_heartbeats_total', 'dory_startup_duration_seconds', 'process_resident_memory_bytes']) {
      expect(metrics).toContain(`\n# TYPE ${name} `);
    }

    running.signal('SIGTERM');
    expect(await running.ended).toEqual({ code: 0, signal: null });
    const { rows } = await shop.pool.query('select holder, epoch from dory.leader');
    expect(rows).toEqual([{ holder: null, epoch: '1' }]);
    expect(left(running.pid)).toEqual([]);
    // The server's processes end a moment after the goodbye.
    const others = `select application_name from pg_stat_activity where datname = current_database() and application_name <> 'dory-test'`;
    await vi.waitFor(async () => { expect((await shop.pool.query(others)).rows).toEqual([]); }, { timeout: 10_000 });
  });

  it('lets operators work through any instance: whoever leads obeys', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const leading = shop.start(flags(shop));
    await leading.logged(pushed(1));
    const other = shop.start(flags(shop));
    const token = (await shop.here('token', 'create', 'ada', '--reason', 'on call')).out.trim();
    const ask = async (...args: readonly string[]): Promise<Record<string, unknown>> =>
      JSON.parse((await shop.hereWith({ DORY_SERVER: await urlOf(other), DORY_TOKEN: token, DORY_DATABASE_URL: undefined }, ...args, '-o', 'json')).out) as never;

    const before = await ask('leader');
    expect(await ask('pause', '--reason', 'look first')).toMatchObject({ paused: true, by: 'ada' });
    await release(shop, '1.0.1');
    await eventually(async () => { expect(await ask('status')).toMatchObject({ revision: 1, held: 3, paused: { by: 'ada' } }); });
    await ask('resume', '--reason', 'looked');
    await leading.logged(pushed(2));
    expect(await ask('leader', 'step-down', '--reason', 'its turn')).toMatchObject({ holder: before['holder'] });
    await eventually(async () => { expect((await ask('leader'))['holder']).not.toBe(before['holder']); });
  });

  it('outlives a database that goes away in the middle of a cycle', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const running = shop.start(flags(shop));
    await running.logged(pushed(1));
    await shop.pool.query('alter table dory.revisions rename to hidden');
    await wake(shop.pool);
    await running.logged(({ code }) => code === 'schema-missing');
    await shop.pool.query('alter table dory.hidden rename to revisions');
    await shop.pool.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name <> 'dory-test'`);
    // Who listens is away as well for a moment.
    await shop.pool.query(`update processor_template_versions set version = '1.0.1'`);
    await eventually(async () => {
      await wake(shop.pool);
      expect(running.log.some(pushed(2))).toBe(true);
    });
    running.signal('SIGINT');
    expect(await running.ended).toEqual({ code: 0, signal: null });
  });

  it('is taken over by another instance after it was killed', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const first = shop.start(flags(shop));
    await first.logged(pushed(1));
    const second = shop.start(flags(shop));
    await urlOf(second);
    expect((await shop.here('status', '-o', 'json')).out).toContain('"leaderEpoch": 1');
    first.signal('SIGKILL');
    expect(await second.logged(({ msg }) => msg === 'leadership won')).toMatchObject({ epoch: 2 });
    expect(second.log.some(({ msg }) => msg === 'pushed')).toBe(false);
    await release(shop, '1.0.1');
    await second.logged(pushed(2));
    second.signal('SIGTERM');
    expect(await second.ended).toEqual({ code: 0, signal: null });
  });

  it('says which address is taken, and ends with 1', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const other = createServer().listen(0, '127.0.0.1');
    onTestFinished(() => new Promise((resolve) => other.close(() => { resolve(); })));
    await new Promise((resolve) => other.once('listening', resolve));
    const { port } = other.address() as AddressInfo;
    const { code, err } = await shop.dory('run', '--http-host', '127.0.0.1', '--http-port', String(port));
    expect(code).toBe(1);
    expect(err).toContain(`127.0.0.1:${String(port)}`);
    expect(err).not.toContain('    at ');
  });
});

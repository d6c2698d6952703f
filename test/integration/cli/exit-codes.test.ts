import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { acquire } from '../../../src/platform/leadership.ts';
import { small, workshop, type Ended, type OnFinished, type Workshop } from './program.ts';

const [cam1, report] = ['00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000c3'];

async function placed(onTestFinished: OnFinished): Promise<Workshop> {
  const shop = await small(onTestFinished);
  expect(await shop.here('reconcile', '--once')).toMatchObject({ code: 0, err: '' });
  return shop;
}

const codes = async ({ here }: Workshop, ...commands: readonly string[][]): Promise<(number | null)[]> =>
  (await Promise.all(commands.map((args) => here(...args)))).map(({ code }) => code);

async function quarantineReport({ pool }: Workshop): Promise<void> {
  await pool.query(`
    insert into processor_templates (id, slug, name) values ('00000000-0000-4000-8000-00000000000b', 'broken', 'Broken');
    insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active)
      values ('00000000-0000-4000-8000-00000000000b', 'registry.example.com/b:1', '1', '{"resources": {"cpu_request": "5OOm"}}', true)`);
  await pool.query(`update processors set processor_template_id = '00000000-0000-4000-8000-00000000000b' where id = $1`, [report]);
}

describe('exit codes', () => {
  it('migrates once: before, commands say so and end with 1', async ({ onTestFinished }) => {
    const shop = await workshop({ migrated: false });
    onTestFinished(shop.close);
    const before = await shop.dory('status');
    expect(before).toMatchObject({ code: 1, out: '' });
    expect(before.err).toContain('dory migrate');
    const both = await Promise.all([shop.dory('migrate'), shop.dory('migrate')]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(both.map(({ out }) => out.includes('applied 0002_dory')).sort()).toEqual([false, true]);
    expect(await shop.here('migrate')).toEqual({ code: 0, out: 'up to date\n', err: '' });
    expect((await shop.here('reconcile', '--once')).code).toBe(0);
  });

  it('130 where somebody no longer waits for an answer: at once, though the database says nothing', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    const silent = createServer((socket) => { socket.on('error', () => undefined).resume(); });
    onTestFinished(() => new Promise((resolve) => silent.close(() => { resolve(); })));
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const running = shop.start(['status', '--config-db', `postgresql://dory@127.0.0.1:${String(port)}/dory`]);
    await once(silent, 'connection');
    const asked = performance.now();
    running.signal('SIGINT');
    expect(await running.ended).toEqual({ code: 130, signal: null });
    // To open a connection may take 10 s.
    expect(performance.now() - asked).toBeLessThan(8_000);
  });

  it('plan ends with 2 where there are changes, else with 0; reconcile with 0 both times', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    expect(await shop.dory('plan', '--no-diff')).toMatchObject({ code: 2, err: '' });
    expect((await shop.here('reconcile', '--once')).out).toMatch(/pushed [0-9a-f]{12}: \d+ files, revision 1\n$/);
    expect(await shop.here('plan')).toMatchObject({ code: 0, out: 'Plan: no changes; 0 held, 0 in quarantine.\n' });
    expect(await shop.here('reconcile', '--once')).toEqual({ code: 0, out: 'nothing to commit\n', err: '' });
  });

  it('reconcile restores a branch that was set back with 0, and ends with 1 where the database was', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    const first = (await shop.git('rev-parse', 'main')).trim();
    await shop.pool.query(`update processor_template_versions set version = '1.0.1' where version = '1.0.0'`);
    await shop.here('reconcile', '--once');
    const tree = await shop.git('rev-parse', 'main:clusters');
    await shop.git('update-ref', 'refs/heads/main', first);
    expect(await shop.here('reconcile', '--once')).toMatchObject({ code: 0, out: expect.stringMatching(/^pushed /) as string });
    expect(await shop.git('rev-parse', 'main:clusters')).toBe(tree);
    expect((await shop.here('reconcile', '--once')).out).toBe('nothing to commit\n');
    await shop.pool.query(`update dory.state set revision = 1; update dory.revisions set committed_at = null where id = 2`);
    expect(await shop.here('reconcile', '--once')).toMatchObject({ code: 1, out: '', err: expect.stringContaining('restored from a backup') as string });
  });

  it('3 for rows in quarantine; all others go on', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    await quarantineReport(shop);
    await shop.pool.query(`update processor_template_versions set version = '1.0.1' where version = '1.0.0'`);
    expect(await codes(shop, ['plan', '--no-diff'], ['status'])).toEqual([2, 3]);
    const cycle = await shop.dory('reconcile', '--once', '-o', 'json');
    expect(cycle.code).toBe(3);
    expect(JSON.parse(cycle.out)).toMatchObject({ plan: { quarantined: [{ id: report }] }, publication: { kind: 'pushed' } });
    expect(await codes(shop, ['plan'], ['reconcile', '--once'])).toEqual([3, 3]);
    const { out } = await shop.here('status');
    for (const part of [report, 'resources.cpu_request', '5OOm']) expect(out).toContain(part);
  });

  it('4 for what is held until a person acts: a processor with a GPU on a dead node', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    await shop.pool.query(`update processor_template_versions set runtime_config_template = '{"resources": {"gpu_required": true, "gpu_limit": "1"}}'`);
    await shop.here('reconcile', '--once');
    // Nothing is starting any more.
    await shop.pool.query(`update dory.placements set since = since - interval '1 hour'`);
    await shop.pool.query(`update edge_nodes set last_heartbeat_at = now() - interval '5 min' where name = 'edge-1'`);
    expect(await codes(shop, ['plan'], ['status'], ['reconcile', '--once'])).toEqual([4, 4, 4]);
    const { code, out } = await shop.dory('status', '-o', 'json');
    expect(code).toBe(4);
    expect(JSON.parse(out)).toMatchObject({ holds: [{ processor: cam1, needsPerson: true }, { needsPerson: true }] });
    // The lowest code that applies.
    await quarantineReport(shop);
    expect(await codes(shop, ['plan'], ['reconcile', '--once'])).toEqual([3, 3]);
    await shop.pool.query(`update processor_template_versions set version = '1.0.1' where version = '1.0.0'`);
    expect((await shop.here('plan')).code).toBe(2);
  });

  it('4 for a refusal, until a person approves', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    await shop.pool.query(`update processors set status = 'terminated'`);
    expect(await codes(shop, ['plan'], ['status'], ['reconcile', '--once'])).toEqual([4, 4, 4]);
    expect((await shop.here('status')).out).toContain('dory approve empty-result');
    expect((await shop.dory('approve', 'empty-result', '--reason', 'the site is closed', '--by', 'ada')).code).toBe(0);
    const { rows } = await shop.pool.query(`select subject, approved_by, reason, expires_at > now() as valid from dory.approvals`);
    expect(rows).toEqual([{ subject: 'empty-result', approved_by: 'ada', reason: 'the site is closed', valid: true }]);
    expect((await shop.here('plan', '--no-diff')).out).toContain('3 to remove');
    expect((await shop.here('reconcile', '--once')).code).toBe(0);
    expect(await shop.git('ls-tree', '-r', '--name-only', 'main')).not.toContain('camera-');
  });

  it('5 while another leads, and nothing is written', async ({ onTestFinished }) => {
    const shop = await small(onTestFinished);
    await acquire(shop.pool, 'somebody-else');
    // For longer than two commands take to start on the slowest machine.
    await shop.pool.query(`update dory.leader set expires_at = expires_at + interval '1 hour'`);
    const refused = await shop.dory('reconcile', '--once');
    expect(refused).toMatchObject({ code: 5, out: '' });
    expect(refused.err).toContain('somebody-else');
    const { rows } = await shop.pool.query('select revision from dory.state');
    expect(rows).toEqual([{ revision: '0' }]);
    expect((await shop.here('status')).out).toContain('somebody-else (epoch 1)');
  });

  it('a stop that a person confirms lets the successor start', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    const name = (await shop.git('ls-tree', '-r', '--name-only', 'main')).split('\n').find((path) => path.includes('/camera-'))?.replace(/.*\/(.*)\.yaml$/, '$1') ?? '';
    expect((await shop.here('confirm-stop', cam1, '--reason', 'x')).code, 'it is not stopping').toBe(1);
    await shop.pool.query(`update processors set node_id = '00000000-0000-4000-8000-0000000000e2' where node_id is not null`);
    expect((await shop.here('reconcile', '--once')).out).toContain('2 stopping');
    // Nobody has ever heard an agent of theirs, so its silence proves nothing: what the node said was before.
    await shop.pool.query(`update edge_nodes set last_heartbeat_at = (select min(since) - interval '1 s' from dory.placements)`);
    const waiting = await shop.here('status', '-o', 'json');
    expect(waiting.code).toBe(4);
    expect(JSON.parse(waiting.out)).toMatchObject({ holds: [{ reason: 'fence-unheard' }, { reason: 'fence-unheard' }] });
    expect((await shop.here('confirm-stop', name, '--reason', 'node powered off', '--by', 'ada')).code).toBe(0);
    const moved = await shop.here('reconcile', '--once', '-o', 'json');
    expect((JSON.parse(moved.out) as { plan: { changes: unknown[] } }).plan.changes).toMatchObject([{ kind: 'move', after: { epoch: 2 } }]);
    const { rows } = await shop.pool.query(`select evidence from dory.events where kind = 'stop-confirmed'`);
    expect(rows).toEqual([{ evidence: { epoch: 1, by: 'ada', reason: 'node powered off' } }]);
  });

  it('1 for what goes wrong outside, with a sentence and no stack', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    const nowhere = new URL(shop.url);
    nowhere.port = '1';
    const missing = new URL(shop.url);
    missing.pathname = '/no_such_database';
    const failures: readonly Ended[] = await Promise.all([
      shop.here('status', '--config-db', nowhere.href), // the environment goes first: this is the database that works
      shop.here('history', 'no-such-processor'),
      shop.here('plan', '--config', 'no-such-file.yaml'),
      shop.here('render', '--fleet', 'no-such-file.yaml'),
    ]);
    expect(failures.map(({ code }) => code)).toEqual([0, 1, 1, 1]);
    for (const { err } of failures.slice(1)) {
      expect(err).toMatch(/^dory: /);
      expect(err).not.toContain('    at ');
    }
  });

  it('1 where a table is gone between two statements, and names what mends it', async ({ onTestFinished }) => {
    const shop = await placed(onTestFinished);
    await shop.pool.query('alter table dory.leader rename to hidden');
    const { code, err } = await shop.here('status');
    expect(code).toBe(1);
    expect(err).toContain('dory migrate');
    expect(err).not.toContain('    at ');
  });

  it.runIf(process.getuid?.() === 0)('runs in a container whose account has no name', () => {
    const { status, stderr } = spawnSync(process.execPath, [join(packageRoot(), 'dist/src/main.js'), 'version'], { uid: 54_321, gid: 54_321, env: {}, encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
});

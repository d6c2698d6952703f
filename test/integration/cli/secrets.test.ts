import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../../src/platform/package-root.ts';
import { freshForAnHour, seedFleetFile } from '../../support/seed-database.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { workshop, type Ended, type Workshop } from './program.ts';

/** What the example calls its made-up credentials, each replaced by a word that occurs nowhere else. */
const credentials = {
  'not-a-real-password': 'Swordfish-7Qz',
  'example-api-key-not-real': 'Barracuda-3Kx',
  'example-token-not-real': 'Moray-9Lw',
  'example-client-secret-not-real': 'Lionfish-5Vb',
};
/** Of rows that can't be rendered, whose problems are shown. */
const broken = ['Stonefish-1Ty', 'Wolffish-8Hn', 'Anglerfish-2Pd', 'Hagfish-6Gs'];
const databasePassword = 'Piranha-4Rm';
const gitToken = 'Stingray-0Uc';
let shop: Workshop;
/** What was written or said, by where. */
const seen = new Map<string, string>();

/** As they are, and as Kubernetes and HTTP would write them. */
function forms(): readonly string[] {
  const { password } = new URL(shop.url);
  const secrets = [...Object.values(credentials), ...broken, databasePassword, gitToken, ...(password === '' ? [] : [password])];
  return secrets.flatMap((secret) => [secret, Buffer.from(secret).toString('base64').replace(/=+$/, ''), Buffer.from(secret).toString('hex')]);
}

function leaks(): readonly string[] {
  return [...seen].flatMap(([where, text]) => forms().filter((form) => text.includes(form)).map((form) => `${form} in ${where}`));
}

async function remember(...args: readonly string[]): Promise<Ended> {
  // The log of a process goes where we can read it.
  const ended = await (args.includes('--log-level') ? shop.dory : shop.here)(...args);
  seen.set(`output of ${args.join(' ')}`, ended.out + ended.err);
  return ended;
}

const replaced = (text: string): string => Object.entries(credentials).reduce((all, [from, to]) => all.replaceAll(from, to), text);

beforeAll(async () => {
  shop = await workshop();
  await seedFleetFile(shop.pool, replaced(await readFile(join(packageRoot(), 'config/fleet.example.yaml'), 'utf8')), freshForAnHour());
});
afterAll(() => shop.close());

/** Rows that are wrong in and around their credentials. */
async function breakRows(): Promise<void> {
  const [stone, wolf, angler, hag] = broken;
  const config = async (slug: string, json: string): Promise<void> => {
    await shop.pool.query(`update processor_template_versions set runtime_config_template = $2 where processor_template_id = (select id from processor_templates where slug = $1)`, [slug, json]);
  };
  await config('plate-reader', `{"env_vars": {"REGISTRY_API_KEY": ["${stone ?? ''}"], "BROKER PASSWORD": "${wolf ?? ''}"}}`);
  await config('vibration-monitor', `{"resources": {"cpu_request": "x"}, "env_vars": {"API_TOKEN": {"value": "${angler ?? ''}"}}}`);
  await shop.pool.query(`update sensors set connection_config = $1 where connection_config::text like '%10.20.1.21%'`, [JSON.stringify(`rtsp://viewer:${hag ?? ''}@10.20.1.21/main`)]);
}

/** Settings that can't be used, which the message is about. */
async function refusals(): Promise<void> {
  const elsewhere = await temporaryFolder();
  const files = { 'token.yaml': `git:\n  token: ${gitToken}\n`, 'broken.yaml': `git:\n  token: "${gitToken}\n`, 'misplaced.yaml': `git: ${gitToken}\n` };
  for (const [name, text] of Object.entries(files)) {
    const file = join(elsewhere.path, name);
    await writeFile(file, text);
    expect((await remember('reconcile', '--once', '--config', file)).code).toBe(1);
  }
  await elsewhere.remove();
  const wrongUrl = shop.start(['plan', '--config-db', `mysql://dory:${databasePassword}@db.example.com/dory`]);
  expect((await wrongUrl.ended).code).toBe(1);
  seen.set('output about a URL', wrongUrl.log.map(({ msg }) => msg).join('\n'));
}

async function filesBelow(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) seen.set(path, await readFile(path, 'latin1'));
  }
}

async function everyObjectOf(repository: string): Promise<void> {
  seen.set(`objects of ${repository}`, await shop.git('-C', repository, 'cat-file', '--batch-all-objects', '--batch'));
}

async function ownTables(): Promise<void> {
  const tables = await shop.pool.query<{ name: string }>(`select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = 'dory' or tablename = 'edge_node_events'`);
  for (const { name } of tables.rows) {
    const { rows } = await shop.pool.query<{ text: string }>(`select t::text as text from ${name} t`);
    seen.set(name, rows.map(({ text }) => text).join('\n'));
  }
}

it('no credential gets into Git, our tables, files, output or logs, from the first commit over broken rows to a failover', async () => {
  for (const args of [['plan', '--full'], ['plan', '-o', 'json'], ['reconcile', '--once', '-o', 'json', '--log-level', 'trace']]) await remember(...args);
  await breakRows();
  for (const args of [['plan', '--full'], ['plan', '-o', 'yaml'], ['reconcile', '--once', '--log-level', 'trace'], ['status'], ['status', '-o', 'json']]) await remember(...args);
  expect(leaks()).toEqual([]);
  expect(seen.get('output of status'), 'rows are in quarantine').toContain('Quarantine (');

  const running = shop.start([`--config-db=${shop.url}`, '--heartbeats-receiver', 'external', '--log-level', 'trace', '--poll-interval', '1h', '--http-host', '127.0.0.1', '--http-port', '0']);
  await running.logged(({ msg }) => msg === 'leadership won');
  // Nothing is starting any more.
  await shop.pool.query(`update dory.placements set since = since - interval '1 hour'`);
  await shop.pool.query('update dory.state set version = version + 1');
  await shop.pool.query(`update edge_nodes set last_heartbeat_at = now() - interval '5 min' where name = 'yard-edge-2'`);
  await shop.pool.query(`select pg_notify('dory', 'test')`);
  await running.logged(({ msg }) => msg === 'pushed');
  expect(await shop.git('log', '-1', '--format=%s', 'main')).toMatch(/^failover\(yard-edge-2\)/);
  running.signal('SIGTERM');
  await running.ended;
  seen.set('log of run', running.log.map((line) => JSON.stringify(line)).join('\n'));

  for (const args of [['render'], ['render', '--out', 'manifests'], ['render', '--verify'], ['history', '-o', 'json'], ['history', '-o', 'wide']]) await remember(...args);
  await refusals();
  await filesBelow(shop.folder);
  await everyObjectOf(shop.remote);
  await everyObjectOf((await readdir(join(shop.folder, 'data'), { recursive: true, withFileTypes: true })).find((entry) => entry.name === 'HEAD')?.parentPath ?? '');
  await ownTables();

  expect(leaks()).toEqual([]);
  expect(seen.get('dory.changes')?.length, 'something was looked at').toBeGreaterThan(10_000);
  expect(seen.get(`objects of ${shop.remote}`)).toContain('secretKeyRef');
});

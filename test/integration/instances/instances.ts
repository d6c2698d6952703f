import { execFile } from 'node:child_process';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Pool } from 'pg';
import { startEmbeddedPostgres, removeEmbeddedPostgres, type EmbeddedPostgres } from '../../../src/platform/embedded-postgres.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { migrate } from '../../../src/platform/migrate.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { halfOpenProxy, type HalfOpenProxy } from '../../support/half-open-proxy.ts';
import { seedSyntheticFleet } from '../../support/seed-database.ts';
import { temporaryFolder } from '../../support/temp.ts';
import { startProgram, type LogLine, type Running } from '../cli/program.ts';
import { startAgents, type Agents } from './agents.ts';

const run = promisify(execFile);

/** In proportion as the defaults are; leadership keeps its own times. */
const flags = [
  '--poll-interval', '1s', '--log-level', 'info', '--http-host', '127.0.0.1', '--http-port', '0', '--git-coalesce', '0s', '--git-head-check-interval', '5s',
  '--failover-heartbeat-stale', '10s', '--failover-heartbeat-gap', '5s', '--failover-intake-fresh', '6s', '--failover-stability-window', '10s',
  '--failover-lease', '6s', '--failover-fence-margin', '1s', '--heartbeats-interval', '2s',
];
const beatEveryMs = 2_000;

interface Instance extends Running {
  readonly url: string;
}

/** Several instances on one PostgreSQL of their own and one bare repository, and agents that send them heartbeats. */
export interface World {
  readonly instances: Instance[];
  readonly agents: Agents;
  /** Straight to the server, past what stands before it. */
  readonly pool: Pool;
  readonly proxy: HalfOpenProxy;
  readonly remote: string;
  git(...args: readonly string[]): Promise<string>;
  add(): Promise<Instance>;
  /** The instance that leads, by the database. */
  leader(): Promise<{ readonly instance: Instance; readonly epoch: number }>;
  /** The server dies as if its machine did, and is started again. */
  crashPostgres(): Promise<void>;
  close(): Promise<void>;
}

export async function startWorld(options: { readonly instances: number; readonly nodes: number }): Promise<World> {
  const folder = await temporaryFolder();
  const closing: (() => Promise<unknown>)[] = [() => folder.remove()];
  const close = async (): Promise<void> => {
    for (const end of closing.toReversed()) await end();
  };
  try {
    const postgres = await startDatabase(folder.path);
    closing.push(() => postgres.stop());
    const remote = join(folder.path, 'remote.git');
    await mkdir(remote);
    const git = async (...args: readonly string[]): Promise<string> => (await run('git', ['-C', remote, ...args], { maxBuffer: 1e8 })).stdout;
    await git('init', '--bare', '--quiet', '--initial-branch=main', '.');
    const proxy = await halfOpenProxy(postgres.url());
    closing.push(() => proxy.close());
    const instances: Instance[] = [];
    const add = async (): Promise<Instance> => {
      const instance = await startInstance({ cwd: folder.path, dataDir: join(folder.path, `data-${String(closing.length)}`), url: proxy.url, remote });
      closing.push(async () => {
        instance.signal('SIGKILL');
        await instance.ended;
      });
      instances.push(instance);
      return instance;
    };
    await seedSyntheticFleet(postgres.pool(), { processors: options.nodes, nodes: options.nodes, templates: 50 });
    for (let i = 0; i < options.instances; i += 1) await add();
    const agents = await agentsOf(postgres.pool());
    closing.push(() => agents.stop());
    agents.pointTo(instances.map(({ url }) => url));
    const crashPostgres = async (): Promise<void> => { proxy.pointTo(await postgres.restart()); };
    const leader = (): ReturnType<World['leader']> => leaderOf(postgres.pool(), instances);
    return { instances, agents, get pool() { return postgres.pool(); }, proxy, remote, git, add, leader, crashPostgres, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function agentsOf(pool: Pool): Promise<Agents> {
  const { rows } = await pool.query<{ id: string; processor: string | null }>(
    `select n.id, (select p.id from processors p where p.node_id = n.id order by p.id limit 1) as processor from edge_nodes n order by n.id`,
  );
  return startAgents(rows.map(({ id, processor }) => ({ id, processorId: processor })), beatEveryMs);
}

interface Database {
  url(): string;
  pool(): Pool;
  /** Kills it, and starts it again. @returns its URL, with another port */
  restart(): Promise<string>;
  stop(): Promise<void>;
}

async function startDatabase(folder: string): Promise<Database> {
  const dataDir = join(folder, 'postgres');
  await mkdir(dataDir);
  // A crash must lose nothing that was answered for: what survives the process is enough, the machine stays.
  const parameters = { fsync: 'off', full_page_writes: 'off', max_connections: '200' };
  const start = (): Promise<EmbeddedPostgres> => startEmbeddedPostgres({ dataDir, log: silentLog, parameters });
  const connect = ({ url }: EmbeddedPostgres): Pool => createPool(url, { max: 4, statementTimeoutMs: 0, applicationName: 'dory-test' });
  let server = await start();
  let pool = connect(server);
  await migrate(pool);
  return {
    url: () => server.url,
    pool: () => pool,
    restart: async () => {
      const { rows } = await pool.query<{ directory: string }>(`select current_setting('data_directory') as directory`);
      process.kill(Number.parseInt(await readFile(join(rows[0]?.directory ?? '', 'postmaster.pid'), 'utf8'), 10), 'SIGKILL');
      await pool.end();
      await server.stop();
      server = await start();
      pool = connect(server);
      return server.url;
    },
    stop: async () => {
      await pool.end();
      await server.stop();
      await removeEmbeddedPostgres(dataDir);
    },
  };
}

interface Place {
  readonly cwd: string;
  readonly dataDir: string;
  readonly url: string;
  readonly remote: string;
}

async function startInstance({ cwd, dataDir, url, remote }: Place): Promise<Instance> {
  const env = { PATH: process.env['PATH'], DORY_DATABASE_URL: url, DORY_DATA_DIR: dataDir, DORY_GIT_URL: remote, DORY_CLUSTER: 'test' };
  const running = startProgram(['run', ...flags], cwd, env);
  const { url: listening } = await running.logged(({ msg }) => msg === 'listening');
  return { ...running, url: String(listening) };
}

async function leaderOf(pool: Pool, instances: readonly Instance[]): ReturnType<World['leader']> {
  const { rows } = await pool.query<{ holder: string; epoch: string }>('select holder, epoch from dory.leader where expires_at > clock_timestamp()');
  const [row] = rows;
  if (row === undefined) throw new Error('nobody leads');
  const won = ({ msg, holder }: LogLine): boolean => msg === 'leadership won' && holder === row.holder;
  const instance = instances.find(({ log }) => log.some(won));
  if (instance === undefined) throw new Error(`${row.holder} leads, and is none of the instances`);
  return { instance, epoch: Number(row.epoch) };
}

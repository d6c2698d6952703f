import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Pool } from 'pg';
import { openEngine, type Engine, type EngineOptions } from '../../src/cli/engine.ts';
import type { Runtime } from '../../src/cli/runtime.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { cycle, type CycleReport, type Stages } from '../../src/cycle.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog, type Log } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { loadSettings } from '../../src/platform/settings.ts';
import { assertLeading, whileLeading } from '../../src/cli/lease.ts';
import { testDatabase } from './postgres.ts';
import { temporaryFolder } from './temp.ts';

const run = promisify(execFile);

/** A database, a bare repository and the engine between them, as the program puts them together. */
export interface TestFleet {
  readonly runtime: Runtime;
  readonly pool: Pool;
  /** The bare repository that people clone. */
  readonly remote: string;
  readonly engine: Engine;
  /** Runs `use` with the lease. @throws Error if somebody else leads */
  lead<T>(use: (stages: Stages) => Promise<T>): Promise<T>;
  /** One cycle, leading. */
  once(): Promise<CycleReport>;
  /** These nodes beat, from now until they `age`: a beat from the future counts as of now, so nothing depends on how long a test takes. */
  beat(...nodes: string[]): Promise<void>;
  /** The last beats of these nodes become older by so much, as if the time had passed without one, and placements there as old at least. */
  age(ms: number, ...nodes: string[]): Promise<void>;
  git(...args: string[]): Promise<string>;
  close(): Promise<void>;
}

export interface TestFleetOptions {
  readonly pool: Pool;
  readonly url: string;
  readonly folder: string;
  readonly flags?: Readonly<Record<string, string>>;
  readonly onStep?: Stages['onStep'];
  readonly beforePush?: () => Promise<void>;
  /** Lent. */
  readonly cluster?: Cluster;
  /** Of the cluster whose Secrets are written. */
  readonly kubeconfig?: string;
  readonly log?: Log;
  readonly onPushed?: EngineOptions['onPushed'];
}

async function testRuntime({ pool, url, folder, flags = {}, kubeconfig, log = silentLog }: TestFleetOptions): Promise<Runtime> {
  const remote = join(folder, 'remote.git');
  const settings = await loadSettings({
    env: {},
    flags: { 'config-db': url, 'data-dir': join(folder, 'data'), 'git-url': remote, cluster: 'test', 'git-coalesce': '0s', 'heartbeats-receiver': 'external', ...flags },
  });
  return { settings, pool, databaseUrl: url, kubernetes: kubeconfig === undefined ? null : { kind: 'file', path: kubeconfig }, clock: systemClock, random: systemRandom, log, tell: () => undefined, path: process.env['PATH'] ?? '' };
}

export async function testFleet(options: TestFleetOptions): Promise<TestFleet> {
  const { pool, folder } = options;
  const runtime = await testRuntime(options);
  const remote = join(folder, 'remote.git');
  await mkdir(remote, { recursive: true });
  const git = async (...args: string[]): Promise<string> => (await run('git', ['-C', remote, ...args], { maxBuffer: 1e8 })).stdout;
  await git('init', '--bare', '--quiet', '--initial-branch=main', '.');
  let lease: Parameters<Parameters<typeof whileLeading>[1]>[0] | null = null;
  const engine = await openEngine(runtime, {
    lease: () => lease,
    cluster: options.cluster ?? null,
    assertLeading: async () => {
      await options.beforePush?.();
      if (lease !== null) await assertLeading(pool, lease);
    },
    ...(options.onStep ? { onStep: options.onStep } : {}),
    ...(options.onPushed ? { onPushed: options.onPushed } : {}),
  });
  const lead = async <T>(use: (stages: Stages) => Promise<T>): Promise<T> => {
    const result = await whileLeading(runtime, async (held) => {
      lease = held;
      return { value: await use(engine.stages) };
    });
    if (result === null) throw new Error('somebody else leads');
    return result.value;
  };
  return {
    runtime, pool, remote, engine, git, lead,
    once: () => lead(cycle),
    beat: async (...nodes) => {
      await pool.query(`update edge_nodes set last_heartbeat_at = clock_timestamp() + interval '1 hour' where name = any($1)`, [nodes]);
    },
    age: async (ms, ...nodes) => {
      await pool.query(`update edge_nodes set last_heartbeat_at = least(last_heartbeat_at, clock_timestamp()) - $2 * interval '1 ms' where name = any($1)`, [nodes, ms]);
      // Of what came after their last beats no beat is expected yet.
      await pool.query(`update dory.placements p set since = least(p.since, date_trunc('milliseconds', n.last_heartbeat_at)) from edge_nodes n where n.id = p.target_node_id and n.name = any($1)`, [nodes]);
      await pool.query('update dory.state set version = version + 1');
    },
    close: () => engine.close(),
  };
}

export interface SmallFleet extends TestFleet {
  /** Empty but for the fleet's own: for clones and the like. */
  readonly folder: string;
  /** A second engine on the same database and repository, as another instance has; whoever asks closes it. */
  another(flags?: Readonly<Record<string, string>>): Promise<TestFleet>;
}

/** The small fleet in a database and a repository of its own; `close` removes them. */
export async function openSmallFleet(settings: Readonly<Record<string, string>> = {}): Promise<SmallFleet> {
  const [database, folder] = [await testDatabase(), await temporaryFolder()];
  await seedSmallFleet(database.pool);
  const another = (flags: Readonly<Record<string, string>> = {}): Promise<TestFleet> => testFleet({ ...database, folder: folder.path, flags: { ...settings, ...flags } });
  const fleet = await another();
  return {
    ...fleet, folder: folder.path, another,
    close: async () => {
      await fleet.close();
      await database.close();
      await folder.remove();
    },
  };
}

/** Two nodes that beat, a template, three processors: `cam-1` and `cam-2` at home on `edge-1`, `report` managed. */
export async function seedSmallFleet(pool: Pool): Promise<void> {
  await pool.query(`
    insert into processor_templates (id, slug, name) values ('00000000-0000-4000-8000-00000000000a', 'camera', 'Camera');
    insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active)
      values ('00000000-0000-4000-8000-00000000000a', 'registry.example.com/camera:1.0.0', '1.0.0', '{}', true);
    insert into edge_nodes (id, organization_id, name, last_heartbeat_at) values
      ('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000001', 'edge-1', now() + interval '1 hour'),
      ('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-000000000001', 'edge-2', now() + interval '1 hour');
    insert into processors (id, processor_template_id, node_type, node_id) values
      ('00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-00000000000a', 'edge', '00000000-0000-4000-8000-0000000000e1'),
      ('00000000-0000-4000-8000-0000000000c2', '00000000-0000-4000-8000-00000000000a', 'edge', '00000000-0000-4000-8000-0000000000e1'),
      ('00000000-0000-4000-8000-0000000000c3', '00000000-0000-4000-8000-00000000000a', 'managed', null);
  `);
}

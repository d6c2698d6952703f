import { readFile } from 'node:fs/promises';
import type { Pool } from 'pg';
import { instant, type Instant } from '../../src/model/time.ts';
import { fleetFileRows, insertStatements } from '../../src/observe/fleet-file-rows.ts';
import { inTransaction } from '../../src/platform/pg.ts';

const exampleFleet = new URL('../../config/fleet.example.yaml', import.meta.url);

/**
 * Inserts the fleet of a fleet file into a migrated database.
 * @param now what heartbeat ages count back from; null: no node has ever reported.
 */
export async function seedFleetFile(pool: Pool, text: string, now: Instant | null = null): Promise<void> {
  await inTransaction(pool, {}, async (client) => {
    for (const { text: sql, values } of insertStatements(fleetFileRows(text, now))) await client.query(sql, [...values]);
  });
}

export async function seedExampleFleet(pool: Pool, now: Instant | null = null): Promise<void> {
  await seedFleetFile(pool, await readFile(exampleFleet, 'utf8'), now);
}

/** For heartbeats that are fresh as long as a test takes on the slowest machine: one from the future counts as of now. */
export function freshForAnHour(): Instant {
  return instant(Date.now() + 3_600_000);
}

export interface SyntheticFleet {
  readonly processors: number;
  /** Home of ten processors each by default. */
  readonly nodes?: number;
  readonly templates?: number;
}

/**
 * Inserts a fleet of any size within seconds: every processor has a sensor of its own with a credential in it, nine of ten
 * are at home on an edge node, and all nodes have just reported. Ids are hashes of numbers: the same for every run.
 */
export async function seedSyntheticFleet(pool: Pool, { processors, nodes = Math.ceil(processors / 10), templates = 20 }: SyntheticFleet): Promise<void> {
  const id = (kind: string, number: string): string => `md5('${kind}-' || (${number})::text)::uuid`;
  await inTransaction(pool, {}, async (client) => {
    await client.query(`insert into processor_templates (id, slug, name) select ${id('template', 'n')}, 'app-' || n, 'Application ' || n from generate_series(1, $1::int) as n`, [templates]);
    await client.query(
      `insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active)
       select ${id('template', 'n')}, 'registry.example.com/app-' || n || ':1.0.' || n, '1.0.' || n, $2::json, true from generate_series(1, $1::int) as n`,
      [templates, JSON.stringify(syntheticConfig)],
    );
    await client.query(
      `insert into sensors (id, sensor_type, connection_config)
       select ${id('sensor', 'n')}, 'rtsp-camera', jsonb_build_object('url', 'rtsp://10.0.' || n / 250 || '.' || n % 250 || ':554/main',
              'username', 'viewer', 'password', 'not-a-real-password-' || n, 'fps', 15, 'resolution', jsonb_build_object('width', 1920, 'height', 1080))
         from generate_series(1, $1::int) as n`,
      [processors],
    );
    await client.query(
      `insert into edge_nodes (id, name, status, failover_target_node_id, last_heartbeat_at)
       select ${id('node', 'n')}, 'edge-' || n, 'online', case when n % 2 = 0 and n < $1 then ${id('node', 'n + 1')} end, now() from generate_series(1, $1::int) as n`,
      [nodes],
    );
    await client.query(
      `insert into processors (id, processor_template_id, node_type, node_id, k8s_namespace, sensor_id, status)
       select ${id('processor', 'n')}, ${id('template', '1 + n % $2')}, case when n % 10 = 0 then 'managed' else 'edge' end,
              case when n % 10 <> 0 then ${id('node', '1 + n % $3')} end, 'default', ${id('sensor', 'n')}, 'running'
         from generate_series(1, $1::int) as n`,
      [processors, templates, nodes],
    );
  });
  await pool.query('analyze');
}

/** Twenty variables: what a template of the running system has. */
const syntheticConfig = {
  resources: { cpu_request: '250m', memory_request: '256Mi', cpu_limit: '1', memory_limit: '1Gi' },
  container: { args: ['--verbose'] },
  env_vars: {
    DORY_LOG_LEVEL: 'INFO',
    DORY_STATE_BACKEND: 'configmap',
    DORY_SHUTDOWN_TIMEOUT_SEC: '30',
    BROKER_PASSWORD: 'not-a-real-password',
    ...Object.fromEntries(Array.from({ length: 16 }, (_, i) => [`SETTING_${String(i)}`, `value ${String(i)}`])),
  },
};

/**
 * Places every desired processor at its home, as one committed revision, with `specDigest` as the caller knows it; for
 * measurements and tests that start from a fleet at rest.
 */
export async function seedPlacementsAtHome(pool: Pool, specDigests: ReadonlyMap<string, string>): Promise<void> {
  await inTransaction(pool, {}, async (client) => {
    await client.query("insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer, committed_at) values (1, now(), 1, 'first-placement', '', 'test', now())");
    await client.query(
      `insert into dory.placements (processor_id, epoch, target_kind, target_node_id, target_node_name, phase, reason, since, spec_digest, revision)
       select p.id, 1, case when n.id is null then 'managed' else 'edge' end, n.id, n.name, 'active', 'first-placement', date_trunc('milliseconds', now()), d.digest, 1
         from unnest($1::uuid[], $2::text[]) as d (id, digest) join processors p on p.id = d.id
         left join edge_nodes n on n.id = p.node_id and p.node_type = 'edge'`,
      [[...specDigests.keys()], [...specDigests.values()]],
    );
    await client.query('update dory.state set revision = 1, version = version + 1');
  });
  await pool.query('analyze');
}

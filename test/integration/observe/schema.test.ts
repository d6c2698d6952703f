import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createObserver, type Observer, type ObserveSettings } from '../../../src/observe/database.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { seedFleetFile } from '../../support/seed-database.ts';
import { testPolicy } from '../../support/policy.ts';

const settings: ObserveSettings = {
  policy: testPolicy,
  policies: [],
  defaultNamespace: 'default',
  receiver: 'dory',
  siteColumn: null,
};

const small = `
templates: [{ slug: app, version: "1", image: a/b:1 }]
processors: [{ name: p1, template: app }, { name: p2, template: app }]
`;

let database: TestDatabase;
let observer: Observer;
beforeEach(async () => {
  database = await testDatabase();
  observer = createObserver(database.pool, settings);
});
afterEach(() => database.close());
const sql = (text: string) => database.pool.query(text);

describe('another schema', () => {
  test.each([
    'alter table processor_template_versions drop column digest, drop column build_config',
    'alter table edge_nodes drop column organization_id, drop column failover_enabled, drop column failover_target_node_id',
    'alter table edge_node_apps drop column failover_enabled',
    'alter table processors drop column k8s_namespace',
    'alter table sensors add column location_point point, add column unknown xml',
    'alter table processor_template_versions alter column runtime_config_template type text',
    'alter table processor_template_versions alter column runtime_config_template type jsonb',
    'alter table sensors alter column connection_config type json',
  ])('is read: %s', async (change) => {
    await sql(change);
    await sql("insert into processor_templates values (gen_random_uuid(), 'app', 'App')");
    await sql("insert into processor_template_versions (processor_template_id, image_uri, version, is_active, runtime_config_template) select id, 'a/b:1', '1', true, '{}' from processor_templates");
    await sql("insert into sensors (sensor_type, connection_config) values ('camera', '{\"fps\":5}')");
    await sql("insert into edge_nodes (name) values ('edge-1')");
    await sql("insert into processors (processor_template_id, node_type, node_id, sensor_id) select t.id, 'edge', n.id, s.id from processor_templates t, edge_nodes n, sensors s");
    await sql('insert into edge_node_apps (edge_node_id, processor_config_id) select n.id, t.id from edge_nodes n, processor_templates t');
    const { fleet } = await observer.observe();
    expect([fleet.processors.length, fleet.quarantined.length, fleet.nodes.length, fleet.switches.length]).toEqual([1, 0, 1, 1]);
    expect(fleet.nodes[0]).toMatchObject({ failoverEnabled: true });
  });

  test.each([
    ['drop schema dory cascade', 'schema-missing', /dory/],
    ['alter table sensors rename to sensoren', 'schema-missing', /sensors/],
    ['alter table processors rename column node_id to edge_node_id', 'schema-incompatible', /processors\.node_id/],
    ['alter table processors rename column status to state', 'schema-incompatible', /processors\.status/],
    ['alter table edge_nodes drop column last_heartbeat_at', 'schema-incompatible', /edge_nodes\.last_heartbeat_at/],
    ['alter table edge_node_apps rename column processor_config_id to processor_template_id', 'schema-incompatible', /edge_node_apps\.processor_config_id/],
    ['alter table processors drop constraint processors_sensor_id_fkey, alter column sensor_id type text', 'schema-incompatible', /processors\.sensor_id/],
  ])('is refused: %s', async (change, code, named) => {
    await sql(change);
    await expect(observer.observe()).rejects.toMatchObject({ code, message: expect.stringMatching(named) as unknown });
  });

  test('that changes while we run is noticed, and the next look reads what is there then', async () => {
    await seedFleetFile(database.pool, small);
    await observer.observe();
    await sql('alter table processors rename column k8s_namespace to namespace');
    await expect(observer.observe()).rejects.toMatchObject({ code: 'schema-incompatible' });
    expect((await observer.observe()).fleet.processors.map(({ namespace }) => namespace)).toEqual(['default', 'default']);
  });
});

describe('the column of the site', () => {
  const zoned = (): Observer => createObserver(database.pool, { ...settings, siteColumn: 'zone' });
  const sites = async (of: Observer) => (await of.observe()).fleet.nodes.map(({ site }) => site);

  test('is read as text, whatever its type, and a change of it is seen', async () => {
    await sql('alter table edge_nodes add column zone integer');
    await sql("insert into edge_nodes (name, zone) values ('edge-1', 7)");
    const observing = zoned();
    expect(await sites(observing)).toEqual(['7']);
    await sql('update edge_nodes set zone = 8');
    expect(await sites(observing)).toEqual(['8']);
    await sql('update edge_nodes set zone = null');
    expect(await sites(observing)).toEqual([null]);
    expect(await sites(observer)).toEqual([null]);
  });

  test('is quoted, so that a word of SQL is a name too, and blank names no site', async () => {
    await sql('alter table edge_nodes add column "group" text');
    await sql(`insert into edge_nodes (name, "group") values ('edge-1', ' ')`);
    expect(await sites(createObserver(database.pool, { ...settings, siteColumn: 'group' }))).toEqual([null]);
  });

  test('is missed with the name of the setting', async () => {
    await expect(zoned().observe()).rejects.toMatchObject({ code: 'schema-incompatible', message: expect.stringContaining('edge_nodes.zone') as string, mend: expect.stringContaining('sites.column') as string });
  });
});

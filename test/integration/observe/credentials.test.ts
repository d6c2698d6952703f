import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { beginVersions, raiseVersions, readVersions, stillRendered } from '../../../src/apply/secrets-versions.ts';
import { neededSecrets } from '../../../src/apply/secrets.ts';
import { observeSettings } from '../../../src/cli/policy.ts';
import { readCredentialRows, readCredentials } from '../../../src/observe/credentials.ts';
import { createObserver } from '../../../src/observe/database.ts';
import { acquire } from '../../../src/platform/leadership.ts';
import { loadSettings } from '../../../src/platform/settings.ts';
import { seedSmallFleet } from '../../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { seedSyntheticFleet } from '../../support/seed-database.ts';

const template = '00000000-0000-4000-8000-00000000000a';
const sensor = (n: number): string => `00000000-0000-4000-8000-0000000000f${String(n)}`;

let database: TestDatabase;
beforeEach(async () => { database = await testDatabase(); });
afterEach(() => database.close());

async function read(names: readonly string[] | null = null): Promise<Record<string, Record<string, string>>> {
  const all: Record<string, Record<string, string>> = {};
  for await (const [name, values] of readCredentials(database.pool, names)) all[name] = Object.fromEntries([...values].map(([key, value]) => [key, value.reveal()]));
  return all;
}

describe('credentials', () => {
  beforeEach(async () => {
    await seedSmallFleet(database.pool);
    const configs = [{ url: 'rtsp://cam', password: 'a$(B)"', port: 554, list: [{ token: 't' }] }, { user_password: 'p' }, { url: 'rtsp://cam' }];
    for (const [n, config] of configs.entries()) await database.pool.query('insert into sensors (id, sensor_type, connection_config) values ($1, $2, $3)', [sensor(n), 'camera', JSON.stringify(config)]);
    await database.pool.query('update processor_template_versions set runtime_config_template = $1', [JSON.stringify({ env_vars: { BROKER_PASSWORD: 'b', MODE: 'day', SENSOR_PASSWORD: 'own' } })]);
  });

  test('are what manifests refer to, as they stand in the rows', async () => {
    expect(await read()).toMatchObject({
      [`dory-sensor-${sensor(0)}`]: { SENSOR_PASSWORD: 'a$(B)"', SENSOR_LIST: '[{"token":"t"}]' },
      [`dory-sensor-${sensor(1)}`]: { SENSOR_USER_PASSWORD: 'p' },
      [`dory-env-${template}`]: { BROKER_PASSWORD: 'b', SENSOR_PASSWORD: 'own' },
    });
    expect(await read()).not.toHaveProperty(`dory-sensor-${sensor(2)}`);
  });

  test('are read for some Secrets only', async () => {
    expect(Object.keys(await read([`dory-sensor-${sensor(1)}`]))).toEqual([`dory-sensor-${sensor(1)}`]);
    expect(Object.keys(await read([`dory-env-${template}`]))).toEqual([`dory-env-${template}`]);
    expect(await read([])).toEqual({});
  });

  test('have rows that change with them, and with nothing else', async () => {
    const changed = async (text: string): Promise<readonly string[]> => {
      const before = await readCredentialRows(database.pool);
      await database.pool.query(text);
      const after = await readCredentialRows(database.pool);
      return [...new Set([...before.keys(), ...after.keys()])].filter((name) => before.get(name) !== after.get(name));
    };
    const [first, second] = [sensor(0), sensor(1)];
    expect(await changed(`update sensors set metadata = '{"room": 1}'`)).toEqual([]);
    expect(await changed(`update sensors set connection_config = '{"user_password":"q"}' where id = '${second}'`)).toEqual([`dory-sensor-${second}`]);
    expect(await changed(`update sensors set sensor_type = 'radar' where id = '${first}'`)).toEqual([`dory-sensor-${first}`]);
    expect(await changed(`update processor_template_versions set runtime_config_template = '{}'`)).toEqual([`dory-env-${template}`]);
    expect(await changed(`update processor_template_versions set is_active = false`)).toEqual([`dory-env-${template}`]);
    expect(await changed(`delete from sensors where id = '${second}'`)).toEqual([`dory-sensor-${second}`]);
  });

  test('of a template with two active versions are not known', async () => {
    await database.pool.query(`insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active) values ('${template}', 'a/b:2', '2', '{"env_vars":{"BROKER_PASSWORD":"other"}}', true)`);
    expect(await read([`dory-env-${template}`])).toEqual({});
  });
});

test('each that a manifest refers to has a value, in a fleet of more than one page', async () => {
  await seedSyntheticFleet(database.pool, { processors: 2_500 });
  const { fleet } = await createObserver(database.pool, observeSettings(await loadSettings({ env: {}, flags: {} }))).observe();
  const needed = neededSecrets(fleet);
  const values = await read();
  expect(needed.length).toBe(2_500 + 20);
  for (const { name, keys } of needed) expect(Object.keys(values[name] ?? {}).sort(), name).toEqual(keys);
});

describe('versions', () => {
  test('rise, under the lead only, and begin before they are shown', async () => {
    const lease = await acquire(database.pool, 'ann');
    const epoch = lease?.epoch ?? 0;
    await beginVersions(database.pool, epoch, [{ name: 'a', version: 2 }]);
    expect([...(await readVersions(database.pool))]).toEqual([['a', { version: 1, begun: 2 }]]);
    await raiseVersions(database.pool, epoch, [{ name: 'a', version: 2 }, { name: 'b', version: 3 }]);
    await raiseVersions(database.pool, epoch, [{ name: 'b', version: 2 }]);
    await beginVersions(database.pool, epoch, [{ name: 'b', version: 2 }]);
    expect([...(await readVersions(database.pool))].sort()).toEqual([['a', { version: 2, begun: 2 }], ['b', { version: 3, begun: 3 }]]);
    await expect(raiseVersions(database.pool, epoch + 1, [{ name: 'a', version: 9 }])).rejects.toMatchObject({ code: 'not-leader' });
    await expect(beginVersions(database.pool, epoch + 1, [{ name: 'a', version: 9 }])).rejects.toMatchObject({ code: 'not-leader' });
    expect((await readVersions(database.pool)).get('a')).toEqual({ version: 2, begun: 2 });
  });

  test('change the spec of those who read them; a value that is replaced does not, by itself', async () => {
    await seedSmallFleet(database.pool);
    await database.pool.query('update processor_template_versions set runtime_config_template = $1', [JSON.stringify({ env_vars: { BROKER_PASSWORD: 'b' } })]);
    const observer = createObserver(database.pool, observeSettings(await loadSettings({ env: {}, flags: {} })));
    const first = (await observer.observe()).fleet;
    expect((await observer.observe()).fleet).toBe(first);
    await database.pool.query('update processor_template_versions set runtime_config_template = $1', [JSON.stringify({ env_vars: { BROKER_PASSWORD: 'c' } })]);
    const mark = observer.credentialsMark();
    expect((await observer.observe()).fleet).toBe(first);
    expect(observer.credentialsMark()).not.toBe(mark);
    await raiseVersions(database.pool, (await acquire(database.pool, 'ann'))?.epoch ?? 0, [{ name: `dory-env-${template}`, version: 2 }]);
    const { fleet } = await observer.observe();
    expect(fleet.processors.map(({ secretVersions }) => secretVersions)).toEqual(['env=2', 'env=2', 'env=2']);
    expect(fleet.digest).not.toBe(first.digest);
  });
});

test('a placement that was rendered with a Secret, or a key of it, is known', async () => {
  await database.pool.query(`
    insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values (1, now(), 1, 'first-placement', '', 'test');
    insert into dory.workloads (digest, body) values ('w', '{"env":[{"name":"T","secret":{"key":"T","name":"env"}},{"name":"P","value":"x"}]}');
    insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, placement, spec, workload)
      values ('${sensor(9)}', 1, 'place', 'first-placement', '{}', '[]', '{}', '{"namespace":"plant","sensor":{"env":[{"name":"A","secret":{"key":"A","name":"own"}}]}}', 'w');
    insert into dory.placements (processor_id, epoch, target_kind, phase, reason, since, spec_digest, revision) values ('${sensor(9)}', 1, 'managed', 'active', 'first-placement', now(), '', 1)`);
  // What an earlier revision referred to.
  await database.pool.query(`
    insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values (2, now(), 1, 'first-placement', '', 'test');
    insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, placement, spec, workload)
      values ('${sensor(9)}', 2, 'update', 'first-placement', '{}', '[]', '{}', '{"namespace":"plant","sensor":{"env":[{"name":"B","secret":{"key":"B","name":"own"}}]}}', 'w')`);
  const uses = async () => (await stillRendered(database.pool, ['own', 'env', 'other'])).map(({ namespace, name, key }) => `${namespace} ${name} ${key}`).sort();
  expect(await uses()).toEqual(['plant env T', 'plant own A']);
  expect(await stillRendered(database.pool, ['other'])).toEqual([]);
  await database.pool.query('delete from dory.placements');
  expect(await uses()).toEqual([]);
});

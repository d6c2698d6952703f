import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { seedSmallFleet } from '../../support/fleet.ts';
import { until } from '../../support/until.ts';
import { workshop, type Workshop } from './program.ts';

const [template, sensor] = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-0000000000f1'];
const word = 'camera-Vp22zR';

let shop: Workshop;
beforeEach(async () => {
  shop = await workshop();
  await seedSmallFleet(shop.pool);
  await shop.pool.query(`insert into sensors (id, sensor_type, connection_config) values ('${sensor}', 'camera', '{"url":"rtsp://cam.example","password":"${word}"}')`);
  await shop.pool.query(`update processors set sensor_id = '${sensor}', k8s_namespace = 'plant' where node_type = 'edge'`);
  await shop.pool.query(`update processor_template_versions set runtime_config_template = '{"env_vars":{"BROKER_PASSWORD":"${word}","MODE":"day"}}'`);
});
afterEach(() => shop.close());

const envSecret = `dory-env-${template}`;

test('without a cluster, what must be created is listed: names and keys, no values', async () => {
  const listed = await shop.here('secrets', '-o', 'json');
  expect(listed).toMatchObject({ code: 0 });
  expect(JSON.parse(listed.out)).toEqual([
    { namespace: 'default', name: envSecret, keys: ['BROKER_PASSWORD'], withoutValue: [], state: null, restartPending: false },
    { namespace: 'plant', name: envSecret, keys: ['BROKER_PASSWORD'], withoutValue: [], state: null, restartPending: false },
    { namespace: 'plant', name: `dory-sensor-${sensor}`, keys: ['SENSOR_PASSWORD'], withoutValue: [], state: null, restartPending: false },
  ]);
  for (const format of ['table', 'wide', 'json', 'yaml']) {
    const { code, out, err } = await shop.here('secrets', '-o', format);
    expect(code).toBe(0);
    expect(out).toContain(`dory-sensor-${sensor}`);
    expect(out + err).not.toContain(word);
  }
});

test('values are printed only where that is asked for by name', async () => {
  const refused = await shop.here('secrets', '--manifests');
  expect(refused.code).toBe(1);
  expect(refused.out).toBe('');
  const { code, out } = await shop.here('secrets', '--manifests', '--show-values');
  expect(code).toBe(0);
  const documents = parseAllDocuments(out).map((document) => document.toJS() as { metadata: { namespace: string; name: string; labels: object }; data: Record<string, string> });
  expect(documents.map(({ metadata, data }) => [metadata.namespace, metadata.name, Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]))])).toEqual([
    ['default', envSecret, { BROKER_PASSWORD: word }],
    ['plant', envSecret, { BROKER_PASSWORD: word }],
    ['plant', `dory-sensor-${sensor}`, { SENSOR_PASSWORD: word }],
  ]);
  expect(documents[0]?.metadata.labels).toEqual({ 'managed-by': 'dory-orchestrator' });
});

test('a person\'s word that a Secret has the values of now raises what manifests show', async () => {
  const name = `dory-sensor-${sensor}`;
  const shown = async () => (await shop.here('plan', '--full')).out;
  await shop.pool.query(`insert into dory.secret_versions (name, begun) values ($1, 2)`, [name]);
  expect(JSON.parse((await shop.here('secrets', '-o', 'json')).out)).toMatchObject([{ restartPending: false }, { restartPending: false }, { name, restartPending: true }]);
  expect((await shop.here('secrets')).out).toMatch(/dory-sensor-.* waits/);
  expect(await shown()).not.toContain('sensor=2');
  expect((await shop.here('secrets', '--replaced', name, name)).code).toBe(0);
  expect((await shop.pool.query('select name, version, begun from dory.secret_versions')).rows).toEqual([{ name, version: 2, begun: 2 }]);
  expect((await shop.pool.query(`select evidence -> 'object' as object from dory.events where kind = 'credentials-replaced'`)).rows).toEqual([{ object: name }]);
  expect(await shown()).toContain('sensor=2');
  const refused = await shop.here('secrets', '--replaced', 'dory-sensor-other');
  expect(refused.code).not.toBe(0);
  expect(refused.err).toContain('dory-sensor-other');
});

test('without a cluster, a password that is replaced under a running program restarts pods when a person says that its Secret has it', async () => {
  const name = `dory-sensor-${sensor}`;
  const running = shop.start([`--config-db=${shop.url}`, '--heartbeats-receiver', 'external', '--poll-interval', '1s', '--http-host', '127.0.0.1', '--http-port', '0']);
  await running.logged(({ msg, revision }) => msg === 'pushed' && revision === 1);
  const pending = async (): Promise<number> => (await shop.pool.query(`select from dory.events where kind = 'credentials-pending'`)).rowCount ?? 0;
  let round = 0;
  // What it was before, the program reads beside its first cycles.
  await until(async () => {
    await shop.pool.query(`update sensors set connection_config = jsonb_set(connection_config, '{password}', to_jsonb('round-' || $1::text))`, [String(round += 1)]);
    await shop.pool.query(`select pg_notify('dory', 'test')`);
    return (await pending()) > 0;
  }, 'the replacement is seen');
  expect((await shop.pool.query('select max(id)::int as revision from dory.revisions')).rows).toEqual([{ revision: 1 }]);
  expect((await shop.here('secrets', '--replaced', name)).code).toBe(0);
  await running.logged(({ msg, revision }) => msg === 'pushed' && revision === 2);
  expect((await shop.git('grep', '-c', 'dory.io/secret-versions: sensor=2', 'main', '--', 'clusters/test/processors')).trim().split('\n')).toHaveLength(2);
  expect(running.log.map((line) => JSON.stringify(line)).join('\n')).not.toMatch(/round-\d/);
  running.signal('SIGTERM');
  await running.ended;
});

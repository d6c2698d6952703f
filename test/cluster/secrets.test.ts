import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createLog } from '../../src/platform/log.ts';
import type { CycleReport } from '../../src/cycle.ts';
import { installAccess, ownKubeconfig } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../support/fleet.ts';
import { testDatabase, type TestDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const [template, sensor] = ['00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-0000000000f1'];
const [envSecret, sensorSecret] = [`dory-env-${template}`, `dory-sensor-${sensor}`];
/** No two have a part in common. */
const words = { broker: 'broker-Kx81mQ', camera: 'camera-Vp22zR', later: 'later-Wn93yT', foreign: 'foreign-Jd47sL' };

interface Secret {
  readonly metadata: { readonly uid: string; readonly resourceVersion: string; readonly annotations: Record<string, string>; readonly labels: Record<string, string>; readonly managedFields: readonly { readonly manager: string }[] };
  readonly data: Record<string, string>;
}

describe.skipIf(typeof programs === 'string')('credentials on a real control plane', () => {
  let server: ControlPlane;
  let database: TestDatabase;
  let folder: string;
  let logged: string[];
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startControlPlane({ programs });
    await installAccess(server);
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    database = await testDatabase();
    closes.push(() => database.close());
    const temporary = await temporaryFolder();
    folder = temporary.path;
    closes.push(() => temporary.remove());
    logged = [];
    await seedSmallFleet(database.pool);
    await run(`insert into sensors (id, sensor_type, connection_config) values ('${sensor}', 'camera', '{"url":"rtsp://cam.example","password":"${words.camera}","list":[{"token":"${words.camera}"}]}')`);
    await run(`update processors set sensor_id = '${sensor}' where node_type = 'edge'`);
    await run(`update processor_template_versions set runtime_config_template = '{"env_vars":{"BROKER_PASSWORD":"${words.broker}","MODE":"day"}}'`);
    closes.push(() => server.send('DELETE', '/api/v1/namespaces/default/secrets'));
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const run = (text: string) => database.pool.query(text);
  const program = async (n = 1): Promise<TestFleet> => {
    const log = createLog({ level: 'trace', destination: { write: (line) => { logged.push(line); } } });
    const fleet = await testFleet({ ...database, folder: `${folder}/${String(n)}`, kubeconfig: await ownKubeconfig(server), log });
    closes.push(() => fleet.close());
    return fleet;
  };
  const read = (name: string, namespace = 'default') => server.send('GET', `/api/v1/namespaces/${namespace}/secrets/${name}`) as unknown as Promise<Secret>;
  const names = async () => ((await server.send('GET', '/api/v1/namespaces/default/secrets')) as unknown as { items: { metadata: { name: string } }[] }).items.map(({ metadata }) => metadata.name);
  const valuesOf = async (name: string) => Object.fromEntries(Object.entries((await read(name)).data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
  const manifests = (fleet: TestFleet) => fleet.git('grep', '-h', '-e', 'secret-versions', 'main', '--', 'clusters/test/processors').then((text) => text.trim().split('\n').map((line) => line.trim()), () => []);
  const changesOf = ({ planned }: CycleReport) => planned.changes.map(({ kind, processorId }) => `${kind} ${processorId.slice(-2)}`);
  const reasons = async () => (await database.pool.query<{ reason: string }>('select reason from dory.changes order by revision desc, processor_id')).rows.map(({ reason }) => reason);
  const versions = async () => (await database.pool.query('select name, version, begun from dory.secret_versions order by name')).rows;
  /** The copy of the cluster's Secrets shows what was written. */
  const settled = (fleet: TestFleet) => until(async () => {
    const before = await Promise.all((await names()).map((name) => read(name)));
    await fleet.once();
    return before.every((each) => each.metadata.managedFields.length > 0);
  }, 'a cycle ran');

  test('appear before the manifests that refer to them, restart pods when they are replaced, and are nowhere else', async () => {
    const fleet = await program();
    expect(changesOf(await fleet.once())).toEqual(['place c1', 'place c2', 'place c3']);
    expect((await names()).toSorted()).toEqual([envSecret, sensorSecret]);
    expect(await valuesOf(envSecret)).toEqual({ BROKER_PASSWORD: words.broker });
    expect(await valuesOf(sensorSecret)).toEqual({ SENSOR_PASSWORD: words.camera, SENSOR_LIST: `[{"token":"${words.camera}"}]` });
    expect((await read(sensorSecret)).metadata).toMatchObject({ labels: { 'managed-by': 'dory-orchestrator' }, annotations: { 'dory.io/secret-version': '1' }, managedFields: [{ manager: 'dory-orchestrator' }] });
    expect(await manifests(fleet)).toEqual([]);
    expect(await versions()).toEqual([]);

    await run(`update sensors set connection_config = jsonb_set(connection_config::jsonb, '{password}', '"${words.later}"')`);
    await until(async () => (changesOf(await fleet.once()).join() === 'update c1,update c2'), 'those that read it are updated');
    expect((await reasons()).slice(0, 2)).toEqual(['secrets-rotated', 'secrets-rotated']);
    expect((await valuesOf(sensorSecret))['SENSOR_PASSWORD']).toBe(words.later);
    expect(await versions()).toEqual([{ name: sensorSecret, version: 2, begun: 2 }]);
    expect(await manifests(fleet)).toEqual(['dory.io/secret-versions: sensor=2', 'dory.io/secret-versions: sensor=2']);
    await settled(fleet);
    expect(changesOf(await fleet.once()), 'once and not twice').toEqual([]);

    const told = [...logged, await fleet.git('log', '-p', 'main'), JSON.stringify((await database.pool.query('select to_jsonb(t) from dory.changes t union all select to_jsonb(t) from dory.events t union all select to_jsonb(t) from dory.workloads t union all select to_jsonb(t) from dory.secret_versions t')).rows)].join('\n');
    expect(told).toContain(sensorSecret);
    for (const word of Object.values(words)) {
      expect(told).not.toContain(word);
      expect(told).not.toContain(Buffer.from(word).toString('base64').replace(/=+$/, ''));
    }
  });
});

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { createSecretsKeeper } from '../../src/apply/secrets-keeper.ts';
import { createRotationsKeeper } from '../../src/apply/secrets-rotations.ts';
import { surplusGrace } from '../../src/apply/secrets-surplus.ts';
import { observeSettings } from '../../src/cli/policy.ts';
import { runCli } from '../../src/cli/program.ts';
import type { CycleReport } from '../../src/cycle.ts';
import { millis, seconds } from '../../src/model/time.ts';
import { readCredentialRows, readCredentials } from '../../src/observe/credentials.ts';
import { createObserver } from '../../src/observe/database.ts';
import { systemClock, type Clock } from '../../src/platform/clock.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient } from '../../src/platform/kube/client.ts';
import { createKubeWriter } from '../../src/platform/kube/write.ts';
import { acquire } from '../../src/platform/leadership.ts';
import { createLog, silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
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
  const versions = async () => (await database.pool.query<Record<string, unknown>>('select name, version, begun from dory.secret_versions order by name')).rows;
  /** Requests for Secrets that the server answered, but for lists and watches. */
  const requests = async () => (await server.kubectl('get', '--raw', '/metrics')).split('\n').filter((line) => line.startsWith('apiserver_request_total') && line.includes('resource="secrets"') && !/verb="(?:LIST|WATCH)"/.test(line));
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

  test('are not looked after again by a program that starts anew and finds nothing to do', async () => {
    const first = await program();
    await first.once();
    await first.close();
    const second = await program(1);
    const before = await requests();
    expect(before.join(), 'those of the first').toContain('verb="APPLY"');
    logged.length = 0;
    expect(changesOf(await second.once())).toEqual([]);
    expect(changesOf(await second.once())).toEqual([]);
    expect(await requests()).toEqual(before);
    expect(logged.filter((line) => line.includes('Secret'))).toEqual([]);
  });

  test('under a name that somebody else has: refused, told once, and written when it is free', async () => {
    await server.send('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: sensorSecret }, stringData: { SENSOR_PASSWORD: words.foreign } });
    const fleet = await program();
    await fleet.once();
    await until(async () => {
      await fleet.once();
      return (await names()).length === 2;
    }, 'the others are written');
    expect(await valuesOf(sensorSecret)).toEqual({ SENSOR_PASSWORD: words.foreign });
    expect((await read(sensorSecret)).metadata.managedFields.map(({ manager }) => manager)).not.toContain('dory-orchestrator');
    expect(logged.filter((line) => line.includes('not-ours'))).toHaveLength(1);
    await server.send('DELETE', `/api/v1/namespaces/default/secrets/${sensorSecret}`);
    await until(async () => {
      await fleet.once();
      return (await names()).includes(sensorSecret);
    }, 'it is written');
    expect((await valuesOf(sensorSecret))['SENSOR_PASSWORD']).toBe(words.camera);
    expect(logged.join('')).not.toContain(words.foreign);
  });

  test('that somebody changed or deleted are put back, and nothing restarts', async () => {
    const fleet = await program();
    await fleet.once();
    await server.send('PATCH', `/api/v1/namespaces/default/secrets/${sensorSecret}`, { data: { SENSOR_PASSWORD: Buffer.from(words.foreign).toString('base64'), MINE: 'eA==' } });
    await until(async () => {
      expect(changesOf(await fleet.once())).toEqual([]);
      return (await valuesOf(sensorSecret))['SENSOR_PASSWORD'] === words.camera;
    }, 'it is put back');
    expect((await valuesOf(sensorSecret))['MINE'], "others' keys stay").toBe('x');
    await server.send('DELETE', `/api/v1/namespaces/default/secrets/${envSecret}`);
    await until(async () => {
      expect(changesOf(await fleet.once())).toEqual([]);
      return (await names()).includes(envSecret);
    }, 'it is made anew');
    expect(await versions()).toEqual([]);
  });

  test('keep the keys that pods on the way out refer to', async () => {
    const fleet = await program();
    await fleet.once();
    await run(`update sensors set connection_config = '{"user_password":"${words.later}"}'`);
    await until(async () => (changesOf(await fleet.once()).length === 2), 'the manifests refer to another key');
    await until(async () => {
      await fleet.once();
      return (await valuesOf(sensorSecret))['SENSOR_USER_PASSWORD'] === words.later;
    }, 'it is there');
    expect(Object.keys(await valuesOf(sensorSecret)).toSorted()).toEqual(['SENSOR_LIST', 'SENSOR_PASSWORD', 'SENSOR_USER_PASSWORD']);
    expect(await versions()).toEqual([]);
  });

  test('of a database that was restored from a backup overwrite nothing newer', async () => {
    const fleet = await program();
    await fleet.once();
    const rotate = (word: string) => run(`update sensors set connection_config = jsonb_set(connection_config::jsonb, '{password}', '"${word}"')`);
    await rotate(words.later);
    await until(async () => changesOf(await fleet.once()).length === 2, 'it is replaced');
    await fleet.close();
    await run('delete from dory.secret_versions');
    await rotate(words.camera);
    const second = await program(1);
    await second.once();
    expect((await valuesOf(sensorSecret))['SENSOR_PASSWORD']).toBe(words.later);
    expect(logged.filter((line) => line.includes('newer-on-cluster'))).toHaveLength(1);
  });

  test('wait for a namespace that is not there, and hold up nothing', async () => {
    await run("update processors set k8s_namespace = 'plant' where node_type = 'edge'");
    const fleet = await program();
    expect(changesOf(await fleet.once())).toHaveLength(3);
    expect(await names()).toEqual([envSecret]);
    expect(logged.filter((line) => line.includes(`plant/${sensorSecret}`) && line.includes('"level":"warn"'))).toHaveLength(1);
  });

  test('are listed by dory secrets as the cluster has them', async () => {
    const list = async (): Promise<readonly (readonly [string, string])[]> => {
      let out = '';
      const code = await runCli(['secrets', '-o', 'json'], {
        env: { DORY_DATABASE_URL: database.url, KUBECONFIG: server.kubeconfig, DORY_DATA_DIR: folder, PATH: process.env['PATH'] }, cwd: folder, signal: new AbortController().signal,
        self: { execPath: '', args: [] }, terminal: { out: (said) => { out += said; }, err: () => undefined, color: false },
      });
      expect(out).not.toContain(words.camera);
      const states = (JSON.parse(out) as { name: string; state: string }[]).map(({ name, state }) => [name, state] as const);
      expect(code).toBe(states.every(([, state]) => state === 'current' || state === 'unused') ? 0 : 4);
      return states;
    };
    await server.send('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: sensorSecret } });
    expect(await list()).toEqual([[envSecret, 'missing'], [sensorSecret, 'not-ours']]);
    await server.send('DELETE', `/api/v1/namespaces/default/secrets/${sensorSecret}`);
    const fleet = await program();
    await fleet.once();
    expect(await list()).toEqual([[envSecret, 'current'], [sensorSecret, 'current']]);
    await run(`update sensors set connection_config = jsonb_set(connection_config::jsonb, '{password}', '"${words.later}"')`);
    await server.send('PATCH', `/api/v1/namespaces/default/secrets/${envSecret}`, { data: { BROKER_PASSWORD: 'eA==' } });
    expect(await list()).toEqual([[envSecret, 'incomplete'], [sensorSecret, 'replaced']]);
    await run('update processors set sensor_id = null');
    expect(await list()).toEqual([[envSecret, 'incomplete'], [sensorSecret, 'unused']]);
  });

  test('that somebody else writes restart pods when they have what the database has', async () => {
    const { engine, runtime } = await program();
    await engine.close();
    const bytes = (word: string) => Buffer.from(word).toString('base64');
    await server.send('POST', '/api/v1/namespaces/default/secrets', { metadata: { name: sensorSecret }, data: { SENSOR_PASSWORD: bytes(words.camera), SENSOR_LIST: bytes(`[{"token":"${words.camera}"}]`) } });
    const keeper = createRotationsKeeper({
      client: createKubeClient(createAccess({ kind: 'file', path: await ownKubeconfig(server) })), pool: database.pool, credentials: (wanted) => readCredentials(database.pool, wanted),
      credentialRows: () => readCredentialRows(database.pool), metrics: null, clock: systemClock, random: systemRandom, log: silentLog, onChange: () => undefined,
    });
    closes.push(() => keeper.close());
    const { fleet: desired } = await createObserver(database.pool, observeSettings(runtime.settings)).observe();
    const lead = { epoch: (await acquire(database.pool, 'test'))?.epoch ?? 0, assertLeading: () => Promise.resolve() };
    let rows = 0;
    /** As if rows had changed, until the look is over. */
    const look = async () => {
      await keeper.keep({ ...desired }, String(rows += 1), lead);
    };
    await until(async () => {
      await run(`update sensors set connection_config = jsonb_set(connection_config::jsonb, '{password}', '"${words.later}${String(rows)}"')`);
      await look();
      return (await versions()).length === 1;
    }, 'the replacement is seen');
    expect(await versions()).toEqual([{ name: sensorSecret, version: 1, begun: 2 }]);
    await run(`update sensors set connection_config = jsonb_set(connection_config::jsonb, '{password}', '"${words.later}"')`);
    await server.send('PATCH', `/api/v1/namespaces/default/secrets/${sensorSecret}`, { data: { SENSOR_PASSWORD: bytes(words.later) } });
    await until(async () => {
      await look();
      return JSON.stringify(await versions()) === JSON.stringify([{ name: sensorSecret, version: 2, begun: 2 }]);
    }, 'pods may restart');
    expect((await read(sensorSecret)).metadata.managedFields.map(({ manager }) => manager), 'nothing is written').not.toContain('dory-orchestrator');
  });

  test('that nothing needs go, after a while, and only if nothing refers to them', async () => {
    const fleet = await program();
    await fleet.once();
    await fleet.close();
    let ahead = 0;
    const clock: Clock = { ...systemClock, monotonic: () => millis(systemClock.monotonic() + ahead) };
    const access = createAccess({ kind: 'file', path: await ownKubeconfig(server) });
    const keeper = createSecretsKeeper({
      client: createKubeClient(access), writer: createKubeWriter(access), pool: database.pool, credentials: (wanted) => readCredentials(database.pool, wanted), credentialRows: () => readCredentialRows(database.pool),
      metrics: null, clock, random: systemRandom, log: silentLog, onChange: () => undefined,
    });
    closes.push(() => keeper.close());
    keeper.start();
    await keeper.synced(seconds(60));
    const { fleet: desired } = await createObserver(database.pool, observeSettings(fleet.runtime.settings)).observe();
    const lead = { epoch: 0, assertLeading: () => Promise.resolve() };
    const without = { ...desired, processors: desired.processors.filter(({ sensor: own }) => own === null) };
    const look = (ms: number) => {
      ahead += ms;
      return keeper.keep({ ...without }, 'rows', lead);
    };
    await look(0);
    await look(surplusGrace);
    expect(await names(), 'placements still show it').toContain(sensorSecret);
    await run("delete from dory.placements where target_kind = 'edge'");
    await server.send('POST', '/api/v1/namespaces/default/pods', { metadata: { name: 'reader' }, spec: { serviceAccountName: 'dory-processor', containers: [{ name: 'c', image: 'i', env: [{ name: 'P', valueFrom: { secretKeyRef: { name: sensorSecret, key: 'SENSOR_PASSWORD' } } }] }] } });
    await look(surplusGrace);
    expect(await names(), 'a pod refers to it').toContain(sensorSecret);
    await server.send('DELETE', '/api/v1/namespaces/default/pods/reader?gracePeriodSeconds=0');
    await look(surplusGrace);
    expect(await names()).toEqual([envSecret]);
  });
});

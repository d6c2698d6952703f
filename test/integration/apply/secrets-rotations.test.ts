import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRotationsKeeper } from '../../../src/apply/secrets-rotations.ts';
import { confirmReplaced, readVersions } from '../../../src/apply/secrets-versions.ts';
import { Concealed } from '../../../src/model/credentials.ts';
import { Failure } from '../../../src/model/failure.ts';
import type { Fleet } from '../../../src/model/fleet.ts';
import { seconds } from '../../../src/model/time.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { acquire } from '../../../src/platform/leadership.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { manualClock } from '../../support/clock.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

const name = 'dory-sensor-00000000-0000-4000-8000-0000000000f1';
const specOf = (namespace: string) => ({ namespace, workload: 'w', sensor: { env: [{ name: 'P', secret: { key: 'P', name } }] } });
const fleet = { workloads: [], quarantined: [], processors: [specOf('dock'), specOf('plant')] } as unknown as Fleet;

let database: TestDatabase;
let leaderEpoch: number;
beforeEach(async () => {
  database = await testDatabase();
  leaderEpoch = (await acquire(database.pool, 'ann'))?.epoch ?? 0;
});
afterEach(() => database.close());

/** The database has `value`; the cluster, where there is one, has in each namespace what `shown` says. */
function stage(cluster: 'without' | 'with') {
  const clock = manualClock();
  const [rows, shown, asked] = [{ value: 'old' }, new Map<string, string>(), [] as string[]];
  const client: Pick<KubeClient, 'get' | 'close'> = {
    close: () => undefined,
    get: (path) => {
      asked.push(path);
      const value = shown.get(path.split('/')[4] ?? '');
      if (value === undefined) return Promise.reject(new Failure('kubernetes-missing', 'gone'));
      return Promise.resolve({ date: null, body: { metadata: { name, uid: 'u', resourceVersion: '1' }, data: { P: Buffer.from(value).toString('base64') } } });
    },
  };
  const start = () => createRotationsKeeper({
    client: cluster === 'with' ? client as KubeClient : null, pool: database.pool, clock, random: systemRandom, log: silentLog, metrics: null, onChange: () => undefined,
    credentialRows: () => Promise.resolve(new Map([[name, rows.value]])),
    credentials: async function* () { yield await Promise.resolve([name, new Map([['P', new Concealed(rows.value)]])] as const); },
  });
  let keeper = start();
  return {
    clock, shown, asked,
    rotate: (to: string) => { rows.value = to; },
    /** Another process. */
    restart: () => { keeper = start(); },
    look: () => keeper.keep(fleet, rows.value, { epoch: leaderEpoch, assertLeading: () => Promise.resolve() }),
  };
}

const versions = async () => (await readVersions(database.pool)).get(name);
const events = async () => (await database.pool.query<{ kind: string }>(`select kind from dory.events where kind like 'credentials-%' order by id`)).rows.map(({ kind }) => kind);

describe('without a cluster', () => {
  test('a replaced value restarts nothing until a person says that the Secret has it', async () => {
    const { look, rotate, clock } = stage('without');
    expect(await look()).toBe(false);
    expect(await versions(), 'what there was before').toBe(undefined);
    rotate('new');
    expect(await look()).toBe(false);
    expect(await versions()).toEqual({ version: 1, begun: 2 });
    rotate('newer');
    clock.advance(seconds(60));
    expect(await look()).toBe(false);
    expect(await versions(), 'still the same restart').toEqual({ version: 1, begun: 2 });
    await confirmReplaced(database.pool, [name], 'ann');
    expect(await versions()).toEqual({ version: 2, begun: 2 });
    expect(await events()).toEqual(['credentials-pending', 'credentials-replaced']);
    await confirmReplaced(database.pool, [name], 'ann');
    expect(await versions(), 'also of what nobody saw').toEqual({ version: 3, begun: 3 });
  });

  test('what could not be recorded is recorded later', async () => {
    const { look, rotate, clock } = stage('without');
    await look();
    rotate('new');
    await database.pool.query('alter table dory.secret_versions rename to away');
    expect(await look()).toBe(false);
    await database.pool.query('alter table dory.away rename to secret_versions');
    clock.advance(seconds(120));
    await look();
    expect(await versions()).toEqual({ version: 1, begun: 2 });
  });
});

describe('with a cluster whose Secrets somebody else writes', () => {
  test('a replaced value restarts pods when the Secret has it in each namespace, also in the eyes of the next process', async () => {
    const { look, rotate, restart, shown, asked, clock } = stage('with');
    shown.set('dock', 'old').set('plant', 'old');
    await look();
    rotate('new');
    expect(await look()).toBe(false);
    expect(await versions()).toEqual({ version: 1, begun: 2 });
    shown.set('plant', 'new');
    restart();
    expect(await look()).toBe(false);
    shown.set('dock', 'new');
    expect(await look(), 'asked again after a while').toBe(false);
    clock.advance(seconds(30));
    expect(await look()).toBe(true);
    expect(await versions()).toEqual({ version: 2, begun: 2 });
    const before = asked.length;
    clock.advance(seconds(60));
    expect(await look()).toBe(false);
    expect(asked, 'nothing is pending, and nobody asked').toHaveLength(before);
  });

  test('a Secret that is not there does not have it', async () => {
    const { look, rotate, shown } = stage('with');
    await look();
    rotate('new');
    shown.set('dock', 'new');
    expect(await look()).toBe(false);
    expect(await versions()).toEqual({ version: 1, begun: 2 });
  });
});

import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { createMarkBook } from '../../../src/apply/secrets-marks.ts';
import { isUsed, ripe, surplusGrace, unusedOf, type SurplusMemory, type Use } from '../../../src/apply/secrets-surplus.ts';
import { markerOf, readSecret, type LiveSecret } from '../../../src/apply/secrets-live.ts';
import { compareSecret, neededSecrets, planSecrets, type NeededSecret, type SecretsView, type SecretVersion } from '../../../src/apply/secrets.ts';
import { Concealed } from '../../../src/model/credentials.ts';
import type { Fleet } from '../../../src/model/fleet.ts';
import { millis } from '../../../src/model/time.ts';
import { systemRandom } from '../../../src/platform/random.ts';

const [name, other] = ['dory-sensor-00000000-0000-4000-8000-0000000000f1', 'dory-env-00000000-0000-4000-8000-0000000000f2'];
const needs = (namespace = 'plant', keys = ['A', 'B'], secret = name): NeededSecret => ({ namespace, name: secret, keys });
const live = (owned: Readonly<Record<string, string>>, version = 1, namespace = 'plant', secret = name): LiveSecret => ({ namespace, name: secret, uid: `uid-${namespace}`, resourceVersion: '7', version, managed: true, owned: new Map(Object.entries(owned)) });
const at = (...secrets: readonly LiveSecret[]) => new Map(secrets.map((secret) => [`${secret.namespace}/${secret.name}`, secret]));
const view = (fields: Partial<SecretsView> & { readonly known?: SecretVersion } = {}): SecretsView => ({
  needed: [needs()], marks: new Map([[name, new Map([['A', 'a1'], ['B', 'b1']])]]), live: new Map(),
  versions: new Map(fields.known === undefined ? [] : [[name, fields.known]]), ...fields,
});
/** `namespace version keys` of each write, and the version of the group. */
const planned = (fields: Parameters<typeof view>[0]) => planSecrets(view(fields)).groups.map(({ version, writes }) => ({ version, writes: writes.map((write) => `${write.namespace} ${String(write.version)} ${write.keys.join()}`) }));

describe('what is written', () => {
  test('is what is missing, under the version that there is', () => {
    expect(planned({})).toEqual([{ version: 1, writes: ['plant 1 A,B'] }]);
    expect(planned({ known: { version: 4, begun: 4 } })).toEqual([{ version: 4, writes: ['plant 4 A,B'] }]);
  });

  test('is nothing where the cluster has it all', () => {
    expect(planSecrets(view({ live: at(live({ A: 'a1', B: 'b1' })) }))).toEqual({ groups: [], ahead: [], surplus: [] });
  });

  test('is a value of ours that the database has otherwise: the version rises', () => {
    expect(planned({ live: at(live({ A: 'a0', B: 'b1' })) })).toEqual([{ version: 2, writes: ['plant 2 A,B'] }]);
  });

  test('is a key that is new, or that somebody changed: the version stays', () => {
    expect(planned({ live: at(live({ A: 'a1' })) })).toEqual([{ version: 1, writes: ['plant 1 A,B'] }]);
  });

  test('rises above what manifests show, also where the Secret was made anew under a lower one', () => {
    expect(planned({ live: at(live({ A: 'a0', B: 'b1' }, 3)), known: { version: 5, begun: 5 } })).toEqual([{ version: 6, writes: ['plant 6 A,B'] }]);
  });

  test('has no key without a value, and is nothing without any', () => {
    expect(planned({ marks: new Map([[name, new Map([['A', 'a1']])]]) })).toEqual([{ version: 1, writes: ['plant 1 A'] }]);
    expect(planned({ marks: new Map() })).toEqual([]);
  });

  test('is the same version in each namespace', () => {
    const needed = [needs('dock'), needs('plant'), needs('yard')];
    expect(planned({ needed, live: at(live({ A: 'a0', B: 'b1' }, 1, 'plant'), live({ A: 'a0', B: 'b1' }, 1, 'yard')) })).toEqual([{ version: 2, writes: ['dock 2 A,B', 'plant 2 A,B', 'yard 2 A,B'] }]);
  });
});

describe('after a crash', () => {
  const needed = [needs('dock'), needs('plant')];
  const known = { version: 1, begun: 2 };

  test('before anything was written, all of it is, under the version that was begun', () => {
    expect(planned({ needed, known, live: at(live({ A: 'a0', B: 'b0' }, 1, 'dock'), live({ A: 'a0', B: 'b0' }, 1)) })).toEqual([{ version: 2, writes: ['dock 2 A,B', 'plant 2 A,B'] }]);
  });

  test('in between, the rest of it', () => {
    expect(planned({ needed, known, live: at(live({ A: 'a1', B: 'b1' }, 2, 'dock'), live({ A: 'a0', B: 'b0' }, 1)) })).toEqual([{ version: 2, writes: ['plant 2 A,B'] }]);
  });

  test('before manifests could show it, the version alone is left', () => {
    expect(planned({ needed, known, live: at(live({ A: 'a1', B: 'b1' }, 2, 'dock'), live({ A: 'a1', B: 'b1' }, 2)) })).toEqual([{ version: 2, writes: [] }]);
  });
});

test('what a database wrote that knew more is left alone', () => {
  const { groups, ahead } = planSecrets(view({ live: at(live({ A: 'a9', B: 'b9' }, 3)), known: { version: 2, begun: 2 } }));
  expect([groups, ahead]).toEqual([[], [`plant/${name}`]]);
});

describe('what is surplus', () => {
  const surplus = (fields: Partial<SecretsView>) => planSecrets(view(fields)).surplus.map((each) => [each.live.name, each.keys]);

  test('are Secrets and keys of ours that nothing needs', () => {
    expect(surplus({ live: at(live({ A: 'a1', B: 'b1', Z: 'z' }), live({ C: 'c' }, 1, 'plant', other)) })).toEqual([[other, null], [name, ['Z']]]);
  });

  test('is no Secret that our field manager never wrote, whatever its label and its name', () => {
    expect(surplus({ live: at({ ...live({}, 1, 'plant', other), managed: false }) })).toEqual([]);
  });

  test('is no Secret with a name that we don\'t give', () => {
    expect(surplus({ live: at(live({ C: 'c' }, 1, 'plant', 'dory-state-secret')) })).toEqual([]);
  });

  const memory = (): SurplusMemory => ({ since: new Map(), nextAt: millis(0) });
  const many = (n: number) => Array.from({ length: n }, (_, i) => ({ live: live({ A: 'a' }, 1, `n${String(i)}`), keys: null }));

  test('goes when it has been so for long enough, and the clock starts anew when it was needed in between', () => {
    const state = memory();
    const now = (ms: number) => ({ now: millis(ms), all: 100, needed: 1 });
    expect(ripe(state, many(1), now(0))).toEqual([]);
    expect(ripe(state, many(1), now(surplusGrace - 1))).toEqual([]);
    expect(ripe(state, many(1), now(surplusGrace))).toHaveLength(1);
    expect(ripe(state, [], now(surplusGrace + 1))).toEqual([]);
    expect(ripe(state, many(1), now(surplusGrace + 2))).toEqual([]);
  });

  test('goes ten at a time, or a tenth; and not at all while nothing is needed, or after others went', () => {
    const state = memory();
    ripe(state, many(60), { now: millis(0), all: 60, needed: 1 });
    expect(ripe(state, many(60), { now: surplusGrace, all: 60, needed: 1 })).toHaveLength(10);
    expect(ripe(state, many(60), { now: surplusGrace, all: 300, needed: 1 })).toHaveLength(30);
    expect(ripe(state, many(60), { now: surplusGrace, all: 300, needed: 0 })).toEqual([]);
    state.nextAt = millis(surplusGrace + 1);
    expect(ripe(state, many(60), { now: surplusGrace, all: 300, needed: 1 })).toEqual([]);
  });

  test('is used by whoever refers to it, or to one of its keys', () => {
    const [secret] = many(1);
    expect(isUsed(secret!, [{ name, key: 'A' }])).toBe(true);
    expect(isUsed({ ...secret!, keys: ['Z'] }, [{ name, key: 'A' }, { name: other, key: 'Z' }])).toBe(false);
    expect(isUsed({ ...secret!, keys: ['Z'] }, [{ name, key: null }])).toBe(true);
  });
});

test('surplus that something refers to is kept: a manifest, or an object of its namespace, all of which are read once', async () => {
  const [rendered, used, free, elsewhere] = ['a', 'b', 'c', 'd'].map((uid, i) => ({ live: live({ A: 'a' }, 1, i === 3 ? 'dock' : 'plant', `${name}${uid}`), keys: null }));
  const asked: string[] = [];
  const uses: Readonly<Record<string, readonly Use[]>> = { plant: [{ name: used!.live.name, key: 'A' }], dock: [{ name: used!.live.name, key: 'A' }] };
  const unused = await unusedOf([rendered!, used!, free!, elsewhere!], {
    rendered: (names) => Promise.resolve(names.flatMap((each) => (each === rendered!.live.name ? [{ namespace: 'plant', name: each, key: 'A' }] : [{ namespace: 'yard', name: each, key: 'A' }]))),
    inNamespace: (namespace) => {
      asked.push(namespace);
      return Promise.resolve(uses[namespace] ?? []);
    },
  });
  expect(unused).toEqual([free, elsewhere]);
  expect(asked).toEqual(['plant', 'dock']);
});

describe('what the database has', () => {
  /** Rows as they are, and the Secrets that were read. */
  function rows() {
    const now = new Map<string, Readonly<Record<string, string>>>([['a', { A: '1', B: '1' }], ['b', { A: '1' }], ['none', {}]]);
    const read: (readonly string[] | null)[] = [];
    const book = createMarkBook({
      mark: (bytes) => `mark of ${bytes.toString()}`,
      credentialRows: () => Promise.resolve(new Map([...now].map(([key, values]) => [key, JSON.stringify(values)]))),
      credentials: async function* (names) {
        read.push(names);
        for (const [key, values] of now) {
          if (names?.includes(key) === false || Object.keys(values).length === 0) continue;
          yield await Promise.resolve([key, new Map(Object.entries(values).map(([field, value]) => [field, new Concealed(value)]))] as const);
        }
      },
    });
    return { now, read, book };
  }

  test('is read once, and then only of rows that changed', async () => {
    const { now, read, book } = rows();
    expect([...(await book.refresh())]).toEqual([]);
    await book.refresh();
    now.set('b', { A: '2' });
    expect([...(await book.refresh())]).toEqual(['b']);
    expect(read).toEqual([null, ['b']]);
    expect(Object.fromEntries([...book.marks].map(([key, values]) => [key, Object.fromEntries(values)]))).toEqual({ a: { A: 'mark of 1', B: 'mark of 1' }, b: { A: 'mark of 2' } });
  });

  test('is replaced where a key has another value, not where one came or went', async () => {
    const { now, book } = rows();
    await book.refresh();
    now.set('a', { A: '1', C: '1' }).set('none', { A: '1' });
    expect([...(await book.refresh())]).toEqual([]);
    now.set('a', {}).delete('b');
    expect([...(await book.refresh())]).toEqual([]);
    expect([...book.marks.keys()]).toEqual(['none']);
  });
});

test('what is needed is in each namespace what its processors refer to, quarantined ones as they were rendered last', () => {
  const secret = (key: string, of: string) => ({ name: key, secret: { key, name: of } });
  const spec = (namespace: string, env: readonly object[]) => ({ namespace, workload: 'w', sensor: { env } });
  const fleet = {
    workloads: [{ digest: 'w', env: [secret('T', other), { name: 'PLAIN', value: 'x' }] }],
    processors: [spec('plant', [secret('B', name)]), spec('plant', [secret('A', name)])],
    quarantined: [{ lastGood: spec('dock', []) }, { lastGood: null }],
  } as unknown as Fleet;
  expect(neededSecrets(fleet)).toEqual([needs('dock', ['T'], other), needs('plant', ['T'], other), needs('plant', ['A', 'B'])]);
});

describe('a Secret of the cluster', () => {
  const mark = markerOf(systemRandom);
  const entry = (manager: string, ...keys: string[]) => ({ manager, operation: 'Apply', fieldsV1: { 'f:data': Object.fromEntries(keys.map((key) => [`f:${key}`, {}])) } });
  const object = (annotations: Record<string, string>, ...managedFields: object[]) => ({ metadata: { name, namespace: 'plant', uid: 'u', resourceVersion: '1', annotations, managedFields }, data: { A: 'YQ==', B: 'Yg==' } });

  test('is known by the keys that we own, and by marks of their values', () => {
    const read = readSecret(object({ 'dory.io/secret-version': '3' }, entry('dory-orchestrator', 'A'), entry('kubectl', 'B')), mark);
    expect(read.version).toBe(3);
    expect([...read.owned]).toEqual([['A', mark(Buffer.from('a'))]]);
    expect(read.managed).toBe(true);
    expect(readSecret(object({}, entry('kubectl', 'A'), { ...entry('dory-orchestrator', 'B'), operation: 'Update' }), mark).managed, 'by server-side apply alone').toBe(false);
    expect(JSON.stringify([...read.owned])).not.toMatch(/YQ==|"a"/);
    expect(markerOf(systemRandom)(Buffer.from('a')), 'of another process').not.toBe(mark(Buffer.from('a')));
  });

  test.each(['', '0', '1x', '-1', '99999999999'])('with the version %j has none', (version) => {
    expect(readSecret(object({ 'dory.io/secret-version': version }), mark).version).toBe(0);
  });

  test('that has what is needed under fields of others is incomplete', () => {
    const found = readSecret(object({}, entry('kubectl', 'A', 'B')), mark);
    expect(compareSecret({ marks: new Map([[name, new Map([['A', mark(Buffer.from('a'))]])]]), live: at(found) }, needs('plant', ['A'])).state).toBe('incomplete');
  });
});

test('a credential that is printed by mistake shows nothing', () => {
  const value = new Concealed('hunter2');
  expect([inspect(value, { showHidden: true, depth: 5 }), JSON.stringify({ value }), String(value), inspect(new Map([['k', value]]))].join()).not.toContain('hunter2');
  expect(value.reveal()).toBe('hunter2');
});

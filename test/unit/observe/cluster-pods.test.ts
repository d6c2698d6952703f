import { describe, expect, test } from 'vitest';
import type { LivePod } from '../../../src/model/rollout.ts';
import { millis } from '../../../src/model/time.ts';
import { utilization, type NodeEntry } from '../../../src/observe/cluster-nodes.ts';
import { createMembers, readPod, readStatefulSet } from '../../../src/observe/cluster-pods.ts';
import type { KubeObject } from '../../../src/platform/kube/object.ts';

const object = (metadata: object, rest: object = {}): KubeObject => ({ metadata: { name: 'cam-1-0', namespace: 'harbor', uid: 'u1', resourceVersion: '1', ...metadata }, ...rest });
const ready = (status: string) => ({ type: 'Ready', status });
const pod = (status: object, given: { readonly before?: LivePod; readonly at?: number; readonly metadata?: object; readonly spec?: object } = {}): LivePod =>
  readPod(object(given.metadata ?? {}, { spec: given.spec ?? {}, status }), given.before ?? null, millis(given.at ?? 1));
const container = (state: object, rest: object = {}) => ({ containerStatuses: [{ ready: false, restartCount: 0, state, ...rest }] });

describe('what keeps a pod from being ready', () => {
  const crashed = { terminated: { reason: 'Error', exitCode: 1, message: 'the last line of its log' } };
  const killed = { terminated: { reason: 'OOMKilled', exitCode: 137 } };
  test.each<[string, object, object | null]>([
    ['nothing is known yet', {}, null],
    ['its image is pulled', container({ waiting: { reason: 'ContainerCreating' } }), null],
    ['it waits for init containers', container({ waiting: { reason: 'PodInitializing' } }), null],
    ['it runs, and its probe has not answered', container({ running: {} }), null],
    ['the scheduler finds no node', { conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' }] }, { kind: 'unscheduled', reason: 'Unschedulable', words: '0/3 nodes are available' }],
    ['its image can not be pulled', container({ waiting: { reason: 'ErrImagePull', message: 'not found' } }), { kind: 'waiting', reason: 'ErrImagePull', words: 'not found' }],
    ['its Secret is missing', container({ waiting: { reason: 'CreateContainerConfigError', message: 'secret "dory-sensor-1" not found' } }), { kind: 'waiting', reason: 'CreateContainerConfigError', words: 'secret "dory-sensor-1" not found' }],
    ['it ends again and again', container({ waiting: { reason: 'CrashLoopBackOff', message: 'back-off 10s' } }, { lastState: crashed, restartCount: 2 }), { kind: 'looping', reason: 'Error', words: 'exit code 1; back-off 10s' }],
    ['it ended', container(crashed), { kind: 'ended', reason: 'Error', words: 'exit code 1' }],
    ['it was killed for its memory', container(killed), { kind: 'ended', reason: 'OOMKilled', words: 'exit code 137' }],
    ['it is killed for its memory again and again', container({ waiting: { reason: 'CrashLoopBackOff' } }, { lastState: killed }), { kind: 'looping', reason: 'OOMKilled', words: 'exit code 137' }],
    ['it runs again', container({ running: {} }, { lastState: crashed, restartCount: 1 }), { kind: 'restarted', reason: 'Error', words: 'exit code 1' }],
    ['an init container did its work', { initContainerStatuses: [{ ready: false, state: { terminated: { exitCode: 0, reason: 'Completed' } } }], ...container({ waiting: { reason: 'PodInitializing' } }) }, null],
    ['an init container fails', { initContainerStatuses: [{ state: crashed }], ...container({ waiting: { reason: 'PodInitializing' } }) }, { kind: 'ended', reason: 'Error', words: 'exit code 1' }],
    ['it was evicted', { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' }, { kind: 'over', reason: 'Evicted', words: 'The node was low on resource: memory.' }],
    // The node fell silent: the pod's condition says so, its containers are as they were.
    ['its node is cut off', { conditions: [ready('False')], containerStatuses: [{ ready: true, state: { running: {} }, lastState: killed, restartCount: 3 }] }, null],
    ['it is ready', { conditions: [ready('True')], ...container({ running: {} }, { ready: true, lastState: crashed, restartCount: 3 }) }, null],
  ])('%s', (_, status, expected) => {
    expect(pod(status).trouble).toEqual(expected);
  });

  test('words are cut', () => {
    expect(pod(container({ waiting: { reason: 'ErrImagePull', message: 'x'.repeat(5_000) } })).trouble?.words).toHaveLength(400);
  });
});

test('of a pod little is kept', () => {
  const labels = { 'processor-id': 'p1', 'dory.io/epoch': '3', 'controller-revision-hash': 'cam-1-e3-6b9f' };
  const requests = { cpu: '250m', memory: '1Gi' };
  const spec = { nodeName: 'edge-1', containers: [{ env: [{ name: 'PASSWORD', value: 'x' }], resources: { requests } }, { resources: { requests } }, {}] };
  expect(pod({ hostIP: '10.0.0.1', conditions: [ready('True')], containerStatuses: [{ restartCount: 2 }] }, { metadata: { labels, deletionTimestamp: '2026-01-01T00:00:00Z' }, spec })).toEqual({
    processorId: 'p1', epoch: 3, namespace: 'harbor', name: 'cam-1-0', uid: 'u1', terminating: true, since: 1, node: 'edge-1', nodeIp: '10.0.0.1', ready: true,
    template: '6b9f', restarts: 2, trouble: null, cpu: 500, memory: 2 * 2 ** 30,
  });
});

test('nothing starts any more what was told to end, or is on no node', () => {
  const of = (uid: string, epoch: number, more: object = {}, nodeName: string | null = 'edge-1'): LivePod =>
    pod({}, { metadata: { uid, labels: { 'processor-id': 'p1', 'dory.io/epoch': String(epoch) }, ...more }, spec: nodeName === null ? {} : { nodeName } });
  const sealed = (...pods: readonly LivePod[]): boolean => {
    const members = createMembers();
    for (const each of pods) members.onPod(null, each, millis(1));
    return members.sealed({ processorId: 'p1' as never, epoch: 2 as never });
  };
  const ending = { deletionTimestamp: '2026-01-01T00:00:00Z' };
  expect(sealed()).toBe(true);
  expect(sealed(of('u1', 2))).toBe(false);
  expect(sealed(of('u1', 1))).toBe(false);
  expect(sealed(of('u1', 3))).toBe(true);
  expect(sealed(of('u1', 2, ending), of('u2', 1, {}, null))).toBe(true);
  expect(sealed(of('u1', 2, ending), of('u2', 1))).toBe(false);
});

test('since when a pod is ready, or not, is counted from when it was seen so', () => {
  const first = pod({ conditions: [ready('False')] }, { at: 10 });
  expect(pod({ conditions: [ready('False')], hostIP: '10.0.0.1' }, { before: first, at: 20 }).since).toBe(10);
  expect(pod({ conditions: [ready('True')] }, { before: first, at: 20 }).since).toBe(20);
  expect(pod({ conditions: [ready('False')] }, { before: first, at: 20, metadata: { uid: 'u2' } }).since).toBe(20);
  expect(pod({ conditions: [ready('False')] }, { before: first, at: 20, metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }).since).toBe(20);
});

describe('a StatefulSet', () => {
  const set = (status: object, generation = 2) => readStatefulSet(object({ generation, annotations: { 'dory.io/epoch': '3', 'dory.io/revision': '17' } }, { spec: { replicas: 1 }, status }), null, millis(5));

  test('names the template of its pods once its controller has seen it as it is', () => {
    expect(set({ observedGeneration: 2, replicas: 1, updateRevision: 'cam-1-e3-6b9f' })).toMatchObject({ epoch: 3, revision: 17, template: '6b9f', short: false, wanted: 1, stopped: false, since: 5 });
    expect(set({ observedGeneration: 1, replicas: 1, updateRevision: 'cam-1-e3-6b9f' }).template).toBe(null);
  });

  test('is short of pods where its controller counts fewer than it wants', () => {
    expect(set({ observedGeneration: 2 }).short).toBe(true);
    expect(set({ observedGeneration: 1 }).short).toBe(false);
  });
});

test('since when a processor has no pod is known where the last one was seen to go, and forgotten with the processor', () => {
  const members = createMembers();
  const labels = { 'processor-id': 'p1' };
  const set = readStatefulSet(object({ uid: 's', labels }, { spec: { replicas: 1 } }), null, millis(1));
  const [first, second] = ['a', 'b'].map((uid) => pod({}, { metadata: { uid, labels } }));
  members.onStatefulSet(null, set);
  expect(members.of('p1').podlessSince).toBe(null);
  for (const each of [first!, second!]) members.onPod(null, each, millis(5));
  members.onPod(first!, null, millis(10));
  expect(members.of('p1').podlessSince).toBe(null);
  members.onPod(second!, null, millis(20));
  expect(members.of('p1').podlessSince).toBe(20);
  members.onPod(null, first!, millis(30));
  expect(members.of('p1').podlessSince).toBe(null);
  members.onPod(first!, null, millis(40));
  members.onStatefulSet(set, null);
  members.onStatefulSet(null, set);
  expect(members.of('p1').podlessSince).toBe(null);
});

test('pods that nobody wants, and pods of the system before this one', () => {
  const members = createMembers();
  const labels = { 'processor-id': 'p1' };
  const of = (uid: string, epoch: string | null) => pod({}, { metadata: { uid, name: uid, labels: { ...labels, ...(epoch === null ? {} : { 'dory.io/epoch': epoch }) } } });
  for (const each of [of('bare', null), of('old', '1'), of('stopped', '2'), of('wanted', '3')]) members.onPod(null, each, millis(5));
  const set = (name: string, epoch: string, replicas: number) => readStatefulSet(object({ name, uid: name, labels, annotations: { 'dory.io/epoch': epoch } }, { spec: { replicas } }), null, millis(1));
  members.onStatefulSet(null, set('s2', '2', 0));
  members.onStatefulSet(null, set('s3', '3', 1));
  expect(members.orphans().map(({ uid }) => uid)).toEqual(['old', 'stopped']);
  expect([...members.bare()]).toEqual(['p1']);
  expect(members.of('p1').pods).toHaveLength(4);
  expect(members.of('p2')).toEqual({ sets: [], pods: [], podlessSince: null });
});

test('how much of a node is requested: of what there is least left', () => {
  const node = (name: string, capacity: NodeEntry['capacity']) => ({ name, capacity }) as NodeEntry;
  const of = (name: string | null, cpu: number, memory: number) => ({ node: name, cpu, memory }) as LivePod;
  const shares = utilization([node('a', { cpu: 2, memory: 1000 }), node('b', { cpu: 2, memory: 1000 }), node('new', null)], [of('a', 500, 900), of('a', 500, 0), of(null, 1, 1), of('pool', 1, 1)]);
  expect([...shares]).toEqual([['a', 0.9], ['b', 0]]);
});

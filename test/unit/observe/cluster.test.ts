import { describe, expect, test } from 'vitest';
import type { Epoch, ProcessorId, RevisionId } from '../../../src/model/ids.ts';
import { millis } from '../../../src/model/time.ts';
import { readNode, type NodeEntry } from '../../../src/observe/cluster-nodes.ts';
import { createMembers, readPod, readStatefulSet } from '../../../src/observe/cluster-pods.ts';
import type { KubeObject } from '../../../src/platform/kube/object.ts';

const object = (metadata: object, rest: object = {}): KubeObject => ({ metadata: { name: 'edge-1', uid: 'u1', resourceVersion: '1', ...metadata }, ...rest });
const read = (given: { readonly ready?: string; readonly changed?: string; readonly uid?: string; readonly at: number; readonly spec?: object; readonly status?: object; readonly labels?: object }, before: NodeEntry | null = null): NodeEntry => {
  const { ready = 'True', changed = '2026-01-01T00:00:00Z', uid = 'u1', at, spec = {}, status = {}, labels = {} } = given;
  const conditions = [{ type: 'MemoryPressure', status: 'False' }, { type: 'Ready', status: ready, lastTransitionTime: changed }];
  return readNode(object({ uid, labels }, { spec, status: { conditions, ...status } }), before, { now: millis(at), siteLabel: 'site' });
};

describe('since when a node is as it is', () => {
  const first = read({ at: 10 });

  test('from when it was first seen so, not from when it says', () => {
    expect(first).toMatchObject({ ready: 'true', since: 10 });
    expect(read({ at: 20 }, first).since).toBe(10);
  });

  test('anew with another value, or another node of the same name', () => {
    expect(read({ at: 20, ready: 'Unknown' }, first)).toMatchObject({ ready: 'unknown', since: 20 });
    expect(read({ at: 20, uid: 'u2' }, first).since).toBe(20);
  });

  test('anew where it changed there and back while nobody looked', () => {
    expect(read({ at: 20, changed: '2026-01-01T00:05:00Z' }, first).since).toBe(20);
  });
});

test('a node before its kubelet has spoken is unknown, and what it can give is not known', () => {
  expect(readNode(object({}), null, { now: millis(1), siteLabel: null })).toEqual({
    name: 'edge-1', uid: 'u1', ready: 'unknown', transition: '', since: 1, taints: [], architecture: null, gpu: null, capacity: null, site: null,
  });
});

test('taints that keep pods away, without those of the condition itself', () => {
  const taints = [
    { key: 'zone', value: 'x', effect: 'NoExecute' }, { key: 'cordoned', effect: 'NoSchedule' }, { key: 'wish', effect: 'PreferNoSchedule' },
    { key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }, { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }, { key: 'cordoned', effect: 'NoExecute' },
  ];
  expect(read({ at: 1, spec: { taints } }).taints).toEqual(['cordoned', 'zone=x']);
});

test.each([[{ 'nvidia.com/gpu': '2' }, true], [{ 'nvidia.com/gpu': '0' }, false], [{ cpu: '1' }, false]])('of %j the GPU is %s', (allocatable, gpu) => {
  expect(read({ at: 1, status: { allocatable, nodeInfo: { architecture: 'arm64' } }, labels: { site: 'north' } })).toMatchObject({ gpu, architecture: 'arm64', site: 'north' });
});

describe('whether the pods of a placement are gone', () => {
  const id = '00000000-0000-4000-8000-000000000001' as ProcessorId;
  const epoch = 3 as Epoch;
  const revision = 17 as RevisionId;
  const labels = { 'processor-id': id };
  const pod = (uid: string, of: number | null) => readPod(object({ uid, labels: { ...labels, ...(of === null ? {} : { 'dory.io/epoch': String(of) }) } }), null, millis(1));
  /** `replicas`: null leaves it out. */
  const set = (given: { readonly replicas?: number | null; readonly generation?: number; readonly seen?: number; readonly count?: number; readonly epoch?: number; readonly shows?: number }) => {
    const { generation = 2, seen = 2, replicas = 0, count } = given;
    return readStatefulSet(object(
      { uid: 's', generation, labels, annotations: { 'dory.io/epoch': String(given.epoch ?? 3), 'dory.io/revision': String(given.shows ?? revision) } },
      { spec: replicas === null ? {} : { replicas }, status: { observedGeneration: seen, ...(count === undefined ? {} : { replicas: count }) } },
    ), null, millis(1));
  };
  const seen = (sets: readonly ReturnType<typeof set>[], pods: readonly ReturnType<typeof pod>[]): 'present' | 'gone' => {
    const members = createMembers();
    for (const each of sets) members.onStatefulSet(null, each);
    for (const each of pods) members.onPod(null, each, millis(5));
    return members.pods({ processorId: id, epoch, revision });
  };

  test('gone: scaled to 0, seen so by its controller, no pod counted and none there', () => {
    expect(seen([set({})], [])).toBe('gone');
    expect(seen([set({ count: 0 })], [])).toBe('gone');
  });

  test.each([
    ['nothing vouches for it', [], []],
    ['it is not scaled to 0', [set({ replicas: 1 })], []],
    ['its scale is the default, which is 1', [set({ replicas: null })], []],
    ['its controller has not seen the scale yet', [set({ seen: 1 })], []],
    ['its controller counts a pod', [set({ count: 1 })], []],
    ['it is of another epoch', [set({ epoch: 4 })], []],
    ['it shows an earlier stop, which was taken back since', [set({ shows: 16 })], []],
    ['a pod of it is left', [set({})], [pod('p', 3)]],
    ['a pod of a lower epoch is left', [set({})], [pod('p', 2)]],
    ['a pod without an epoch is left', [set({})], [pod('p', null)]],
  ])('present: %s', (_, sets, pods) => {
    expect(seen(sets, pods)).toBe('present');
  });

  test('a pod of a higher epoch says nothing of this one', () => {
    expect(seen([set({})], [pod('p', 4)])).toBe('gone');
  });

  test('follows what is changed and deleted', () => {
    const members = createMembers();
    const [running, stopped, last] = [set({ replicas: 1, count: 1 }), set({}), pod('p', 3)];
    members.onStatefulSet(null, running);
    members.onPod(null, last, millis(5));
    members.onStatefulSet(running, stopped);
    expect(members.pods({ processorId: id, epoch, revision })).toBe('present');
    members.onPod(last, null, millis(5));
    expect(members.pods({ processorId: id, epoch, revision })).toBe('gone');
    members.onStatefulSet(stopped, null);
    expect(members.pods({ processorId: id, epoch, revision })).toBe('present');
  });
});

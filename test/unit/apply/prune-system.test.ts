import { expect, test } from 'vitest';
import type { Action } from '../../../src/apply/actions.ts';
import { keyOf, refOfKey, type DesiredEntry, type DesiredTree, type LiveObject, type ObjectRef } from '../../../src/apply/objects.ts';
import { pruneSystemActions, type LeftOfSystem } from '../../../src/apply/prune.ts';
import type { Digest, RevisionId } from '../../../src/model/ids.ts';

const ref = (name: string, kind = 'Role'): ObjectRef => ({ apiVersion: 'rbac.authorization.k8s.io/v1', kind, namespace: 'harbor', name });
const entry = (name: string, file: string): DesiredEntry => ({ ref: ref(name), path: `clusters/test/${file}`, blob: 'b', place: 0, digest: 'd' as Digest, processorId: null, epoch: null, revision: null });
const tree = (...files: readonly string[]): DesiredTree => ({ commit: 'c', revision: 1 as RevisionId, objects: new Map(files.map((file) => [file, entry(file, file)])) });
const left = (name: string, more: Partial<LiveObject> = {}, { file = 'processor-access-harbor', inUse = false } = {}): LeftOfSystem => {
  const live = { ref: ref(name), uid: 'u', resourceVersion: '1', processorId: null, epoch: null, revision: null, owned: 'd' as Digest, managers: [], trackedBy: null, terminating: false, ...more };
  return { dropped: { key: keyOf(live.ref), path: `clusters/test/system/${file}.yaml` }, live, inUse };
};
const rules = { budget: 9, spent: new Set<string>(), adopt: false, allowEmpty: false };
const told = (actions: readonly Action[]): readonly string[] => actions.map((action) => (action.kind === 'skip' ? action.reason : action.kind));
const whole = tree('system/orchestrator.yaml');

test.each([
  ['what is ours', 'prune', whole, left('a'), {}],
  ['what processors needed, without the system', 'prune', tree('system/processor-access-wind.yaml'), left('a'), {}],
  ['anything else, without the system', 'kept', tree('system/processor-access-wind.yaml'), left('a', {}, { file: 'monitoring' }), {}],
  ['anything else, with it', 'prune', whole, left('a', {}, { file: 'monitoring' }), {}],
  ['without anything of the system', 'delete-budget', tree('processors/a.yaml'), left('a'), {}],
  ['without anything of the system, allowed', 'prune', tree('processors/a.yaml'), left('a'), { allowEmpty: true }],
  ['what pods may need', 'in-use', whole, left('a', {}, { inUse: true }), {}],
  ['what is on its way out', 'terminating', whole, left('a', { terminating: true }), {}],
  ['what Argo CD tracks', 'tracked-by-argocd', whole, left('a', { trackedBy: 'fleet' }), {}],
  ['what Argo CD tracks, adopted', 'prune', whole, left('a', { trackedBy: 'fleet' }), { adopt: true }],
  ...['CustomResourceDefinition', 'Namespace', 'PersistentVolume', 'PersistentVolumeClaim', 'NodePool', 'EC2NodeClass'].map((kind) => [kind, 'kept', whole, left('a', { ref: ref('a', kind) }), { allowEmpty: true, adopt: true }] as const),
] as const)('%s: %s', (_, expected, of, each, more) => {
  expect(told(pruneSystemActions(of, [each], { ...rules, ...more }))).toEqual([expected]);
});

test('the budget counts what is begun now, and nothing that was begun before or is held', () => {
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => left(name, name === 'b' ? { terminating: true } : {}));
  expect(told(pruneSystemActions(whole, all, { ...rules, budget: 2, spent: new Set([keyOf(ref('e'))]) }))).toEqual(['prune', 'terminating', 'prune', 'delete-budget', 'prune']);
});

test.each([ref('a'), { ...ref('a'), namespace: null }, { apiVersion: 'v1', kind: 'ConfigMap', namespace: 'a', name: 'b.c' }])('a key names its object: %j', (each) => {
  expect(refOfKey(keyOf(each))).toEqual(each);
});

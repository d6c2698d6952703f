import { describe, expect, test } from 'vitest';
import { driftOf } from '../../../src/apply/drift.ts';
import { giveBack, handOver } from '../../../src/apply/hand-over.ts';
import type { KubeObject } from '../../../src/platform/kube/object.ts';

const entry = (manager: string, operation: string, fieldsV1: object, time = '2026-01-01T00:00:00Z', subresource = ''): object => ({ manager, operation, apiVersion: 'v1', time, fieldsType: 'FieldsV1', fieldsV1, ...(subresource === '' ? {} : { subresource }) });
const port = 'k:{"containerPort":8080,"protocol":"TCP"}';
const manifest = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' }, spec: { containers: [{ name: 'processor', ports: [{ containerPort: 8080, name: 'http', hostPort: 1 }] }] } };
const object = (spec: unknown, managedFields: unknown, metadata: object = {}): KubeObject => ({ metadata: { name: 'a', uid: 'u', resourceVersion: '7', managedFields, ...metadata }, spec });
const ours = (fields: object): object => ({ 'f:spec': { 'f:containers': { 'k:{"name":"processor"}': { '.': {}, 'f:name': {}, 'f:ports': { '.': {}, [port]: { '.': {}, 'f:containerPort': {}, 'f:name': {}, ...fields } } } } } });

describe('drift', () => {
  test('names who has the field now, also in a list whose items have keys beside their names', () => {
    const changed = { containers: [{ name: 'processor', ports: [{ containerPort: 8080, name: 'http', hostPort: 2, protocol: 'TCP' }] }] };
    const theirs = { 'f:spec': { 'f:containers': { 'k:{"name":"processor"}': { 'f:ports': { [port]: { 'f:hostPort': {} } } } } } };
    const other = { 'f:spec': { 'f:containers': { 'k:{"name":"processor"}': { 'f:ports': { 'k:{"containerPort":9090,"protocol":"TCP"}': { 'f:hostPort': {} } } } } } };
    const found = driftOf(manifest, object(changed, [entry('dory-orchestrator', 'Apply', ours({})), entry('kubectl-edit', 'Update', theirs), entry('helm', 'Update', other)]));
    expect(found).toEqual({ fields: ['spec.containers[processor].ports[http].hostPort'], who: [{ manager: 'kubectl-edit', operation: 'Update', when: '2026-01-01T00:00:00Z' }] });
  });

  test('of a field that was removed names nobody', () => {
    const removed = { containers: [{ name: 'processor', ports: [{ containerPort: 8080, name: 'http', protocol: 'TCP' }] }] };
    expect(driftOf(manifest, object(removed, [entry('dory-orchestrator', 'Apply', ours({}))]))).toEqual({ fields: ['spec.containers[processor].ports[http].hostPort'], who: [] });
  });

  test('tells at most so many fields, and no value', () => {
    const data = Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`key-${String(n)}`, 'secret']));
    const found = driftOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data }, object(undefined, []));
    expect(found.fields.length).toBeLessThanOrEqual(20);
    expect(JSON.stringify(found)).not.toContain('secret');
  });
});

describe('a hand-over of fields', () => {
  const fields = (names: readonly string[]): object => ({ 'f:metadata': { 'f:annotations': { '.': {}, 'f:kubectl.kubernetes.io/last-applied-configuration': {} } }, 'f:spec': Object.fromEntries(names.map((name) => [`f:${name}`, {}])) });
  const isKubectl = (manager: string): boolean => manager.startsWith('kubectl');
  const to = { manager: 'dory-orchestrator', apiVersion: 'v1' };

  test('joins what each of them had, keeps what others have, and drops what only kubectl reads', () => {
    const status = entry('kubelet', 'Update', { 'f:status': {} }, '2026-01-02T00:00:00Z', 'status');
    const found = handOver(object({}, [entry('kubectl-client-side-apply', 'Update', fields(['a'])), entry('kubectl', 'Apply', fields(['b']), '2026-01-03T00:00:00Z'), status], { annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}' } }), isKubectl, to);
    expect(found).toEqual([
      { op: 'replace', path: '/metadata/managedFields', value: [entry('dory-orchestrator', 'Apply', { 'f:metadata': { 'f:annotations': { '.': {} } }, 'f:spec': { 'f:a': {}, 'f:b': {} } }, '2026-01-03T00:00:00Z'), status] },
      { op: 'replace', path: '/metadata/resourceVersion', value: '7' },
      { op: 'remove', path: '/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration' },
    ]);
  });

  test('is none where they have nothing, or only of a subresource, or where an entry can\'t be read', () => {
    expect(handOver(object({}, [entry('helm', 'Update', fields(['a']))]), isKubectl, to)).toBeNull();
    expect(handOver(object({}, [entry('kubectl', 'Update', { 'f:status': {} }, '2026-01-01T00:00:00Z', 'status')]), isKubectl, to)).toBeNull();
    expect(handOver(object({}, [entry('kubectl', 'Update', fields(['a'])), { manager: 'x', operation: 'Other' }]), isKubectl, to)).toBeNull();
    expect(handOver(object({}, undefined), isKubectl, to)).toBeNull();
  });

  test('the way back moves what is ours, and nothing else', () => {
    const found = giveBack(object({}, [entry('dory-orchestrator', 'Apply', fields(['a'])), entry('helm', 'Update', fields(['b']))]), { manager: 'argocd-controller', apiVersion: 'v1' });
    expect(found?.[0]).toMatchObject({ value: [{ manager: 'argocd-controller', operation: 'Apply' }, { manager: 'helm' }] });
    expect(giveBack(object({}, [entry('helm', 'Update', fields(['b']))]), { manager: 'argocd-controller', apiVersion: 'v1' })).toBeNull();
  });
});

import { expect, test } from 'vitest';
import { isKubeObject, objectSchema } from '../../../src/platform/kube/object.ts';

const metadata = { name: 'a', uid: 'u', resourceVersion: '1' };
const whole = { kind: 'Pod', metadata: { ...metadata, namespace: 'n', generation: 2, labels: { a: 'b' }, annotations: {}, managedFields: [] }, spec: {} };

test('what the server tells of an object is kept as it is', () => {
  for (const object of [{ metadata }, whole]) expect(objectSchema.parse(object)).toBe(object);
});

test.each([
  ['nothing', null], ['a text', 'metadata'], ['a list', [whole]], ['no metadata', { kind: 'Status' }], ['a list of metadata', { metadata: [] }],
  ['no name', { metadata: { ...metadata, name: undefined } }], ['no uid', { metadata: { ...metadata, uid: null } }], ['a version that is no text', { metadata: { ...metadata, resourceVersion: 1 } }],
  ['a namespace that is no text', { metadata: { ...metadata, namespace: null } }], ['a generation that is no number', { metadata: { ...metadata, generation: '1' } }],
  ['a label that is no text', { metadata: { ...metadata, labels: { a: 'b', c: 1 } } }], ['a list of labels', { metadata: { ...metadata, labels: ['a'] } }], ['no annotations', { metadata: { ...metadata, annotations: null } }],
])('%s is no object', (_, value) => {
  expect(isKubeObject(value)).toBe(false);
  expect(objectSchema.safeParse(value).success).toBe(false);
});

import { describe, expect, test } from 'vitest';
import { refusalOf } from '../../../src/apply/refusal.ts';
import type { Json } from '../../support/control-plane.ts';

const statefulSet = { apiVersion: 'apps/v1', kind: 'StatefulSet', namespace: 'harbor', name: 'a' };
const status = (code: number, reason: string, message: string, causes: readonly Json[] = [], details: Json = {}): { status: number; retryAfter: null; body: Json } =>
  ({ status: code, retryAfter: null, body: { kind: 'Status', status: 'Failure', message, reason, details: { ...details, causes }, code } });

describe('a refusal is told', () => {
  // As Kubernetes 1.36 answers, and what others put before it.
  test.each([
    ['conflict', 'later', status(409, 'Conflict', 'Apply failed', [{ reason: 'FieldManagerConflict', message: 'conflict with "kubectl"', field: '.spec.replicas' }])],
    ['immutable', 'never', status(422, 'Invalid', 'is invalid', [{ reason: 'FieldValueForbidden', message: 'Forbidden: updates to statefulset spec for fields other than \'replicas\' are forbidden', field: 'spec' }])],
    ['immutable', 'never', status(422, 'Invalid', 'is invalid', [{ reason: 'FieldValueInvalid', message: 'Invalid value: ["10.0.0.78"]: may not change once set', field: 'spec.clusterIPs[0]' }])],
    ['immutable', 'never', status(422, 'Invalid', 'is invalid', [{ reason: 'FieldValueInvalid', message: 'Invalid value: {}: cannot change roleRef', field: 'roleRef' }])],
    // Something else is wrong as well: to make it anew would not help.
    ['invalid', 'never', status(422, 'Invalid', 'is invalid', [{ reason: 'FieldValueForbidden', message: 'Forbidden: updates to statefulset spec for fields other than \'replicas\' are forbidden', field: 'spec' }, { reason: 'FieldValueInvalid', message: 'Invalid value: -1: must be greater than or equal to 0', field: 'spec.replicas' }])],
    ['immutable', 'never', status(422, 'Invalid', 'ConfigMap "a" is invalid: data: Forbidden: field is immutable when `immutable` is set')],
    ['invalid', 'never', status(422, 'Invalid', 'is invalid', [{ reason: 'FieldValueNotSupported', message: 'Unsupported value: "Foo"', field: 'spec.x' }])],
    ['invalid', 'never', status(500, '', 'failed to create typed patch object (harbor/a; apps/v1, Kind=StatefulSet): .spec.foo: field not declared in schema')],
    ['invalid', 'never', status(400, 'BadRequest', 'error decoding YAML')],
    ['webhook', 'later', status(500, 'InternalError', 'Internal error occurred: failed calling webhook "w.example": refused', [{ message: 'failed calling webhook "w.example": refused' }])],
    ['webhook', 'later', status(403, 'Forbidden', 'admission webhook "w.example" denied the request: no')],
    ['webhook', 'later', status(422, 'Invalid', 'is forbidden: ValidatingAdmissionPolicy \'v\' with binding \'v\' denied request: no', [{ message: 'ValidatingAdmissionPolicy \'v\' with binding \'v\' denied request: no' }])],
    ['namespace-terminating', 'later', status(403, 'Forbidden', 'unable to create new content', [{ reason: 'NamespaceTerminating', message: 'is being terminated', field: 'metadata.namespace' }])],
    ['namespace-missing', 'later', status(404, 'NotFound', 'namespaces "harbor" not found', [], { kind: 'namespaces', name: 'harbor' })],
    ['kind-unknown', 'later', status(404, 'NotFound', 'the server could not find the requested resource')],
    ['quota', 'later', status(403, 'Forbidden', 'is forbidden: exceeded quota: q, requested: pods=1')],
    ['forbidden', 'later', status(403, 'Forbidden', 'User "x" cannot patch resource')],
    ['forbidden', 'later', status(401, 'Unauthorized', 'Unauthorized')],
    ['throttled', 'soon', status(429, 'TooManyRequests', 'too many')],
    ['throttled', 'soon', { status: 429, retryAfter: null, body: 'slow down' }],
    ['server', 'soon', status(409, 'Conflict', 'the object has been modified')],
    ['server', 'soon', status(500, 'InternalError', 'etcdserver: leader changed')],
    ['server', 'soon', { status: 502, retryAfter: null, body: '<html>' }],
    ['server', 'later', { status: 418, retryAfter: null, body: null }],
  ] as const)('%s, %s', (reason, retry, answer) => {
    const told = refusalOf(answer, 'apply', statefulSet);
    expect(told).toMatchObject({ reason, retry });
    // What may be over in a moment is tried again within the pass, and nothing else is.
    expect(told.passing).toBe(retry === 'soon');
  });

  test('by what was asked for: a delete of what is not the same object any more', () => {
    expect(refusalOf(status(409, 'Conflict', 'the UID in the precondition does not match'), 'delete', statefulSet)).toMatchObject({ reason: 'precondition', retry: 'soon', passing: false });
    expect(refusalOf(status(404, 'NotFound', 'statefulsets.apps "a" not found', [], { kind: 'statefulsets', name: 'a' }), 'delete', statefulSet).reason).toBe('precondition');
  });

  test('with the managers and the fields of a conflict', () => {
    const causes = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => ({ reason: 'FieldManagerConflict', message: `conflict with "${name}" using apps/v1`, field: `.spec.${name}` }));
    const { detail } = refusalOf(status(409, 'Conflict', 'Apply failed with 7 conflicts', causes), 'apply', statefulSet);
    expect(detail).toMatch(/^"a" using apps\/v1 owns \.spec\.a; .*\.spec\.e; and 2 more$/);
  });

  test('without the values that it is about, however long', () => {
    const value = JSON.stringify({ Spec: { Containers: [{ Env: 'x'.repeat(5_000) }] } });
    const message = `Invalid value: ${value}: field is immutable`;
    expect(refusalOf(status(422, 'Invalid', `Job.batch "j" is invalid: spec.template: ${message}`, [{ reason: 'FieldValueInvalid', message, field: 'spec.template' }]), 'apply', statefulSet)).toMatchObject({ reason: 'immutable', detail: 'spec.template: field is immutable' });
    expect(refusalOf({ status: 500, retryAfter: null, body: 'y'.repeat(5_000) }, 'apply', statefulSet).detail).toHaveLength(300);
  });

  test('as it stands, where it is no answer of an API server', () => {
    expect(refusalOf({ status: 500, retryAfter: null, body: { error: 'upstream' } }, 'apply', statefulSet).detail).toBe('{"error":"upstream"}');
  });

  test('of a Secret with none of the server\'s words', () => {
    const secret = { ...statefulSet, apiVersion: 'v1', kind: 'Secret' };
    const message = 'failed to create typed patch object: .stringData.a: expected string, got map[hunter2:1]';
    expect(JSON.stringify(refusalOf(status(500, '', message, [{ reason: 'FieldValueInvalid', message, field: 'data[a]' }]), 'apply', secret))).not.toContain('hunter2');
    expect(JSON.stringify(refusalOf({ status: 500, retryAfter: null, body: 'hunter2' }, 'apply', secret))).not.toContain('hunter2');
  });

  test('with how long to wait: by the header, else by the answer', () => {
    const answer = status(429, 'TooManyRequests', 'too many', [], { retryAfterSeconds: 3 });
    expect(refusalOf(answer, 'apply', statefulSet).retryAfter).toBe(3_000);
    expect(refusalOf({ ...answer, retryAfter: 1_000 as never }, 'apply', statefulSet).retryAfter).toBe(1_000);
  });
});

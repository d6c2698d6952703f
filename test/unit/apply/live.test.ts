import { expect, test } from 'vitest';
import { managersOf, ourValues } from '../../../src/apply/live.ts';

const ours = { manager: 'dory-orchestrator', operation: 'Apply', fieldsType: 'FieldsV1', time: '2026-01-01T00:00:00Z', fieldsV1: { 'f:spec': { 'f:replicas': {} } } };
const object = (...managedFields: unknown[]) => ({ metadata: { name: 'a', uid: 'u', resourceVersion: '1', managedFields }, spec: { replicas: 1, paused: true } });

test('what is not as documented says nothing of who owns what', () => {
  const broken = [null, 'x', { ...ours, operation: 'Patch' }, { ...ours, fieldsV1: null }, { ...ours, fieldsV1: { 'f:spec': 1 } }, { ...ours, fieldsV1: { 'f:spec': [] } }];
  expect(managersOf(object(...broken))).toEqual([]);
  expect(ourValues(object(...broken))).toBeNull();
  expect(managersOf({ metadata: { ...object().metadata, managedFields: {} } })).toEqual([]);
  expect(ourValues(object(...broken, ours))).toEqual({ spec: { replicas: 1 } });
});

test('a manager without a name, a time or a subresource is one', () => {
  const { fieldsV1: fields } = ours;
  expect(managersOf(object({ operation: 'Update', fieldsV1: fields, manager: 1, subresource: null, time: 2 }, { ...ours, subresource: 'status' }))).toEqual([
    { manager: '', operation: 'Update', subresource: '', time: null, fields },
    { manager: 'dory-orchestrator', operation: 'Apply', subresource: 'status', time: ours.time, fields },
  ]);
});

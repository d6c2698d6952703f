import { expect, test } from 'vitest';
import type { LiveObject } from '../../../src/apply/objects.ts';
import { isOwnPlacement } from '../../../src/apply/recreate.ts';
import type { Digest, Epoch, ProcessorId } from '../../../src/model/ids.ts';
import { configMap, desired, statefulSet } from '../../support/executor.ts';

const placement = desired(statefulSet('a'), { id: 'p1', epoch: 3 });
const live: LiveObject = { ref: placement.ref, uid: 'u', resourceVersion: '1', processorId: 'p1' as ProcessorId, epoch: 3 as Epoch, revision: null, owned: 'd' as Digest, managers: [], trackedBy: null, terminating: false };

test.each([
  ['a placement of ours', true, placement, live],
  ['another kind', false, desired(configMap('a'), { id: 'p1', epoch: 3 }), live],
  ['what is no processor\'s', false, desired(statefulSet('a')), { ...live, processorId: null, epoch: null }],
  ['another processor\'s', false, placement, { ...live, processorId: 'p2' as ProcessorId }],
  ['another epoch\'s', false, placement, { ...live, epoch: 4 as Epoch }],
  ['one whose epoch somebody took away', false, placement, { ...live, epoch: null }],
  ['what others applied', false, placement, { ...live, owned: null }],
  ['what Argo CD tracks', false, placement, { ...live, trackedBy: 'fleet' }],
])('%s may be made anew: %s', (_, may, object, found) => {
  expect(isOwnPlacement(object, found)).toBe(may);
});

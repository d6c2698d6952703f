import { describe, expect, test } from 'vitest';
import type { FailReason, Outcome, Retry } from '../../../src/apply/actions.ts';
import { createQuarantine } from '../../../src/apply/quarantine.ts';
import { stagesOf, type SentAction } from '../../../src/apply/stages.ts';
import type { LiveObject, ObjectRef } from '../../../src/apply/objects.ts';
import type { Digest } from '../../../src/model/ids.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import { manualClock } from '../../support/clock.ts';

const ref = (kind: string, name = 'a'): ObjectRef => ({ apiVersion: 'v1', kind, namespace: null, name });
const live = (of: ObjectRef, uid = 'u1'): LiveObject =>
  ({ ref: of, uid, resourceVersion: '1', processorId: null, epoch: null, revision: null, owned: null, managers: [], trackedBy: null, terminating: false });
const apply = (of: ObjectRef, digest = 'd1', on: LiveObject | null = null): SentAction =>
  ({ kind: 'apply', desired: { ref: of, path: 'p', yaml: '', digest: digest as Digest, processorId: null, epoch: null }, live: on, force: false, why: 'missing' });
const prune = (of: ObjectRef, uid = 'u1'): SentAction => ({ kind: 'prune', live: live(of, uid) });
const failed = (retry: Retry, reason: FailReason = 'server'): Outcome => ({ kind: 'failed', ref: ref('ConfigMap'), reason, detail: 'words', retry });

describe('what failed is left alone', () => {
  const setUp = () => {
    const clock = manualClock();
    return { clock, quarantine: createQuarantine({ clock, random: { fraction: () => 0.5, hex: () => '', uuid: () => '' } }) };
  };
  const map = apply(ref('ConfigMap'));

  test('longer each time, up to a bound, and not at all after a success', () => {
    const { clock, quarantine } = setUp();
    const waits: number[] = [];
    for (let n = 0; n < 12; n += 1) {
      quarantine.note(map, failed('later'), null);
      const next = quarantine.nextAt() ?? 0;
      waits.push(next - clock.monotonic());
      expect(quarantine.objection(map)).toBe('server: words');
      clock.advance(millis(next - clock.monotonic()));
      expect(quarantine.objection(map)).toBeNull();
      // Nobody is woken for what is past.
      expect(quarantine.nextAt()).toBeNull();
    }
    expect(waits.slice(0, 3)).toEqual([3_750, 7_500, 15_000]);
    expect(waits.at(-1)).toBe(225_000);
    quarantine.note(map, { kind: 'created', ref: ref('ConfigMap'), live: null }, null);
    quarantine.note(map, failed('later'), null);
    expect((quarantine.nextAt() ?? 0) - clock.monotonic()).toBe(3_750);
  });

  test('as long as the server asked', () => {
    const { quarantine } = setUp();
    quarantine.note(map, failed('soon', 'throttled'), seconds(60));
    expect(quarantine.nextAt()).toBe(60_000);
  });

  test('until other bytes come, or another object is there, where trying again is of no use', () => {
    const { clock, quarantine } = setUp();
    quarantine.note(map, failed('never', 'invalid'), null);
    clock.advance(seconds(36_000));
    expect(quarantine.objection(map)).not.toBeNull();
    expect(quarantine.objection(prune(ref('ConfigMap')))).toBeNull();
    expect(quarantine.objection(apply(ref('ConfigMap', 'b')))).toBeNull();
    expect(quarantine.objection(apply(ref('ConfigMap'), 'd2'))).toBeNull();
    quarantine.note(map, failed('never', 'immutable'), null);
    expect(quarantine.objection(apply(ref('ConfigMap'), 'd1', live(ref('ConfigMap'))))).toBeNull();
    quarantine.note(apply(ref('ConfigMap'), 'd1', live(ref('ConfigMap'))), failed('never', 'immutable'), null);
    expect(quarantine.objection(apply(ref('ConfigMap'), 'd1', { ...live(ref('ConfigMap')), owned: 'taken over' as Digest }))).toBeNull();
    quarantine.note(prune(ref('ConfigMap')), failed('later'), null);
    expect(quarantine.objection(prune(ref('ConfigMap'), 'u2'))).toBeNull();
  });

  test('what may have happened is looked at again soon', () => {
    const { quarantine } = setUp();
    quarantine.note(map, { kind: 'unknown', ref: ref('ConfigMap'), detail: 'cut' }, null);
    expect(quarantine.nextAt()).toBe(750);
  });
});

test('definitions and namespaces come first, webhooks last, and deletes after all, the other way round', () => {
  const kinds = ['ValidatingWebhookConfiguration', 'StatefulSet', 'Namespace', 'CustomResourceDefinition', 'ConfigMap'];
  const stages = stagesOf([...kinds.map((kind) => prune(ref(kind))), ...kinds.map((kind) => apply(ref(kind)))]);
  expect(stages.map(({ actions }) => actions.map((action) => `${action.kind} ${action.kind === 'apply' ? action.desired.ref.kind : action.live.ref.kind}`))).toEqual([
    ['apply Namespace', 'apply CustomResourceDefinition'],
    ['apply StatefulSet', 'apply ConfigMap'],
    ['apply ValidatingWebhookConfiguration'],
    ['prune ValidatingWebhookConfiguration'],
    ['prune StatefulSet', 'prune ConfigMap'],
    ['prune Namespace', 'prune CustomResourceDefinition'],
  ]);
});

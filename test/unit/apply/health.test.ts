import { describe, expect, test } from 'vitest';
import { judge } from '../../../src/apply/health.ts';
import type { Epoch, RevisionId } from '../../../src/model/ids.ts';
import type { LivePod, LiveProcessor, LiveSet, Placed, PodTrouble, RecordedRollout, RolloutPolicy } from '../../../src/model/rollout.ts';
import { millis } from '../../../src/model/time.ts';

const minute = 60_000;
const policy: RolloutPolicy = { progressDeadline: millis(10 * minute), startGrace: millis(2 * minute), steadyAfterCrash: millis(30_000) };
const member = { processorId: 'p1', epoch: 3, namespace: 'harbor', terminating: false, since: millis(0) };
const set = (given: Partial<LiveSet> = {}): LiveSet => ({ ...member, name: 'cam-e3', uid: 's', revision: 17, wanted: 1, stopped: false, short: false, template: 'new', ...given });
const pod = (given: Partial<LivePod> = {}): LivePod => ({
  ...member, name: 'cam-e3-0', uid: 'p', node: 'edge-1', nodeIp: '10.0.0.1', ready: false, template: 'new', restarts: 0, trouble: null, cpu: 0, memory: 0, ...given,
});
const placed = (given: Partial<Placed> = {}): Placed => ({ epoch: 3 as Epoch, phase: 'active', revision: 17 as RevisionId, committedMs: millis(1_000), ...given });
const live = (sets: readonly LiveSet[], pods: readonly LivePod[], refusal: string | null = null, podlessSince: number | null = null): LiveProcessor =>
  ({ sets, pods, refusal, podlessSince: podlessSince === null ? null : millis(podlessSince) });
const trouble = (kind: PodTrouble['kind'], reason: string, words = 'the words') => pod({ trouble: { kind, reason, words } });
const failedBefore = (reason: string, revision = 17): RecordedRollout => ({ state: 'failed', epoch: 3, revision, reason });

const judged = (placement: Placed, shown: LiveProcessor, options: { readonly recorded?: RecordedRollout; readonly now?: number } = {}) => {
  const rollout = judge(placement, shown, options.recorded ?? null, { policy, now: millis(options.now ?? 1_000) });
  return [rollout.state, rollout.state === 'failed' ? rollout.reason : rollout.dueAt];
};

describe('what the cluster does not show yet', () => {
  test.each<[string, LiveProcessor]>([
    ['nothing', live([], [])],
    ['an earlier epoch', live([set({ epoch: 2 })], [pod({ epoch: 2, ready: true })])],
    ['an earlier revision', live([set({ revision: 16 })], [pod({ ready: true })])],
    ['one that is being deleted', live([set({ terminating: true })], [])],
  ])('%s is pending, and a failure long after its commit', (_, shown) => {
    expect(judged(placed({ committedMs: null }), shown)).toEqual(['pending', null]);
    expect(judged(placed({ committedMs: millis(minute) }), shown)).toEqual(['pending', 1_000 + 9 * minute]);
    expect(judged(placed({ committedMs: millis(10 * minute) }), shown)).toEqual(['failed', 'not-applied']);
  });
});

describe('what is live', () => {
  test('a ready pod of the newest template', () => {
    expect(judged(placed(), live([set()], [pod({ ready: true })]))).toEqual(['live', null]);
    // Seen before the commit was recorded.
    expect(judged(placed({ committedMs: null }), live([set()], [pod({ ready: true })]))).toEqual(['live', null]);
    expect(judged(placed(), live([set({ revision: 18 })], [pod({ ready: true })]))).toEqual(['live', null]);
  });

  test.each<[string, LiveProcessor]>([
    ['its pod is of an older template', live([set()], [pod({ ready: true, template: 'old' })])],
    ['its controller has not seen it', live([set({ template: null })], [pod({ ready: true })])],
    ['its pod is being deleted', live([set()], [pod({ ready: true, terminating: true })])],
    ['its pod is not ready', live([set()], [pod()])],
    ['there is no pod', live([set()], [])],
    ['the pod is of another epoch', live([set()], [pod({ ready: true, epoch: 2 })])],
  ])('not while %s; that is a failure after ten minutes', (_, shown) => {
    expect(judged(placed(), shown)).toEqual(['progressing', 10 * minute]);
    expect(judged(placed(), shown, { now: 10 * minute })).toEqual(['failed', 'not-ready']);
  });

  const hour = 60 * minute;
  test.each<[string, LiveProcessor]>([
    ['what ran for an hour is replaced by what was decided a moment ago', live([set({ since: millis(hour) })], [pod({ ready: true, template: 'old' })])],
    ['its controller has just seen that', live([set({ since: millis(hour), template: null })], [pod({ ready: true })])],
    ['its pod has just been deleted', live([set()], [pod({ terminating: true, since: millis(hour) })])],
    ['its pod went a moment ago', live([set()], [], null, hour)],
    ['its pod was ready until a moment ago', live([set()], [pod({ since: millis(hour) })])],
  ])('progressing, however long it was live before: %s', (_, shown) => {
    expect(judged(placed({ committedMs: millis(hour) }), shown, { now: hour + 1_000 })).toEqual(['progressing', hour + 10 * minute]);
  });

  test('the pod that stays counts, not the one that goes', () => {
    expect(judged(placed(), live([set()], [pod({ terminating: true, uid: 'a' }), pod({ ready: true, uid: 'b' })]))).toEqual(['live', null]);
  });

  test('to be stopped: scaled to 0, and no pod of it left', () => {
    const stopping = placed({ phase: 'stopping' });
    expect(judged(stopping, live([set({ stopped: true })], []))).toEqual(['live', null]);
    expect(judged(stopping, live([set({ stopped: true })], [pod({ epoch: 2 })]))).toEqual(['progressing', null]);
    expect(judged(stopping, live([set()], [pod({ ready: true })]))).toEqual(['progressing', null]);
    expect(judged(stopping, live([set()], []))).toEqual(['progressing', null]);
    expect(judged(stopping, live([set({ stopped: true })], [pod({ epoch: 4 })]))).toEqual(['live', null]);
  });
});

describe('what failed', () => {
  test.each<[string, LivePod, string]>([
    ['its image can not be pulled', trouble('waiting', 'ImagePullBackOff'), 'image-pull'],
    ['nor found', trouble('waiting', 'ErrImagePull'), 'image-pull'],
    ['its Secret is missing', trouble('waiting', 'CreateContainerConfigError'), 'container-error'],
    ['its command is missing', trouble('waiting', 'RunContainerError'), 'container-error'],
    ['it ends again and again', trouble('looping', 'Error'), 'crash-loop'],
    ['for want of memory', trouble('looping', 'OOMKilled'), 'out-of-memory'],
    ['it was killed for its memory', trouble('ended', 'OOMKilled'), 'out-of-memory'],
    ['it was evicted', trouble('over', 'Evicted'), 'pod-over'],
  ])('%s', (_, shown, reason) => {
    expect(judged(placed(), live([set()], [shown]))).toEqual(['failed', reason]);
  });

  test('not a container that ended once', () => {
    expect(judged(placed(), live([set()], [trouble('ended', 'Error')]))[0]).toBe('progressing');
    expect(judged(placed(), live([set()], [trouble('restarted', 'OOMKilled')]))[0]).toBe('progressing');
  });

  test('its pod, that no node takes, after the time that a new node needs', () => {
    const shown = live([set()], [trouble('unscheduled', 'Unschedulable')]);
    expect(judged(placed(), shown)).toEqual(['progressing', 2 * minute]);
    expect(judged(placed(), shown, { now: 2 * minute })).toEqual(['failed', 'unschedulable']);
  });

  test('its pod, whose volume is not there, after that time too; whose probes fail, at the deadline and with their words', () => {
    const unstarted = live([set()], [trouble('unstarted', 'FailedMount', 'no such host')]);
    expect(judged(placed(), unstarted)).toEqual(['progressing', 2 * minute]);
    expect(judged(placed(), unstarted, { now: 2 * minute })).toEqual(['failed', 'pod-not-started']);
    const unhealthy = live([set()], [trouble('unhealthy', 'Unhealthy', 'Readiness probe failed: timeout')]);
    expect(judged(placed(), unhealthy, { now: 2 * minute })).toEqual(['progressing', 10 * minute]);
    expect(judge(placed(), unhealthy, null, { policy, now: millis(10 * minute) })).toMatchObject({ reason: 'not-ready', evidence: { words: 'Readiness probe failed: timeout' } });
  });

  test('its pod that may not be created', () => {
    expect(judged(placed(), live([set({ short: true })], [], 'pods "x" is forbidden: failed quota: q: must specify limits.cpu'))).toEqual(['failed', 'quota-exceeded']);
    expect(judged(placed(), live([set({ short: true })], [], 'pods "x" is forbidden: exceeded quota: q'))).toEqual(['failed', 'quota-exceeded']);
    expect(judged(placed(), live([set({ short: true })], [], 'serviceaccount "dory-processor" not found'))).toEqual(['failed', 'pod-refused']);
    expect(judged(placed(), live([set()], [], 'said before'))[0]).toBe('progressing');
  });

  test('with the cluster\'s words, and where', () => {
    expect(judge(placed(), live([set()], [trouble('waiting', 'ErrImagePull', 'not found')]), null, { policy, now: millis(1) })).toMatchObject({
      evidence: { namespace: 'harbor', pod: 'cam-e3-0', node: 'edge-1', restarts: 0, cluster: 'ErrImagePull', words: 'not found' },
    });
  });
});

describe('what ended again and again', () => {
  test('stays failed while it runs for a moment, until it was ready for a while', () => {
    const recorded = failedBefore('crash-loop');
    expect(judged(placed(), live([set()], [trouble('restarted', 'Error')]), { recorded })).toEqual(['failed', 'crash-loop']);
    expect(judged(placed(), live([set()], [trouble('ended', 'Error')]), { recorded })).toEqual(['failed', 'crash-loop']);
    const running = live([set()], [pod({ ready: true, since: millis(500) })]);
    expect(judge(placed(), running, recorded, { policy, now: millis(1_000) })).toMatchObject({ state: 'failed', reason: 'crash-loop', dueAt: 30_500 });
    expect(judged(placed(), running, { recorded, now: 30_500 })).toEqual(['live', null]);
  });

  test('is forgotten with a newer decision', () => {
    expect(judged(placed(), live([set()], [pod({ ready: true })]), { recorded: failedBefore('crash-loop', 16) })).toEqual(['live', null]);
  });

  test('is not what another epoch did', () => {
    const recorded: RecordedRollout = { ...failedBefore('crash-loop'), epoch: 2 };
    expect(judged(placed(), live([set()], [pod({ ready: true })]), { recorded })).toEqual(['live', null]);
  });

  // `since` of everything is the moment at which this process first saw it.
  describe('or for long, seen by a process that has just begun to look, and knows neither how long nor the words', () => {
    test.each<[string, LiveProcessor]>([
      ['unschedulable', live([set()], [trouble('unscheduled', 'Unschedulable')])],
      ['not-ready', live([set()], [pod()])],
      ['not-ready', live([set()], [trouble('restarted', 'Error')])],
      ['not-ready', live([set()], [pod({ terminating: true })])],
      ['not-ready', live([set()], [])],
      ['pod-not-started', live([set()], [pod()])],
      ['pod-not-started', live([set()], [trouble('unstarted', 'FailedMount')])],
      ['quota-exceeded', live([set({ short: true })], [])],
      ['pod-refused', live([set({ short: true })], [])],
    ])('stays %s', (reason, shown) => {
      expect(judged(placed(), shown, { recorded: failedBefore(reason) })).toEqual(['failed', reason]);
      expect(judged(placed(), shown, { recorded: failedBefore(reason, 16) })[0]).toBe('progressing');
    });

    test.each<[string, LiveProcessor]>([
      ['unschedulable', live([set()], [pod()])],
      ['pod-not-started', live([set()], [trouble('restarted', 'Error')])],
      ['quota-exceeded', live([set()], [pod()])],
      ['image-pull', live([set()], [])],
    ])('is %s no more where the cluster shows that it is not', (reason, shown) => {
      expect(judged(placed(), shown, { recorded: failedBefore(reason) })[0]).toBe('progressing');
    });
  });

  test('other failures are over when they are', () => {
    expect(judged(placed(), live([set()], [pod()]), { recorded: failedBefore('image-pull') })[0]).toBe('progressing');
    expect(judged(placed(), live([set()], [pod({ ready: true })]), { recorded: failedBefore('image-pull') })[0]).toBe('live');
  });
});

import { describe, expect, test } from 'vitest';
import { changeOf, type HealthRow } from '../../../src/apply/health-rows.ts';
import type { Epoch, RevisionId } from '../../../src/model/ids.ts';
import type { LivePod, RecordedRollout, Rollout } from '../../../src/model/rollout.ts';
import { millis } from '../../../src/model/time.ts';

const pod = { name: 'cam-e3-0', node: 'edge-1', nodeIp: '10.0.0.1', restarts: 0 } as LivePod;
const row = (given: Partial<HealthRow> = {}): HealthRow => ({
  processorId: 'p1', epoch: 3 as Epoch, phase: 'active', revision: 17 as RevisionId, committedMs: millis(1), status: 'running', podName: 'cam-e3-0', nodeIp: '10.0.0.1',
  ours: false, failures: 0, heard: false, recorded: null, evidence: {}, ...given,
});
const recorded = (state: RecordedRollout['state'], reason: string | null = null, revision = 17): RecordedRollout => ({ state, epoch: 3, revision, reason });
const live: Rollout = { state: 'live', pod, dueAt: null };
const progressing: Rollout = { state: 'progressing', pod, dueAt: null };
const failed: Rollout = { state: 'failed', pod: { ...pod, restarts: 4 }, reason: 'image-pull', evidence: { node: 'edge-1', words: 'not found' }, dueAt: null };

describe('nothing is written', () => {
  test.each<[string, HealthRow, Rollout]>([
    ['of what is live and was', row({ recorded: recorded('live') }), live],
    ['of what failed and did', row({ recorded: recorded('failed', 'image-pull') }), failed],
    ['of what failed and did, although an agent spoke since', row({ recorded: recorded('failed', 'image-pull'), heard: true }), failed],
    ['of what is under way', row({ recorded: recorded('live', null, 16) }), progressing],
    ['of what is not shown', row({ recorded: recorded('live', null, 16) }), { state: 'pending', pod: null, dueAt: null }],
    ['while a pod is replaced', row({ recorded: recorded('live') }), { state: 'progressing', pod: null, dueAt: null }],
  ])('%s', (_, before, rollout) => {
    expect(changeOf(before, rollout)).toBe(null);
  });
});

describe('status', () => {
  const status = (before: Partial<HealthRow>, rollout: Rollout): string | null => changeOf(row({ podName: null, ...before }), rollout)?.status ?? null;

  test('rises from pending over starting to running', () => {
    expect(status({ status: 'pending' }, progressing)).toBe('starting');
    expect(status({ status: 'pending' }, { ...progressing, pod: null })).toBe(null);
    expect(status({ status: 'starting' }, progressing)).toBe(null);
    expect(status({ status: 'starting' }, live)).toBe('running');
    expect(status({ status: 'pending' }, live)).toBe('running');
  });

  test.each(['running', 'failover'])('%s stays, whatever the cluster shows', (before) => {
    for (const rollout of [live, failed, progressing]) expect(status({ status: before }, rollout)).toBe(null);
  });

  test('a failure is none: what is written failed leaves the desired set', () => {
    expect(status({ status: 'pending' }, failed)).toBe('starting');
    expect(status({ status: 'starting', phase: 'stopping' }, live)).toBe(null);
  });
});

describe('the pod', () => {
  test('is named with its node\'s address', () => {
    expect(changeOf(row({ podName: 'cam-e2-0' }), progressing)?.pod).toEqual({ name: 'cam-e3-0', ip: '10.0.0.1' });
    expect(changeOf(row({ recorded: recorded('live') }), { ...live, pod: { ...pod, nodeIp: null } })?.pod).toEqual({ name: 'cam-e3-0', ip: null });
  });

  test('is none once it is stopped', () => {
    expect(changeOf(row({ phase: 'stopping' }), { state: 'live', pod: null, dueAt: null })?.pod).toEqual({ name: null, ip: null });
  });
});

describe('health', () => {
  test('is the cluster\'s word when a roll-out fails, and nobody\'s again until it changes', () => {
    expect(changeOf(row({ failures: 1 }), failed)).toMatchObject({
      health: { status: 'image-pull', healthy: false, source: 'kubernetes', message: "its image can't be pulled on edge-1: not found" }, failures: 4,
      rollout: { state: 'failed', epoch: 3, revision: 17, reason: 'image-pull' }, event: { kind: 'rollout-failed', reason: 'image-pull' },
    });
    expect(changeOf(row(), { ...failed, pod: null })?.failures).toBe(1);
    expect(changeOf(row({ recorded: recorded('failed', 'unschedulable') }), failed)?.event).toMatchObject({ reason: 'image-pull' });
  });

  test('a ready pod takes back the cluster\'s word, or says the first one; an agent speaks for itself', () => {
    const healthy = { status: 'healthy', healthy: true, source: 'kubernetes' };
    expect(changeOf(row({ ours: true, heard: true, failures: 4, recorded: recorded('failed', 'image-pull') }), live)).toMatchObject({
      health: healthy, failures: 0, event: { kind: 'rollout-recovered', reason: 'pod-recovered', evidence: { before: 'image-pull', pod: 'cam-e3-0' } },
    });
    expect(changeOf(row({ failures: 4 }), live)).toMatchObject({ health: healthy, failures: 0, event: null });
    expect(changeOf(row({ heard: true, failures: 4 }), live)).toMatchObject({ health: null, failures: null, rollout: { state: 'live' }, event: null });
  });

  test('of a stop nothing is said', () => {
    expect(changeOf(row({ phase: 'stopping' }), { state: 'live', pod: null, dueAt: null })).toMatchObject({ health: null, failures: null, status: null });
  });
});

test('what is live is news once for each decision', () => {
  expect(changeOf(row({ ours: true, recorded: recorded('live', null, 16) }), live)).toMatchObject({ rollout: { state: 'live', epoch: 3, revision: 17 }, event: null });
});

test('what had failed and goes on is under way, and its recovery is told with what it was', () => {
  const change = changeOf(row({ recorded: recorded('failed', 'image-pull') }), progressing);
  expect(change).toMatchObject({ rollout: { state: 'progressing', evidence: { before: 'image-pull' } }, health: null, event: null });
  const later = row({ recorded: recorded('progressing'), evidence: { before: 'image-pull' }, ours: true });
  expect(changeOf(later, live)?.event).toMatchObject({ kind: 'rollout-recovered', evidence: { before: 'image-pull' } });
  // With the release that mends it, too.
  expect(changeOf(row({ recorded: recorded('failed', 'image-pull', 16) }), live)?.event).toMatchObject({ kind: 'rollout-recovered' });
});

import { afterEach, describe, expect, test } from 'vitest';
import { concerned, createApplications, readApplication, type Applications, type ApplicationState } from '../../../src/apply/argocd-applications.ts';
import { createCommitOrder } from '../../../src/apply/argocd-commits.ts';
import { createProgress, type Progress } from '../../../src/apply/argocd-progress.ts';
import type { Push } from '../../../src/apply/argocd.ts';
import { Failure } from '../../../src/model/failure.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock, type Clock } from '../../../src/platform/clock.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, manualClock } from '../../support/clock.ts';
import { until } from '../../support/until.ts';

const push = (commit: string, before: string | null = null, ...paths: string[]): Push => ({ before, commit, paths });
const application = (changes: Partial<ApplicationState> = {}): ApplicationState => ({
  name: 'dory-n-processors-0a', path: 'clusters/n/processors/0a', commit: null, sync: 'OutOfSync', health: 'Healthy', operation: null, problem: null, automatic: true, prunes: true, ...changes,
});

describe('an Application', () => {
  const object = (status: unknown, about: { readonly syncPolicy?: unknown; readonly annotations?: Readonly<Record<string, string>> } = { syncPolicy: { automated: { prune: true } } }) => ({
    metadata: { name: 'a', uid: 'u', resourceVersion: '1', ...(about.annotations === undefined ? {} : { annotations: about.annotations }) }, spec: { source: { path: 'p' }, syncPolicy: about.syncPolicy }, status,
  });

  test('is read as its controller shows it', () => {
    expect(readApplication(object({
      sync: { status: 'Synced', revision: 'abc' }, health: { status: 'Degraded' }, conditions: [{ type: 'OrphanedResourceWarning', message: 'w' }, { type: 'ComparisonError', message: 'no such path' }],
      operationState: { phase: 'Running', retryCount: 2, message: 'one or more objects failed. Retrying attempt #2 at 1:26PM.', syncResult: { revision: 'abd' } },
    }))).toEqual({
      name: 'a', path: 'p', commit: 'abc', sync: 'Synced', health: 'Degraded', problem: 'ComparisonError: no such path', automatic: true, prunes: true,
      operation: { phase: 'Running', failing: true, commit: 'abd', message: 'one or more objects failed.' },
    });
  });

  test.each([undefined, {}, { sync: { status: 'Unknown', revision: '' }, health: {}, operationState: { phase: 7 }, conditions: 'x' }])('says nothing before its controller does, nor where it says nonsense: %j', (status) => {
    expect(readApplication(object(status))).toEqual({ name: 'a', path: 'p', commit: null, sync: 'Unknown', health: 'Unknown', operation: null, problem: null, automatic: true, prunes: true });
  });

  test.each([
    ['ExcludedResourceWarning', 'ExcludedResourceWarning: w'], ['SharedResourceWarning', 'SharedResourceWarning: w'], ['RepeatedResourceWarning', 'RepeatedResourceWarning: w'],
    ['SyncError', 'SyncError: w'], ['InvalidSpecError', 'InvalidSpecError: w'], ['OrphanedResourceWarning', null],
  ])('with %s has a problem: %s', (type, problem) => {
    expect(readApplication(object({ conditions: [{ type, message: 'w' }] })).problem).toBe(problem);
  });

  test.each([
    [{}, [false, false]],
    [{ syncPolicy: {} }, [false, false]],
    [{ syncPolicy: { automated: {} } }, [true, false]],
    [{ syncPolicy: { automated: { prune: true, enabled: false } } }, [false, true]],
    [{ syncPolicy: { automated: { prune: true, enabled: true } } }, [true, true]],
    [{ syncPolicy: { automated: { prune: true } }, annotations: { 'argocd.argoproj.io/skip-reconcile': 'true' } }, [false, true]],
  ])('of %j syncs by itself, and prunes: %j', (about, expected) => {
    const { automatic, prunes } = readApplication(object({}, about));
    expect([automatic, prunes]).toEqual(expected);
  });

  test('is concerned by paths in its folder, and by no others', () => {
    const applications = ['0a', '0b', '0'].map((shard) => ({ name: shard, path: `clusters/n/processors/${shard}` }));
    expect(concerned(applications, ['clusters/n/processors/0a/1/x.yaml', 'clusters/n/.dory/change.json', 'clusters/n/processors/0b'])).toEqual(['0a']);
    expect(concerned(applications, null)).toEqual(['0', '0a', '0b']);
  });
});

describe('from push to cluster', () => {
  const a = application();
  const b = application({ name: 'dory-n-processors-0b', path: 'clusters/n/processors/0b' });
  const [inA, inB] = ['clusters/n/processors/0a/x.yaml', 'clusters/n/processors/0b/y.yaml'];
  const measured = (...pushes: readonly [Push, number][]): Progress => {
    const commits = createCommitOrder();
    const progress = createProgress(commits);
    for (const [each, at] of pushes) {
      commits.pushed(each.commit, [each.before]);
      progress.pushed(each, [a, b], millis(at));
    }
    return progress;
  };

  test('a commit has arrived when all Applications concerned have it', () => {
    const progress = measured([push('1', '0', inA, inB), 1_000]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: '0' }, millis(1_500))).toEqual([]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: '1' }, millis(2_000))).toEqual([]);
    expect(progress.seen({ ...b, operation: { phase: 'Succeeded', failing: false, commit: '1', message: '' } }, millis(4_000))).toEqual([3_000]);
    expect(progress.seen({ ...b, sync: 'Synced', commit: '1' }, millis(5_000))).toEqual([]);
  });

  test('a newer commit brings the older ones', () => {
    const progress = measured([push('1', null, inA), 0], [push('2', '1', inA), 1_000]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: '2' }, millis(2_000))).toEqual([2_000, 1_000]);
  });

  test("somebody's commit on top of ours brings ours", () => {
    const progress = measured([push('1', null, inA), 0]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: 'theirs' }, millis(2_000))).toEqual([2_000]);
  });

  test('a commit that concerns none is not waited for', () => {
    const progress = measured([push('1', null, 'clusters/n/.dory/change.json'), 0]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: '1' }, millis(1))).toEqual([]);
  });
});

describe('of two commits', () => {
  test('the one that was pushed or met later has the other', () => {
    const { pushed, holds } = createCommitOrder();
    pushed('1', ['0', null]);
    pushed('2', ['1', 'theirs']);
    expect(['0', '1', 'theirs', '2', 'never-met'].map((shown) => holds(shown, '2'))).toEqual([false, false, false, true, true]);
    expect(['0', '1', 'theirs', '2'].map((shown) => holds(shown, '1'))).toEqual([false, true, true, true]);
    expect(holds(null, '1')).toBe(false);
  });

  test('one that Argo CD showed before we told of it is no older one', () => {
    const { pushed, holds } = createCommitOrder();
    pushed('1', ['2']);
    pushed('2', ['1', '2']);
    expect([holds('2', '2'), holds('1', '2'), holds('2', '1')]).toEqual([true, false, true]);
  });

  test('what is long gone is forgotten', () => {
    const { pushed, holds } = createCommitOrder();
    for (let n = 1; n <= 500; n += 1) pushed(String(n), [String(n - 1)]);
    expect([holds('499', '500'), holds('301', '500'), holds('300', '500')]).toEqual([false, false, true]);
    // Counted from its push, and not from when it was met before.
    pushed('501', ['far']);
    for (const next of [...Array.from({ length: 150 }, (_, n) => String(n + 502)), 'far', ...Array.from({ length: 150 }, (_, n) => String(n + 702))]) pushed(next, []);
    expect(holds('far', '851')).toBe(false);
  });
});

describe('that Argo CD looked at a commit', () => {
  const path = 'clusters/n/processors/0a';
  const client = (commit: () => string): KubeClient => ({
    get: () => Promise.resolve({ date: null, body: { metadata: { resourceVersion: '1' }, items: [
      { metadata: { name: 'a', namespace: 'argocd', uid: 'u', resourceVersion: '1' }, spec: { source: { path } }, status: { sync: { status: 'Synced', revision: commit() } } },
    ] } }),
    // Each look is a list of its own.
    lines: () => { throw new Failure('kubernetes-expired', 'no watch here'); },
    close: () => undefined,
  });
  const watched = (its: KubeClient, clock: Clock = systemClock): Applications => {
    const commits = createCommitOrder();
    commits.pushed('one', ['zero']);
    commits.pushed('two', ['one']);
    const applications = createApplications({
      client: its, writer: { send: () => Promise.reject(new Error('nothing is written here')) }, clock, random: fixedRandom(0), log: silentLog,
      namespace: 'argocd', label: 'a=b', holds: commits.holds, onChange: () => undefined,
    });
    closes.push(() => applications.cache.close());
    applications.cache.start();
    return applications;
  };
  const closes: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closes.splice(0)) await close();
  });
  const never = new AbortController().signal;
  const two = push('two', 'one', `${path}/x.yaml`);

  test.each(['two', 'of-somebody'])('is seen when it shows it, or one that we never heard of: %s', async (then) => {
    let shown = 'zero';
    const applications = watched(client(() => shown));
    await until(() => applications.cache.items.size === 1, 'the Application is known');
    const looked = applications.looked(two, never);
    shown = then;
    expect(await looked).toBe(true);
  });

  test('is not taken from what it showed before, nor from a commit of ours that is older', async () => {
    let shown = 'zero';
    const { looked, cache } = watched(client(() => shown));
    await until(() => cache.items.size === 1, 'the Application is known');
    const over = new AbortController();
    const seen = looked(two, over.signal);
    shown = 'one';
    await until(() => [...cache.items.values()].every(({ commit }) => commit === 'one'), 'the older one is shown');
    over.abort();
    expect(await seen).toBe(false);
  });

  test('is not waited for where no Application is concerned', async () => {
    const { looked } = watched(client(() => 'zero'));
    expect(await looked(push('two', 'one', 'clusters/n/processors/0b/x.yaml'), never)).toBe(true);
  });

  test('is taken for granted where nothing is seen of it any more', async () => {
    let up = true;
    const clock = manualClock();
    const applications = watched({ ...client(() => 'zero'), get: (...args) => (up ? client(() => 'zero').get(...args) : Promise.reject(new Failure('kubernetes-unreachable', 'down'))) }, clock);
    await until(() => applications.cache.items.size === 1, 'the Application is known');
    const isSeen = applications.looked(two, never);
    up = false;
    clock.advance(millis(5_000));
    expect(await isSeen).toBe(false);
    const isTaken = applications.looked(two, never);
    clock.advance(millis(15_000));
    expect(await isTaken).toBe(true);
  });
});

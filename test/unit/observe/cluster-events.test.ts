import { afterEach, expect, test } from 'vitest';
import type { LivePod, LiveSet, PodTrouble } from '../../../src/model/rollout.ts';
import { millis, seconds } from '../../../src/model/time.ts';
import { createEventWords, type EventWords } from '../../../src/observe/cluster-events.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { manualClock } from '../../support/clock.ts';

const noon = Date.parse('2026-01-01T12:00:00Z');
const member = { processorId: 'p1', epoch: 3, namespace: 'harbor', terminating: false, since: millis(0) };
const set = (given: Partial<LiveSet> = {}): LiveSet => ({ ...member, name: 'cam-e3', uid: 's', revision: 17, wanted: 1, stopped: false, short: true, template: 'new', ...given });
const pod = (given: Partial<LivePod> = {}): LivePod => ({ ...member, name: 'cam-e3-0', uid: 'p', node: 'edge-1', nodeIp: null, ready: false, template: 'new', restarts: 0, trouble: null, cpu: 0, memory: 0, ...given });

interface Told {
  readonly of?: string;
  readonly reason: string;
  readonly message: string;
  /** How long ago it was told. */
  readonly agoMs?: number;
}

const open: EventWords[] = [];
afterEach(() => Promise.all(open.splice(0).map((words) => words.close())));

/** A cluster with these sets and pods, whose events are told by `tell`; looked at every five seconds. */
function watched({ sets = [], pods = [] }: { readonly sets?: readonly LiveSet[]; readonly pods?: readonly LivePod[] }) {
  const clock = manualClock();
  const [asked, learned]: [string[], string[]] = [[], []];
  let [events, took, broken]: [readonly Told[], number, boolean] = [[], 0, false];
  const client: Pick<KubeClient, 'get'> = {
    get: (path, query) => {
      asked.push(`${path} ${String(query['fieldSelector'])}${query['continue'] === undefined ? '' : ` from ${query['continue']}`}`);
      if (took > 0) clock.advance(millis(took));
      if (broken) return Promise.reject(new Error('broken'));
      const at = Number(query['continue'] ?? 0);
      const items = events.slice(at, at + 2).map(({ of = 'p', reason, message, agoMs = 0 }) => ({ involvedObject: { uid: of }, reason, message, lastTimestamp: new Date(noon + clock.monotonic() - agoMs).toISOString() }));
      return Promise.resolve({ body: { metadata: at + 2 < events.length ? { continue: String(at + 2) } : {}, items }, date: noon + clock.monotonic() });
    },
  };
  const words = createEventWords({ client: client as KubeClient, clock, log: silentLog, sets: () => sets, pods: () => pods, onRead: (id) => { learned.push(id); } });
  open.push(words);
  words.start();
  return {
    words, asked, learned,
    tell: (...told: readonly Told[]) => { events = told; },
    slow: (ms: number) => { took = ms; },
    broken: (yes: boolean) => { broken = yes; },
    /** Until the look that is then due has ended. */
    pass: async (ms: number) => {
      await clock.asleep();
      clock.advance(millis(ms));
      await clock.asleep();
    },
  };
}

const troubleOf = (words: EventWords): PodTrouble | null => words.ofPod(pod()).trouble;

test('nothing is asked while every set has its pod and every pod gets on, nor in the first moments of one that does not', async () => {
  const { asked, pass } = watched({
    sets: [set({ short: false }), set({ uid: 's2', since: seconds(11) })],
    pods: [pod({ ready: true }), pod({ terminating: true }), pod({ node: null }), pod({ trouble: { kind: 'waiting', reason: 'ErrImagePull', words: '' } }), pod({ since: seconds(5) })],
  });
  await pass(seconds(12));
  expect(asked).toEqual([]);
});

test('of each namespace in trouble one list is read for each kind, page by page', async () => {
  const { asked, pass, tell } = watched({ sets: [set(), set({ uid: 's2' })], pods: [pod(), pod({ uid: 'p2', namespace: 'yard' })] });
  tell(...['a', 'b', 'c'].map((message) => ({ reason: 'FailedMount', message })));
  await pass(seconds(20));
  const [sets, pods] = ['involvedObject.kind=StatefulSet,reason=FailedCreate', 'involvedObject.kind=Pod,type=Warning'];
  expect(asked).toEqual(['harbor', 'harbor', 'yard'].flatMap((namespace, i) => ['', ' from 2'].map((page) => `/api/v1/namespaces/${namespace}/events ${i === 0 ? sets : pods}${page}`)));
});

test('why a set has no pod', async () => {
  const { words, learned, pass, tell } = watched({ sets: [set()] });
  tell({ of: 's', reason: 'FailedCreate', message: 'create Pod cam-e3-0 in StatefulSet cam-e3 failed error: pods "cam-e3-0" is forbidden: exceeded quota: small' });
  await pass(seconds(5));
  expect(words.ofSets([set()])).toBe('pods "cam-e3-0" is forbidden: exceeded quota: small');
  expect(words.ofSets([set({ short: false })])).toBe(null);
  await pass(seconds(5));
  expect(learned, 'told once').toEqual(['p1']);
});

test.each<[string, string, object | null]>([
  ['FailedMount', 'MountVolume.SetUp failed for volume "state": no such host', { kind: 'unstarted', reason: 'FailedMount', words: 'MountVolume.SetUp failed for volume "state": no such host' }],
  ['FailedCreatePodSandBox', 'plugin type="x" failed', { kind: 'unstarted', reason: 'FailedCreatePodSandBox', words: 'plugin type="x" failed' }],
  ['Unhealthy', 'Readiness probe failed: HTTP probe failed with statuscode: 503', { kind: 'unhealthy', reason: 'Unhealthy', words: 'Readiness probe failed: HTTP probe failed with statuscode: 503' }],
  // A command's output.
  ['Unhealthy', 'Readiness probe failed: token hunter2 is wrong', { kind: 'unhealthy', reason: 'Unhealthy', words: 'Readiness probe failed' }],
  ['BackOff', 'Back-off restarting failed container', null],
])('what a pod\'s events say where its status says nothing: %s %s', async (reason, message, expected) => {
  const { words, pass, tell } = watched({ pods: [pod()] });
  tell({ reason, message });
  await pass(seconds(20));
  expect(troubleOf(words)).toEqual(expected);
  const named = pod({ trouble: { kind: 'waiting', reason: 'ErrImagePull', words: '' } });
  expect(words.ofPod(named)).toBe(named);
  expect(words.ofPod(pod({ ready: true })).trouble).toBe(null);
});

test('the last word counts, and none that was said before it was so', async () => {
  const { words, pass, tell } = watched({ pods: [pod({ since: seconds(60) })] });
  tell({ reason: 'FailedMount', message: 'last', agoMs: 1_000 }, { reason: 'FailedMount', message: 'first', agoMs: 9_000 });
  await pass(seconds(85));
  expect(troubleOf(words)?.words).toBe('last');
  const earlier = watched({ pods: [pod({ since: seconds(60) })] });
  earlier.tell({ reason: 'FailedMount', message: 'of an earlier start', agoMs: 50_000 });
  await earlier.pass(seconds(85));
  expect(troubleOf(earlier.words)).toBe(null);
});

test('what is well again is forgotten', async () => {
  const pods = [pod()];
  const { words, pass, tell } = watched({ pods });
  tell({ reason: 'FailedMount', message: 'no such host' });
  await pass(seconds(20));
  pods.splice(0, 1, pod({ ready: true }));
  await pass(seconds(5));
  expect(troubleOf(words)).toBe(null);
});

test('a server that takes long is asked less often, and one that fails again', async () => {
  const { words, asked, pass, tell, slow, broken } = watched({ pods: [pod()] });
  slow(3_000);
  broken(true);
  await pass(seconds(20));
  expect(asked).toHaveLength(1);
  await pass(seconds(29));
  expect(asked).toHaveLength(1);
  broken(false);
  tell({ reason: 'FailedMount', message: 'no such host' });
  await pass(seconds(1));
  expect(asked).toHaveLength(2);
  expect(troubleOf(words)?.words).toBe('no such host');
});

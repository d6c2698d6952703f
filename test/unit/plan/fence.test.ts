import { describe, expect, it, test } from 'vitest';
import type { Workload } from '../../../src/model/fleet.ts';
import type { Epoch, ProcessorId } from '../../../src/model/ids.ts';
import { known, unknown } from '../../../src/model/observed.ts';
import type { Placement } from '../../../src/model/placement.ts';
import type { AgentSignals, Intake } from '../../../src/model/snapshot.ts';
import { instant, type Instant } from '../../../src/model/time.ts';
import { lossFence, stopFence, type Leaving } from '../../../src/plan/fence.ts';
import type { NodeHealth } from '../../../src/plan/health.ts';
import type { World } from '../../../src/plan/world.ts';
import { testPolicy } from '../../support/policy.ts';

const at = instant(Date.UTC(2026, 0, 1));
const ago = (s: number): Instant => instant(at - s * 1000);
const covered: Intake = { covered: true, since: instant(0), until: at };
const processorId = 'p' as ProcessorId;
const epoch = 2 as Epoch;

const quiet: AgentSignals = { processorId, epoch, lastBeatAt: ago(59), leaseUntil: null, publishedAt: ago(100), acknowledgedAt: null, confirmed: null, pods: unknown('not-configured') };

interface Told {
  agent?: Partial<AgentSignals>;
  intake?: Intake;
  /** Null: the node has no row any more. */
  kubelet?: NodeHealth['kubernetes']['state'] | null;
  lostAt?: Instant;
  managed?: true;
}

/** Stopping, or lost, since 100 s; its template stops within 30 s. */
function leaving({ agent = {}, intake = covered, kubelet = 'not-ready', lostAt = ago(50), managed }: Told): Leaving & { readonly source: NodeHealth } {
  const target = managed ? { kind: 'managed' } : { kind: 'edge', nodeId: 'n', nodeName: 'edge-1' };
  const placement = { processorId, epoch, target, phase: 'stopping', since: ago(100) } as unknown as Placement;
  const world = { snapshot: { at, intake, policy: testPolicy }, agents: new Map([[processorId, { ...quiet, ...agent }]]) } as unknown as World;
  const source = { verdict: 'lost', since: lostAt, node: { name: 'edge-1' }, kubernetes: { state: kubelet } } as unknown as NodeHealth;
  return { world, placement, workload: { shutdownTimeoutSec: 30 } as Workload, source: (kubelet === null ? null : source)! };
}

const outcome = (proof: ReturnType<typeof stopFence>): unknown => (proof.passed ? (proof.evidence['fence'] ?? 'unfenced') : `${proof.reason}${proof.needsPerson ? ' (person)' : ''}`);
const stop = (told: Told, unfenced: 'replace' | 'hold' = 'replace'): unknown => outcome(stopFence(leaving(told), { unfenced }));
const loss = (told: Told, unfenced: 'replace' | 'hold' = 'replace'): unknown => {
  const given = leaving(told);
  return outcome(lossFence(given, given.source, { unfenced }));
};
const certain = (told: Told): boolean => {
  const proof = stopFence(leaving(told), replace);
  return proof.passed && proof.evidence['unfenced'] !== true;
};
const replace = { unfenced: 'replace' } as const;
const gone = { pods: known('gone' as const, at) };
const present = { pods: known('present' as const, at) };

test.each<[string, Told, boolean]>([
  ['the word of an agent that knows no leases: its kubelet may start it anew', { agent: { acknowledgedAt: ago(100) } }, false],
  ['its silence: it may be cut off', { agent: { lastBeatAt: ago(60) } }, false],
  ['the word of one that does', { agent: { acknowledgedAt: ago(100), leaseUntil: ago(1) } }, true],
  ['its lease', { agent: { leaseUntil: instant(ago(40) - 1) } }, true],
  ['pods that are gone', { agent: gone, kubelet: 'ready' }, true],
  ['a person\'s word', { agent: { confirmed: { at: ago(100), by: 'ann' } } }, true],
])('what is moved after it says whether it is fenced for certain: %s', (_, told, expected) => {
  expect(certain(told)).toBe(expected);
});

describe('a stop', () => {
  test.each<[string, Told, unknown]>([
    ['a word that a person gave of it', { agent: { confirmed: { at: ago(100), by: 'ann' }, publishedAt: null } }, 'fence-confirmed'],
    ['one given of an earlier stop', { agent: { confirmed: { at: ago(101), by: 'ann' } } }, 'waiting-for-fence'],
    ['the agent\'s own word', { agent: { acknowledgedAt: ago(100) } }, 'fence-acknowledged'],
    ['its word, while its kubelet has its pod still, and starts it anew', { agent: { ...present, acknowledgedAt: ago(100) }, kubelet: 'ready' }, 'waiting-for-fence'],
    ['its word, while the cluster gives no news', { agent: { pods: unknown('watch-down'), acknowledgedAt: ago(100) } }, 'waiting-for-fence'],
    ['its word, of one that knows leases, while its kubelet has its pod still', { agent: { ...present, acknowledgedAt: ago(100), leaseUntil: ago(1) }, kubelet: 'ready' }, 'fence-acknowledged'],
    ['its word of an earlier stop', { agent: { acknowledgedAt: ago(101) } }, 'waiting-for-fence'],
    ['its word of a stop that nothing carried to it', { agent: { acknowledgedAt: ago(1), publishedAt: null } }, 'waiting-for-fence'],
    ['pods gone through the kubelet', { agent: gone, kubelet: 'ready' }, 'fence-pods-gone'],
    ['pods gone from the managed pool', { agent: gone, managed: true }, 'fence-pods-gone'],
    ['pods gone behind a kubelet that is cut off', { agent: gone, kubelet: 'not-ready' }, 'waiting-for-fence'],
    ['pods that were gone before it was published', { agent: { pods: known('gone', ago(101)) }, kubelet: 'ready' }, 'waiting-for-fence'],
    ['silence for a threshold', { agent: { lastBeatAt: ago(60) } }, 'fence-silent'],
    ['silence for less', { agent: { lastBeatAt: ago(59) } }, 'waiting-for-fence'],
    ['silence since before it was published', { agent: { lastBeatAt: ago(600), publishedAt: ago(59) } }, 'waiting-for-fence'],
    ['silence that nobody could hear', { agent: { lastBeatAt: ago(600) }, intake: { covered: true, since: ago(59), until: at } }, 'waiting-for-fence'],
    ['silence while receivers are down', { agent: { lastBeatAt: ago(600) }, intake: { covered: false, detail: 'down' } }, 'intake-down'],
    ['silence of a pod that its kubelet runs', { agent: { ...present, lastBeatAt: ago(600) }, kubelet: 'ready' }, 'waiting-for-fence'],
    ['silence of a pod that runs where no row says anything of its node', { agent: { ...present, lastBeatAt: ago(600) }, kubelet: null }, 'waiting-for-fence'],
    ['silence of a pod in the managed pool that is still there', { agent: { ...present, lastBeatAt: ago(600) }, managed: true }, 'waiting-for-fence'],
    ['silence while the cluster gives no news', { agent: { pods: unknown('watch-down'), lastBeatAt: ago(600) }, kubelet: 'down' }, 'waiting-for-fence'],
    ['silence on a node that the cluster does not know', { agent: { ...present, lastBeatAt: ago(60) }, kubelet: 'none' }, 'fence-silent'],
    ['silence of a pod behind a kubelet that is cut off', { agent: { ...present, lastBeatAt: ago(60) }, kubelet: 'not-ready' }, 'fence-silent'],
    ['no beat ever', { agent: { lastBeatAt: null } }, 'fence-unheard (person)'],
    ['no beat ever of a pod that its kubelet runs', { agent: { ...present, lastBeatAt: null }, kubelet: 'ready' }, 'waiting-for-fence'],
    ['a lease that is over, and the time to stop', { agent: { ...present, leaseUntil: instant(ago(40) - 1) }, kubelet: 'ready' }, 'fence-lease-over'],
    ['a lease that is over, and not the time to stop', { agent: { leaseUntil: ago(40), lastBeatAt: ago(600) } }, 'waiting-for-fence'],
    ['a lease over while it may have been renewed unheard', { agent: { leaseUntil: ago(600) }, intake: { covered: true, since: ago(70), until: at } }, 'waiting-for-fence'],
    ['a lease over since intake is whole again', { agent: { leaseUntil: ago(600) }, intake: { covered: true, since: instant(ago(70) - 1), until: at } }, 'fence-lease-over'],
    ['a lease over while receivers are down', { agent: { leaseUntil: ago(600) }, intake: { covered: false, detail: 'down' } }, 'intake-down'],
    ['more time than a stop may take', { agent: { publishedAt: ago(301) } }, 'fence-overdue (person)'],
    ['all the time that a stop may take', { agent: { publishedAt: ago(300) } }, 'waiting-for-fence'],
  ])('%s', (_, told, expected) => {
    expect(stop(told)).toBe(expected);
  });

  test.each<[string, Told, unknown]>([
    ['its silence', { agent: { lastBeatAt: ago(600) } }, 'unfenced-held (person)'],
    ['its word', { agent: { acknowledgedAt: ago(100) } }, 'unfenced-held (person)'],
    ['its word, while its kubelet has its pod still', { agent: { ...present, acknowledgedAt: ago(100) }, kubelet: 'ready' }, 'waiting-for-fence'],
    ['pods that are gone', { agent: { ...gone, acknowledgedAt: ago(100) }, kubelet: 'ready' }, 'fence-pods-gone'],
    ['a person\'s word', { agent: { confirmed: { at: ago(100), by: 'ann' } } }, 'fence-confirmed'],
    ['the word of an agent that knows leases', { agent: { acknowledgedAt: ago(100), leaseUntil: ago(1) } }, 'fence-acknowledged'],
  ])('of an agent without a lease, where policy holds such processors: %s', (_, told, expected) => {
    expect(stop(told, 'hold')).toBe(expected);
  });

  it('comes back when time alone may prove it', () => {
    expect(stopFence(leaving({ agent: { lastBeatAt: ago(50) } }), replace)).toMatchObject({ wakeAt: at + 10_000 });
    expect(stopFence(leaving({ agent: { leaseUntil: ago(10) } }), replace)).toMatchObject({ wakeAt: at + 30_001 });
    expect(stopFence(leaving({ agent: { ...present, publishedAt: ago(290) }, kubelet: 'ready' }), replace)).toMatchObject({ wakeAt: at + 10_001 });
  });
});

describe('a loss', () => {
  test.each<[string, Told, unknown]>([
    ['a word that a person gave since', { agent: { confirmed: { at: ago(50), by: 'ann' } } }, 'fence-confirmed'],
    ['one given before it was lost', { agent: { confirmed: { at: ago(51), by: 'ann' }, lastBeatAt: ago(61) } }, 'unfenced'],
    ['a lease that is over, and the time to stop', { agent: { leaseUntil: instant(ago(40) - 1) } }, 'fence-lease-over'],
    ['a lease that is over, and not the time to stop', { agent: { leaseUntil: ago(40), lastBeatAt: ago(600) } }, 'waiting-for-lease'],
    ['a lease over while it may have been renewed unheard', { agent: { leaseUntil: ago(600) }, intake: { covered: true, since: ago(70), until: at } }, 'waiting-for-lease'],
    ['receivers are down', { agent: { lastBeatAt: ago(600) }, intake: { covered: false, detail: 'down' } }, 'intake-down'],
    ['an agent of its own that is not stale yet', { agent: { lastBeatAt: ago(60) } }, 'not-yet-stale'],
    ['an agent that nobody could hear for long enough', { agent: { lastBeatAt: ago(600) }, intake: { covered: true, since: ago(60), until: at } }, 'not-yet-stale'],
    ['an agent that was never heard', { agent: { lastBeatAt: null }, intake: { covered: true, since: ago(60), until: at } }, 'unfenced'],
    ['a word from before it was placed there', { agent: { confirmed: { at: ago(101), by: 'ann' }, lastBeatAt: ago(61) }, lostAt: ago(150) }, 'unfenced'],
    ['no lease', { agent: { lastBeatAt: ago(61) } }, 'unfenced'],
    ['signals of another epoch', { agent: { epoch: 1 as Epoch, leaseUntil: at } }, 'unfenced'],
  ])('%s', (_, told, expected) => {
    expect(loss(told)).toBe(expected);
  });

  it('of an agent without a lease is held where policy says so, and no person\'s word is needed with one', () => {
    expect(loss({ agent: { lastBeatAt: ago(61) } }, 'hold')).toBe('unfenced-held (person)');
    expect(loss({ agent: { leaseUntil: ago(600) } }, 'hold')).toBe('fence-lease-over');
  });
});

test('a snapshot that lacks the agent of a stop is a bug', () => {
  expect(() => stop({ agent: { epoch: 1 as Epoch } })).toThrow('no stop signals');
});

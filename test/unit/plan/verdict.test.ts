import { describe, expect, it, test } from 'vitest';
import type { EdgeNode } from '../../../src/model/fleet.ts';
import type { Epoch, ProcessorId } from '../../../src/model/ids.ts';
import { known, unknown, type Observed } from '../../../src/model/observed.ts';
import type { Placement } from '../../../src/model/placement.ts';
import type { AgentSignals, Intake, NodeCondition, RecordedVerdict, Verdict } from '../../../src/model/snapshot.ts';
import { instant, seconds, type Instant } from '../../../src/model/time.ts';
import { isTransition, nodeHealth, type HealthFacts } from '../../../src/plan/health.ts';
import type { Occupant } from '../../../src/plan/signals.ts';
import { testPolicy } from '../../support/policy.ts';

const at = instant(Date.UTC(2026, 0, 1));
const ago = (s: number): Instant => instant(at - s * 1000);
const node = { id: 'n', name: 'edge-1', decommissioned: false } as EdgeNode;
const covered: Intake = { covered: true, since: instant(0), until: at };

/** An hour old and heard when its node was, unless it says otherwise. */
function occupant({ phase = 'active', since = 3_600, heard = 3_600 }: { phase?: Placement['phase']; since?: number; heard?: number | null } = {}): Occupant {
  const processorId = 'p' as ProcessorId;
  const epoch = 1 as Epoch;
  const placement = { processorId, epoch, phase, since: ago(since), target: { kind: 'edge', nodeId: 'n', nodeName: 'edge-1' } } as unknown as Placement;
  const agent = { processorId, epoch, lastBeatAt: heard === null ? null : ago(heard) } as AgentSignals;
  return { placement, agent };
}

interface Told {
  beat?: number | null;
  kubernetes?: Observed<NodeCondition>;
  recorded?: Verdict | null;
  recordedAgo?: number;
  flaps?: number;
  occupants?: readonly Occupant[];
  intake?: Intake;
}

function judge({ beat = 3, kubernetes = unknown('not-configured'), recorded = 'healthy', recordedAgo = 3_600, flaps = 1, occupants = [occupant()], intake = covered }: Told) {
  const before: RecordedVerdict | null = recorded === null ? null : { verdict: recorded, since: ago(recordedAgo), flaps };
  const facts: HealthFacts = {
    node, at, intake, policy: testPolicy, occupants: () => occupants,
    signals: { nodeId: node.id, heartbeat: beat === null ? unknown('never-reported') : known(null, ago(beat)), kubernetes, recorded: before },
  };
  return nodeHealth(facts);
}

const says = (ready: NodeCondition['ready'], secondsAgo: number, watch = 0): Observed<NodeCondition> =>
  known({ ready, since: ago(secondsAgo), taints: [], leaseAgeMs: null, architecture: null, gpu: null, site: null }, ago(watch));

const clusters = {
  ready: says('true', 3_600),
  'false 10 s': says('false', 10),
  'false 31 s': says('false', 31),
  unknown: says('unknown', 20),
  'watch down': unknown('watch-down'),
  'watch silent': says('true', 3_600, 16),
  'no cluster': unknown('not-configured'),
  'not in it': unknown('not-in-cluster'),
} as const;

const beats = {
  fresh: { beat: 3 },
  stale: { beat: 61 },
  never: { beat: null },
  empty: { beat: 61, occupants: [] },
  stopping: { beat: 61, occupants: [occupant({ phase: 'stopping' })] },
  starting: { beat: 61, occupants: [occupant({ since: 300, heard: null })] },
  unheard: { beat: 61, occupants: [{ ...occupant({ since: 661, heard: null }) }] },
  'just restarted': { beat: 61, intake: { covered: true, since: ago(30), until: at } },
  blind: { beat: 61, intake: { covered: false, detail: 'down' } },
} as const satisfies Record<string, Told>;

/** Of a node that was healthy: heartbeats down, Kubernetes across. */
const table: Record<keyof typeof beats, Record<keyof typeof clusters, string>> = {
  fresh: { ready: 'healthy heartbeat-fresh', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'detached node-detached', unknown: 'detached node-detached', 'watch down': 'healthy kubernetes-unreachable', 'watch silent': 'healthy kubernetes-unreachable', 'no cluster': 'healthy heartbeat-fresh', 'not in it': 'healthy heartbeat-fresh' },
  stale: { ready: 'silent node-silent', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-dead', unknown: 'lost node-dead', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'lost heartbeat-stale', 'not in it': 'lost heartbeat-stale' },
  never: { ready: 'healthy kubernetes-ready', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-not-ready', unknown: 'unknown not-ready-grace', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'unknown never-reported', 'not in it': 'unknown never-reported' },
  empty: { ready: 'healthy kubernetes-ready', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-not-ready', unknown: 'unknown not-ready-grace', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'unknown beats-not-expected', 'not in it': 'unknown beats-not-expected' },
  stopping: { ready: 'healthy kubernetes-ready', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-not-ready', unknown: 'unknown not-ready-grace', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'unknown beats-not-expected', 'not in it': 'unknown beats-not-expected' },
  starting: { ready: 'healthy kubernetes-ready', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-not-ready', unknown: 'unknown not-ready-grace', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'unknown beats-not-expected', 'not in it': 'unknown beats-not-expected' },
  unheard: { ready: 'silent node-silent', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'lost node-dead', unknown: 'lost node-dead', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'lost heartbeat-stale', 'not in it': 'lost heartbeat-stale' },
  'just restarted': { ready: 'unknown not-yet-stale', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'unknown not-yet-stale', unknown: 'unknown not-yet-stale', 'watch down': 'unknown kubernetes-unreachable', 'watch silent': 'unknown kubernetes-unreachable', 'no cluster': 'unknown not-yet-stale', 'not in it': 'unknown not-yet-stale' },
  blind: { ready: 'unknown intake-down', 'false 10 s': 'unknown not-ready-grace', 'false 31 s': 'unknown intake-down', unknown: 'unknown intake-down', 'watch down': 'unknown intake-down', 'watch silent': 'unknown intake-down', 'no cluster': 'unknown intake-down', 'not in it': 'unknown intake-down' },
};

describe.each(Object.entries(table))('of a healthy node whose heartbeats are: %s', (heartbeat, row) => {
  test.each(Object.entries(row))('Kubernetes says %s: %s', (cluster, expected) => {
    const { verdict, reason, sure } = judge({ ...beats[heartbeat as keyof typeof beats], kubernetes: clusters[cluster as keyof typeof clusters] });
    expect(`${verdict} ${reason}`).toBe(expected);
    expect(sure).toBe(verdict !== 'unknown' && reason !== 'kubernetes-unreachable');
  });
});

describe('a failed verdict', () => {
  const untold = ([
    { kubernetes: clusters['watch down'] }, { kubernetes: clusters['false 10 s'] }, { beat: 61, intake: { covered: false, detail: 'down' } },
    { kubernetes: clusters.unknown, ...beats['just restarted'] }, { ...beats['just restarted'] },
  ] satisfies Told[]).map((told: Told): Told => ({ beat: 61, ...told }));
  it.each(['lost', 'silent', 'detached'] as const)('%s stays while nobody can tell, and is not sure', (recorded) => {
    for (const told of untold) expect(judge({ ...told, recorded })).toMatchObject({ verdict: recorded, sure: false, flaps: 1, since: ago(3_600) });
  });

  it.each<[Verdict, Told]>([
    ['lost', { beat: 3 }], ['lost', { beat: 61, kubernetes: says('true', 5) }], ['lost', { ...beats.empty, kubernetes: clusters.ready }],
    ['detached', { beat: 3, kubernetes: says('true', 5) }], ['detached', { beat: 61, kubernetes: says('true', 5) }],
    ['silent', { beat: 3, kubernetes: clusters.ready }],
  ])('%s ends by a sign of life', (recorded, told) => {
    expect(judge({ ...told, recorded })).toMatchObject({ verdict: 'returning', flaps: 1, since: at });
  });

  it.each(['stopping', 'starting', 'empty'] as const)('silent does not end because nobody has to beat: %s', (why) => {
    expect(judge({ ...beats[why], kubernetes: clusters.ready, recorded: 'silent' })).toMatchObject({ verdict: 'silent', reason: 'beats-not-expected', sure: false });
  });

  it('silent on a node that is empty is tried again after the longest window, or when a person acknowledged it', () => {
    const empty = (told: Told) => judge({ ...beats.empty, kubernetes: clusters.ready, recorded: 'silent', ...told });
    const longest = testPolicy.longestWindow / 1000;
    expect(empty({ recordedAgo: longest - 1 })).toMatchObject({ verdict: 'silent', wakeAt: at + 1_000 });
    expect(empty({ recordedAgo: longest })).toMatchObject({ verdict: 'returning' });
    expect(empty({ flaps: 0 })).toMatchObject({ verdict: 'returning' });
  });

  it('counts once, however it changes its kind', () => {
    expect(judge({ beat: 61 })).toMatchObject({ verdict: 'lost', flaps: 2 });
    expect(judge({ beat: 3, kubernetes: clusters.unknown, recorded: 'lost' })).toMatchObject({ verdict: 'detached', flaps: 1 });
    expect(judge({ beat: 61, recorded: 'unknown' })).toMatchObject({ verdict: 'lost', flaps: 2 });
  });
});

describe('not ready, and still fresh', () => {
  it('proves a writer only by a beat that is younger than the condition', () => {
    expect(judge({ beat: 45, kubernetes: says('unknown', 2) })).toMatchObject({ verdict: 'unknown', reason: 'not-yet-stale', wakeAt: at + 15_001 });
    expect(judge({ beat: 1, kubernetes: says('unknown', 2) })).toMatchObject({ verdict: 'detached' });
  });
});

describe('returning', () => {
  it('ends when it was steady for the window, and only with all that speaks for it', () => {
    expect(judge({ recorded: 'returning', recordedAgo: 59 })).toMatchObject({ verdict: 'returning', wakeAt: at + 1_000 });
    expect(judge({ recorded: 'returning', recordedAgo: 60 })).toMatchObject({ verdict: 'healthy', flaps: 1 });
    expect(judge({ recorded: 'returning', recordedAgo: 60, kubernetes: clusters['watch down'] })).toMatchObject({ verdict: 'returning', sure: false });
  });

  it('is given the threshold while its agents start, and none for a break in their beats', () => {
    const back = says('true', 50);
    expect(judge({ recorded: 'returning', recordedAgo: 50, beat: 600, kubernetes: back })).toMatchObject({ verdict: 'returning' });
    expect(judge({ recorded: 'returning', recordedAgo: 50, beat: 31, kubernetes: back })).toMatchObject({ verdict: 'unknown' });
    expect(judge({ recorded: 'returning', recordedAgo: 61, beat: 600, kubernetes: says('true', 61) })).toMatchObject({ verdict: 'silent' });
  });
});

describe('what was never in good health', () => {
  const never = { beat: null, recorded: null, kubernetes: clusters['false 31 s'] } as const;
  it('is unknown, and not recorded, while nothing is placed there or all of it may still start', () => {
    for (const occupants of [[], [occupant({ since: 600, heard: null })]]) {
      const health = judge({ ...never, occupants });
      expect(health).toMatchObject({ verdict: 'unknown', reason: 'never-reported' });
      expect(isTransition(health, { recorded: null } as HealthFacts['signals'])).toBe(false);
    }
  });

  it('is lost when what is placed there had its time to start', () => {
    expect(judge({ ...never, occupants: [occupant({ since: 601, heard: null })] })).toMatchObject({ verdict: 'lost', reason: 'node-not-ready' });
  });

  it('is not judged while nobody could have heard it', () => {
    expect(judge({ ...never, intake: { covered: false, detail: 'down' }, occupants: [occupant({ since: 601, heard: null })] })).toMatchObject({ verdict: 'unknown', reason: 'intake-down' });
  });
});

test('a decommissioned node is that, whatever it says', () => {
  expect(nodeHealth({ ...({ node: { ...node, decommissioned: true }, at, intake: covered, policy: testPolicy, occupants: () => [], signals: { nodeId: node.id, heartbeat: known(null, at), kubernetes: clusters.ready, recorded: null } } satisfies HealthFacts) })).toMatchObject({ verdict: 'decommissioned', sure: true });
});

test('a silent watch is as good as none after the time that intake has', () => {
  expect(judge({ beat: 61, kubernetes: says('true', 3_600, seconds(15) / 1000) })).toMatchObject({ verdict: 'silent' });
});

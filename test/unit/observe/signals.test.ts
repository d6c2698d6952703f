import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../../src/model/ids.ts';
import { known, unknown } from '../../../src/model/observed.ts';
import type { Placement } from '../../../src/model/placement.ts';
import type { AgentSignals, NodeSignals } from '../../../src/model/snapshot.ts';
import { instant, seconds } from '../../../src/model/time.ts';
import { intakeOf, withNodeBeats, type IntakeFacts } from '../../../src/observe/signals.ts';

const at = instant(1_000_000);
const policy = { intakeFresh: seconds(15) };
const beat = (secondsAgo: number): NodeSignals => ({ nodeId: 'n' as NodeId, heartbeat: known(null, instant(at - secondsAgo * 1000)), kubernetes: unknown('not-configured'), recorded: null });
const silent: NodeSignals = { nodeId: 'n' as NodeId, heartbeat: unknown('never-reported'), kubernetes: unknown('not-configured'), recorded: null };
const recorded = (untilAgo: number) => ({ since: instant(5), until: instant(at - untilAgo * 1000) });

test.each<[string, Partial<IntakeFacts>, object]>([
  ['our receiver is up', { recorded: recorded(1) }, { covered: true, since: 5, until: at - 1000 }],
  ['our receiver is as old as allowed', { recorded: recorded(15) }, { covered: true, since: 5, until: at - 15_000 }],
  ['our receiver is gone', { recorded: recorded(16), nodes: [beat(0)] }, { covered: false }],
  ['our receiver is ahead of this transaction', { recorded: recorded(-3) }, { covered: true, since: 5, until: at }],
  ['none of ours ever ran, and somebody takes beats', { nodes: [silent, beat(10)] }, { covered: true, since: 0, until: at }],
  ['none of ours ever ran, and beats are old', { nodes: [beat(16), silent] }, { covered: false }],
  ['none of ours ever ran, and nobody beats', { nodes: [] }, { covered: false }],
  ['another program receives', { receiver: 'external', recorded: recorded(900), nodes: [silent] }, { covered: true, since: 0, until: at }],
])('%s', (_, facts, expected) => {
  expect(intakeOf({ at, receiver: 'dory', recorded: null, nodes: [], ...facts }, policy)).toMatchObject(expected);
});

describe('where another program takes the heartbeats', () => {
  const placed = (since: number, node = 'n'): Placement => ({ processorId: 'p', epoch: 2, since: instant(at - since * 1000), target: { kind: 'edge', nodeId: node, nodeName: node } }) as unknown as Placement;
  const agent = (lastBeatAt: number | null): AgentSignals => ({ processorId: 'p', epoch: 2, lastBeatAt }) as unknown as AgentSignals;
  test.each<[string, number | null, Placement, number | null]>([
    ['a beat of the node since it was placed is its own', null, placed(60), at - 10_000],
    ['one from before is not', null, placed(9), null],
    ['one of another node is not', null, placed(60, 'm'), null],
    ['what is known of it is kept where it is newer', at - 5_000, placed(60), at - 5_000],
  ])('%s', (_, known, placement, expected) => {
    expect(withNodeBeats([agent(known)], [placement], [beat(10)])).toMatchObject([{ lastBeatAt: expected }]);
  });
});

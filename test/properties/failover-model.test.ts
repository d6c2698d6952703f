import { describe, expect, it } from 'vitest';
import type { Plan } from '../../src/model/plan.ts';
import type { AgentSignals, Snapshot } from '../../src/model/snapshot.ts';
import { plan } from '../../src/plan/plan.ts';
import { sweep, type Swept } from '../simulation/sweep/sweep.ts';
import type { Variant } from '../simulation/sweep/state.ts';

/**
 * The failover of two processors on two nodes, as a machine whose states are all visited: links that fail and are repaired in any order, a
 * process that dies after any step of its cycle, decisions that come late, people who answer or don't. `test/simulation/README.md`
 * says what the model holds.
 */
const tooMany = 120_000;

const variants: readonly Variant[] = (['replace', 'hold', 'manual'] as const).flatMap((onFailure) =>
  (['auto', 'manual'] as const).flatMap((failback) =>
    (['move', 'hold'] as const).flatMap((writerAlive) =>
      (['replace', 'hold'] as const).map((unfenced) => ({ agents: ['fenced', 'deaf'] as const, onFailure, failback, writerAlive, unfenced })))));
const usual: Variant = { agents: ['fenced', 'deaf'], onFailure: 'replace', failback: 'auto', writerAlive: 'move', unfenced: 'replace' };

const title = ({ agents, onFailure, failback, writerAlive, unfenced }: Variant): string =>
  `agents ${agents.join(' and ')}, on failure ${onFailure}, failback ${failback}, living writers ${writerAlive}, unfenced ${unfenced}`;

let visited = 0;

function expectWhole(swept: Swept, least: number): void {
  visited += swept.states;
  expect(swept.broken).toBeNull();
  expect(swept.complete, 'no state is left that was not looked at').toBe(true);
  expect(swept.states).toBeGreaterThan(least);
}

describe('from every state there is a way to rest, and in none are there two writers', () => {
  it.each(variants.map((variant) => [title(variant), variant] as const))('one failure and one slip: %s', (_, variant) => {
    expectWhole(sweep(variant, { faults: 1, slips: 1, states: tooMany }), 1_000);
  });

  it.each(['replace', 'hold'] as const)('agents that obey and know no leases, unfenced %s', (unfenced) => {
    expectWhole(sweep({ ...usual, agents: ['obedient', 'fenced'], unfenced }, { faults: 1, slips: 1, states: tooMany }), 1_000);
  });

  it.each([
    ['both nodes, one after the other and at once, and a step that slips', ['a', 'b'], 1],
    ['a node that is silent, detached or lost, and Git away', ['a', 'a.dory', 'a.api', 'git'], 0],
    ['our own receivers, and our view of the cluster', ['a', 'a.dory', 'intake', 'watch'], 0],
  ] as const)('two failures: %s', (_, kinds, slips) => {
    expectWhole(sweep(usual, { faults: 2, slips, states: tooMany, kinds }), 5_000);
  });

  it('visits more than 150,000 states in all', ({ annotate }) => {
    expect(visited).toBeGreaterThan(150_000);
    return annotate(`${String(visited)} states`);
  });
});

/** Bugs, as a plan that is told, or tells, something else. */
const withAgents = (change: (agent: AgentSignals, snapshot: Snapshot) => AgentSignals) => (snapshot: Snapshot): Plan =>
  plan({ ...snapshot, agents: snapshot.agents.map((agent) => change(agent, snapshot)) });
const withChanges = (change: (planned: Plan) => Plan['changes']) => (snapshot: Snapshot): Plan => {
  const planned = plan(snapshot);
  return { ...planned, changes: change(planned) };
};

const bugs: readonly (readonly [string, (snapshot: Snapshot) => Plan])[] = [
  ['leases are forgotten', withAgents((agent) => ({ ...agent, leaseUntil: null }))],
  ['pods count as gone that are there', withAgents((agent) => (agent.pods.known ? { ...agent, pods: { ...agent.pods, value: 'gone' } } : agent))],
  ['every stop counts as acknowledged', withAgents((agent, { at }) => ({ ...agent, acknowledgedAt: at }))],
  ['an epoch is used twice', withChanges(({ changes }) => changes.map((change) => (change.kind === 'move' && change.after !== null && change.before !== null ? { ...change, after: { ...change.after, epoch: change.before.epoch } } : change)))],
  ['nothing goes home', withChanges(({ changes }) => changes.filter(({ reason }) => reason !== 'node-recovered'))],
  ['a stop is never taken back', withChanges(({ changes }) => changes.filter(({ kind }) => kind !== 'resume'))],
];

it.each(bugs)('a bug is found: %s', (_, planner) => {
  const { broken } = sweep(usual, { faults: 1, slips: 1, states: tooMany }, planner);
  expect(broken).not.toBeNull();
});

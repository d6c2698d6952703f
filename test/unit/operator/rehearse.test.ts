import { describe, expect, test } from 'vitest';
import { elapsed, millis, seconds } from '../../../src/model/time.ts';
import { targetName } from '../../../src/model/placement.ts';
import { known } from '../../../src/model/observed.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import type { Assumptions } from '../../../src/operator/rehearsal.ts';
import { rehearse, type Rehearsed } from '../../../src/operator/rehearse.ts';
import { testPolicy } from '../../support/policy.ts';
import { fleetOf } from './fleet.ts';

const hour = { horizon: seconds(3600) };

function assume(snapshot: Snapshot, names: readonly string[], fields: Partial<Assumptions> = {}): Assumptions {
  const fail = new Set(snapshot.fleet.nodes.filter(({ name }) => names.includes(name)).map(({ id }) => id));
  return { fail, how: 'dead', backAfter: null, agents: 'acknowledge', stopTakes: seconds(10), commitTakes: seconds(2), ...fields };
}

/** `61 s: 2 move heartbeat-stale` */
function story({ begin, commits }: Rehearsed): string[] {
  return commits.map(({ decidedAt, changes }) => {
    const kinds = [...new Set(changes.map(({ kind, reason }) => `${kind} ${reason}`))].join(', ');
    return `${String(Math.floor(elapsed(begin, decidedAt) / 1000))} s: ${String(changes.length)} ${kinds}`;
  });
}

/** With every node Ready in a cluster that is watched. */
function clustered(snapshot: Snapshot): Snapshot {
  const condition = { ready: 'true', since: millis(0), taints: [], leaseAgeMs: null, architecture: null, gpu: null, site: null };
  return { ...snapshot, nodes: snapshot.nodes.map((node) => ({ ...node, kubernetes: known(condition as never, snapshot.at) })) };
}

describe('a rehearsal', () => {
  test('of a dead node is one commit once its heartbeat is stale, and then nothing', () => {
    const snapshot = fleetOf({ 'edge-1': 3, 'edge-2': 2 });
    const rehearsed = rehearse(snapshot, assume(snapshot, ['edge-1']), hour);
    expect(story(rehearsed)).toEqual(['60 s: 3 move heartbeat-stale']);
    expect(rehearsed).toMatchObject({ quiet: true, unplaced: [], due: 0 });
    expect(rehearsed.affected.map(({ after }) => after && targetName(after.target))).toEqual(['managed', 'managed', 'managed']);
    expect(elapsed(rehearsed.commits[0]?.decidedAt ?? rehearsed.begin, rehearsed.commits[0]?.publishedAt ?? rehearsed.begin)).toBe(2_000);
    expect(elapsed(rehearsed.begin, rehearsed.end)).toBeLessThan(hour.horizon);
  });

  test('writes into nothing that it was given', () => {
    const snapshot = fleetOf({ 'edge-1': 2 });
    const before = JSON.stringify(snapshot);
    rehearse(snapshot, assume(snapshot, ['edge-1'], { backAfter: seconds(300) }), hour);
    expect(JSON.stringify(snapshot)).toBe(before);
  });

  test('of a node that comes back goes home in two commits, behind the stop', () => {
    const snapshot = fleetOf({ 'edge-1': 2 });
    const rehearsed = rehearse(snapshot, assume(snapshot, ['edge-1'], { backAfter: seconds(600) }), hour);
    expect(story(rehearsed).map((line) => line.replace(/^\d+ s: /, ''))).toEqual(['2 move heartbeat-stale', '2 stop node-recovered', '2 move node-recovered']);
    const [, stop, home] = rehearsed.commits;
    // The commit of the stop, and the pod's end.
    expect(elapsed(stop?.decidedAt ?? rehearsed.begin, home?.decidedAt ?? rehearsed.begin)).toBe(12_000);
    expect(rehearsed.affected.map(({ after }) => after && targetName(after.target))).toEqual(['edge-1', 'edge-1']);
  });

  test('of agents that never stop says that nothing starts beside them', () => {
    const snapshot = fleetOf({ 'edge-1': 1 });
    const rehearsed = rehearse(snapshot, assume(snapshot, ['edge-1'], { backAfter: seconds(600), agents: 'stuck' }), hour);
    expect(story(rehearsed).at(-1)).toContain('stop node-recovered');
    expect(rehearsed.holds).toHaveLength(1);
  });

  test('places first what a fleet file has not placed, and does not tell it as what follows', () => {
    const snapshot = { ...fleetOf({ 'edge-1': 2 }), placements: [] };
    const rehearsed = rehearse(snapshot, assume(snapshot, ['edge-1']), hour);
    expect(rehearsed.due).toBe(2);
    expect(story(rehearsed)).toEqual(['60 s: 2 move heartbeat-stale']);
  });

  test('knows the fleet guard: most of the fleet at once moves nothing until a person says so', () => {
    const snapshot = fleetOf(Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`edge-${String(i + 1)}`, 1])));
    const assumed = assume(snapshot, ['edge-1', 'edge-2', 'edge-3', 'edge-4', 'edge-5', 'edge-6']);
    const frozen = rehearse(snapshot, assumed, hour);
    expect(frozen.commits).toEqual([]);
    expect(frozen.guard.map(({ state }) => state)).toContain('panic');
    expect(frozen.unplaced).toHaveLength(6);
    expect(frozen.quiet).toBe(true);
    const approved = rehearse({ ...snapshot, approvals: [{ subject: 'guard', by: 'ann', at: snapshot.at, covers: null }] }, assumed, hour);
    expect(approved.commits.flatMap(({ changes }) => changes)).toHaveLength(6);
  });

  test('with a cluster tells a silent node from a dead one: the silent one is stopped first', () => {
    const snapshot = clustered(fleetOf({ 'edge-1': 1, 'edge-2': 1 }));
    const reasons = (how: Assumptions['how']): string[] => story(rehearse(snapshot, assume(snapshot, ['edge-1'], { how }), hour)).map((line) => line.replace(/^\d+ s: /, ''));
    expect(reasons('dead')).toEqual(['1 move node-dead']);
    expect(reasons('silent')[0]).toBe('1 stop node-silent');
    expect(reasons('detached')[0]).toBe('1 stop node-detached');
  });

  test('spends the change budget as the database would count it', () => {
    const policy = { ...testPolicy, budget: { ...testPolicy.budget, floor: 1, share: 0.1 } };
    const snapshot = fleetOf({ 'edge-1': 4, 'edge-2': 2, 'edge-3': 4 }, policy);
    const rehearsed = rehearse(snapshot, assume(snapshot, ['edge-1', 'edge-2'], { backAfter: seconds(600) }), hour);
    // As many as the largest node has may go home within a window; the others after it.
    const stops = rehearsed.commits.filter(({ changes }) => changes[0]?.kind === 'stop');
    expect(stops.map(({ changes }) => changes.length)).toEqual([4, 2]);
    const [first = rehearsed.begin, second = rehearsed.begin] = stops.map(({ decidedAt }) => decidedAt);
    expect(elapsed(first, second)).toBeGreaterThanOrEqual(policy.budget.window);
  });
});

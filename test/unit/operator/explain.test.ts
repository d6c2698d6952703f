import { describe, expect, test } from 'vitest';
import { explanationPage } from '../../../src/cli/explain.ts';
import { Failure } from '../../../src/model/failure.ts';
import { known } from '../../../src/model/observed.ts';
import type { MaintenanceLock, Snapshot } from '../../../src/model/snapshot.ts';
import { after, seconds } from '../../../src/model/time.ts';
import { explainFleet } from '../../../src/operator/explain.ts';
import type { Explanation } from '../../../src/operator/explain-parts.ts';
import { testPolicy } from '../../support/policy.ts';
import { fleetOf } from './fleet.ts';

const explained = (snapshot: Snapshot, subject: string): Explanation => explainFleet(snapshot, { subject });

/** The only processor of a fleet that has one. */
function only(snapshot: Snapshot): string {
  const [spec] = snapshot.fleet.processors;
  if (spec === undefined) throw new Error('a fleet without a processor');
  return spec.id;
}

const late = (age: string): Snapshot => fleetOf({ 'edge-1': 1, 'edge-2': 0 }, testPolicy, { 'edge-1': { verdict: 'healthy', heartbeatAge: age } });

describe('a processor', () => {
  test('that is well says where, why, and that nothing comes', () => {
    const snapshot = fleetOf({ 'edge-1': 1 });
    const { processor, node, next } = explained(snapshot, only(snapshot));
    expect(processor).toMatchObject({ home: 'edge-1', atHome: true, placement: { target: 'edge-1', phase: 'active', epoch: 1 }, planned: null, hold: null, end: null });
    expect(processor?.candidates).toMatchObject([{ target: 'edge-1', role: 'home', chosen: true, reason: null }, { target: 'managed', role: 'refuge', chosen: false, reason: null }]);
    expect(node).toMatchObject({ name: 'edge-1', verdict: 'healthy', heartbeat: { state: 'fresh' }, kubernetes: { state: 'none' } });
    expect(next).toBeNull();
  });

  test('on a node that misses its beats says when it moves, and where to', () => {
    const snapshot = late('43s');
    const { processor, node, next } = explained(snapshot, only(snapshot));
    expect(processor?.planned).toBeNull();
    expect(node).toMatchObject({ verdict: 'healthy', heartbeat: { ageMs: 43_000 } });
    expect(next).toMatchObject({ inMs: 17_001, kind: 'move', to: 'managed', reason: 'heartbeat-stale', count: 1 });
  });

  test('on a lost node says what was decided, that nothing but silence speaks for the end of its pod, and why not its home', () => {
    const snapshot = late('5m');
    const { processor } = explained(snapshot, only(snapshot));
    expect(processor).toMatchObject({ planned: { kind: 'move', to: 'managed', epoch: 2, reason: 'heartbeat-stale' }, end: { passed: true, reason: null } });
    expect(processor?.candidates[0]).toMatchObject({ target: 'edge-1', chosen: false, reason: 'heartbeat-stale' });
  });

  test('has each field of its policy from where it was said last', () => {
    const base = fleetOf({ 'edge-1': 1 });
    const id = only(base);
    const policies = [{ match: `processor/${id}`, policy: { onFailure: 'manual' } as const }, { match: 'template/camera', policy: { onFailure: 'hold', priority: 7 } as const }];
    const { processor } = explained({ ...base, policies }, id);
    const origins = new Map(processor?.policy.map(({ field, value, origin }) => [field, `${value} ${origin}`]));
    expect(origins.get('onFailure')).toBe('manual processor');
    expect(origins.get('priority')).toBe('7 template');
    expect(origins.get('failback')).toBe('auto default');
  });

  test('that policy holds says which command lets it go', () => {
    const base = late('5m');
    const id = only(base);
    const { processor } = explained({ ...base, policies: [{ match: 'template/camera', policy: { onFailure: 'manual' } }] }, id);
    expect(processor).toMatchObject({ planned: null, hold: { reason: 'policy-manual', needsPerson: true, mend: `dory approve move/${id} --reason …`, withheld: null } });
  });

  test('under a lock says who holds it, and what would have been done', () => {
    const base = late('5m');
    const node = base.fleet.nodes.find(({ name }) => name === 'edge-1');
    const lock: MaintenanceLock = { id: 1, scope: 'node', subject: node?.id ?? '', owner: 'ann', reason: 'new disk', until: after(base.at, seconds(600)), endedAt: null };
    const { processor, node: told } = explained({ ...base, locks: [lock] }, only(base));
    expect(processor?.locks).toMatchObject([{ name: 'node/edge-1', owner: 'ann', reason: 'new disk' }]);
    expect(told?.locks).toHaveLength(1);
    expect(processor?.hold).toMatchObject({ reason: 'locked', withheld: 'move to managed' });
  });

  test('says what is known of its agent, its lease and its pods', () => {
    const base = late('5m');
    const [placement] = base.placements;
    if (placement === undefined) throw new Error('nothing is placed');
    const ago = (s: number): Snapshot['at'] => after(base.at, seconds(0 - s));
    const agents = [{ processorId: placement.processorId, epoch: placement.epoch, lastBeatAt: ago(300), leaseUntil: ago(-20), publishedAt: ago(3600), acknowledgedAt: null, confirmed: null, pods: known('present' as const, base.at) }];
    const { processor, next } = explained({ ...base, agents }, placement.processorId);
    expect(processor?.agent).toEqual({ lastBeatMs: 300_000, leaseMs: 20_000, publishedMs: 3_600_000, acknowledgedMs: null, confirmedBy: null, pods: 'present' });
    expect(processor).toMatchObject({ hold: { reason: 'waiting-for-lease' }, end: { passed: false, reason: 'waiting-for-lease' } });
    // The lease, its template's stop grace of 30 s, and the margin.
    expect(next).toMatchObject({ inMs: 60_001, kind: 'move' });
  });
});

describe('a node', () => {
  test('that failed counts what is decided and what is held', () => {
    const snapshot = fleetOf({ 'edge-1': 3 }, testPolicy, { 'edge-1': { verdict: 'healthy', heartbeatAge: '5m' } });
    const { node, processor } = explained(snapshot, 'edge-1');
    expect(processor).toBeNull();
    expect(node).toMatchObject({ verdict: 'lost', site: 'north', processors: { placed: 3, stopping: 0, home: 3 }, planned: [{ kind: 'move', reason: 'heartbeat-stale', count: 3 }], holds: [] });
  });

  test('that comes back says how long it must be steady, and when its processors go home', () => {
    const snapshot = fleetOf({ 'edge-1': 1 }, testPolicy, { 'edge-1': { verdict: 'returning', verdictAge: '20s' } });
    const away = { ...snapshot, placements: snapshot.placements.map((placement) => ({ ...placement, target: { kind: 'managed' } as const, reason: 'heartbeat-stale' as const })) };
    const { node, next } = explained(away, 'edge-1');
    expect(node).toMatchObject({ verdict: 'returning', windowMs: 60_000 });
    expect(next).toMatchObject({ inMs: 40_000, kind: 'stop', reason: 'node-recovered', count: 1 });
    expect(explained(away, only(away)).next).toEqual(next);
  });
});

describe('what is asked for', () => {
  test.each([
    ['nobody', ['edge-1']],
    ['', ['edge-1', 'edge-2']],
  ])('is said to be unknown or ambiguous: %s', (subject, nodes) => {
    expect(() => explained(fleetOf(Object.fromEntries(nodes.map((name) => [name, 2]))), subject)).toThrow(Failure);
  });

  test('is found by id, by the beginning of the id, and by the name of its file', () => {
    const snapshot = fleetOf({ 'edge-1': 1 });
    const id = only(snapshot);
    const { processor } = explained(snapshot, id.slice(0, 8));
    expect(processor?.id).toBe(id);
    expect(explained(snapshot, processor?.name ?? '').processor?.id).toBe(id);
    expect(explained(snapshot, `processor/${id}`).processor?.id).toBe(id);
  });
});

test('the page holds every line in its column, and nothing that a terminal would obey', () => {
  const snapshot = late('5m');
  const evil = { ...snapshot, fleet: { ...snapshot.fleet, nodes: snapshot.fleet.nodes.map((node) => ({ ...node, name: `${node.name}\u001b[31m` as typeof node.name })) } };
  const page = explanationPage(explained(evil, only(evil)), 'wide', (_color, text) => text);
  expect(page).not.toContain('\u001b');
  const [first = ''] = page.split('\n');
  const column = first.search(/camera/);
  expect(page.trimEnd().split('\n').every((line) => line.slice(0, column).endsWith(' ') && line[column] !== ' ')).toBe(true);
});

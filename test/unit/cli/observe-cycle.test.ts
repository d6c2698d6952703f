import { expect, test } from 'vitest';
import { observeCycle, observeFailure } from '../../../src/cli/observe-cycle.ts';
import type { CycleReport } from '../../../src/cycle.ts';
import { Failure } from '../../../src/model/failure.ts';
import type { RevisionId } from '../../../src/model/ids.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { after, seconds } from '../../../src/model/time.ts';
import { plan } from '../../../src/plan/plan.ts';
import { createMetrics, forgetFleet, type Metrics } from '../../../src/platform/metrics.ts';
import { testPolicy } from '../../support/policy.ts';
import { fleetOf } from '../operator/fleet.ts';

function reportOf(snapshot: Snapshot, publication: CycleReport['publication'] = null): CycleReport {
  return { snapshot, planned: plan(snapshot), decision: { revision: null, wrote: false }, publication };
}

/** `name{label="x"}` → value, of what is not zero. */
async function values(metrics: Metrics): Promise<Readonly<Record<string, number>>> {
  const lines = (await metrics.registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))] as const).filter(([, value]) => value !== 0));
}

test('a cycle shows the fleet, the guard, what people told, and how old heartbeats are', async () => {
  const metrics = createMetrics();
  const base = fleetOf({ 'edge-1': 2, 'edge-2': 1 }, testPolicy, { 'edge-1': { verdict: 'healthy', heartbeatAge: '5m' }, 'edge-2': { verdict: 'healthy', heartbeatAge: '12s' } });
  const lock = { id: 1, scope: 'template' as const, subject: 'other', owner: 'ann', reason: 'x', until: after(base.at, seconds(60)), endedAt: null };
  const snapshot = { ...base, spent: 7, locks: [lock, { ...lock, id: 2, endedAt: base.at }] };
  observeCycle(metrics, base.at, reportOf(snapshot));
  expect(await values(metrics)).toMatchObject({
    dory_applications_total: 3,
    dory_nodes_total: 2,
    'dory_edge_nodes{verdict="lost"}': 1,
    'dory_edge_nodes{verdict="healthy"}': 1,
    'dory_moves_total{reason="heartbeat-stale"}': 2,
    dory_unfenced_moves_total: 2,
    dory_scheduling_decisions_total: 2,
    'dory_guard_state{state="calm"}': 1,
    dory_change_budget_spent: 7,
    'dory_maintenance_locks{scope="template"}': 1,
    dory_heartbeat_lag_seconds: 12,
    dory_heartbeat_intake_covered: 1,
  });
  expect(await values(metrics)).not.toHaveProperty('dory_paused');
});

test('what waits for a person is counted, with its reason', async () => {
  const metrics = createMetrics();
  const base = fleetOf({ 'edge-1': 2 }, testPolicy, { 'edge-1': { verdict: 'healthy', heartbeatAge: '5m' } });
  observeCycle(metrics, base.at, reportOf({ ...base, pause: { paused: { by: 'ann', reason: 'x', since: base.at }, resumedAt: null } }));
  expect(await values(metrics)).toMatchObject({ dory_paused: 1, dory_waiting_for_person: 2, 'dory_held_processors{reason="paused"}': 2 });
});

test('a push tells how long its decisions and its signals waited', async () => {
  const metrics = createMetrics();
  const base = fleetOf({ 'edge-1': 1 });
  const ago = (s: number): Snapshot['at'] => after(base.at, seconds(0 - s));
  observeCycle(metrics, base.at, reportOf(base, { kind: 'pushed', commit: 'c', before: null, files: 1, revision: 1 as RevisionId, waited: [ago(2)], detected: [ago(3)] }));
  expect(await values(metrics)).toMatchObject({ dory_commit_seconds_sum: 2, dory_commit_seconds_count: 1, dory_detection_commit_seconds_sum: 3, dory_detection_commit_seconds_count: 1 });
});

test('an instance that leads no more forgets the fleet, and keeps what it counted', async () => {
  const metrics = createMetrics();
  const base = fleetOf({ 'edge-1': 2 }, testPolicy, { 'edge-1': { verdict: 'healthy', heartbeatAge: '5m' } });
  observeCycle(metrics, base.at, reportOf(base));
  forgetFleet(metrics);
  const left = await values(metrics);
  expect(Object.keys(left).filter((name) => /^dory_(?:applications|nodes|edge|held|guard|heartbeat_lag|waiting|paused)/.test(name))).toEqual([]);
  expect(left['dory_moves_total{reason="heartbeat-stale"}']).toBe(2);
});

test('a failure is counted by its code, and by the part that it speaks of', async () => {
  const metrics = createMetrics();
  observeCycle(metrics, fleetOf({}).at, reportOf(fleetOf({ 'edge-1': 1 })));
  observeFailure(metrics, new Failure('database-unreachable', 'away'));
  const seen = await values(metrics);
  expect(seen).toMatchObject({ 'dory_reconciliation_errors_total{error_type="database-unreachable"}': 1, 'dory_database_errors_total{error_type="database-unreachable"}': 1 });
  expect(seen).not.toHaveProperty('dory_component_healthy{component="database"}');
});

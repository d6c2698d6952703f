import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { instant } from '../../../src/model/time.ts';
import type { Snapshot } from '../../../src/model/snapshot.ts';
import { createObserver, type Observer, type ObserveSettings } from '../../../src/observe/database.ts';
import { uuidOf } from '../../../src/observe/fleet-file-read.ts';
import { parseFleetFile } from '../../../src/observe/fleet-file.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';
import { seedExampleFleet, seedFleetFile, seedPlacementsAtHome, seedSyntheticFleet } from '../../support/seed-database.ts';
import { testPolicy } from '../../support/policy.ts';

const settings: ObserveSettings = {
  policy: testPolicy,
  policies: [],
  defaultNamespace: 'default',
  receiver: 'dory',
  siteColumn: null,
};

const small = `
templates:
  - { slug: app, version: "1", image: a/b:1, runtimeConfig: { env_vars: { BROKER_PASSWORD: not-a-real-password } } }
sensors: [{ name: cam, type: camera, connectionConfig: { fps: 5, password: not-a-real-password } }]
nodes:
  - { name: edge-1, failoverTarget: edge-2, apps: [{ template: app, failoverEnabled: false }] }
  - { name: edge-2 }
processors:
  - { name: p1, template: app, node: edge-1, sensor: cam }
  - { name: p2, template: app, node: managed }
`;
const [p1, p2, edge1, edge2] = [uuidOf('processor', 'p1'), uuidOf('processor', 'p2'), uuidOf('node', '/edge-1'), uuidOf('node', '/edge-2')];

let database: TestDatabase;
let observer: Observer;
beforeAll(async () => void (database = await testDatabase()));
afterAll(() => database.close());
beforeEach(async () => {
  await sql(`truncate processors, processor_templates, processor_template_versions, sensors, edge_nodes, edge_node_apps, edge_node_events, dory.revisions, dory.workloads, dory.changes,
    dory.placements, dory.retired_epochs, dory.node_verdicts, dory.beats, dory.intake, dory.stop_confirmations, dory.approvals cascade`);
  observer = createObserver(database.pool, settings);
});
const sql = (text: string, ...values: unknown[]) => database.pool.query<Record<string, unknown>>(text, values);

/** A committed revision, so that placements and changes can refer to it. */
const revision = (id: number) => sql("insert into dory.revisions (id, decided_at, leader_epoch, trigger, inputs_digest, renderer) values ($1, now(), 1, 'first-placement', '', 'test')", id);
async function placeAtHome(): Promise<Snapshot> {
  const { fleet } = await observer.observe();
  await seedPlacementsAtHome(database.pool, new Map(fleet.processors.map(({ id, digest }) => [id, digest])));
  return observer.observe();
}

test('a synthetic fleet of any size has no problem', async () => {
  await seedSyntheticFleet(database.pool, { processors: 250 });
  const { fleet, nodes } = await observer.observe();
  expect([fleet.processors.length, fleet.quarantined.length, fleet.workloads.length, nodes.length]).toEqual([250, 0, 20, 25]);
  expect(JSON.stringify(fleet)).not.toContain('not-a-real-password');
});

test('an empty database is an empty fleet', async () => {
  const snapshot = await observer.observe();
  expect(snapshot.fleet).toMatchObject({ processors: [], quarantined: [], nodes: [], workloads: [], switches: [] });
  expect(snapshot).toMatchObject({ placements: [], nodes: [], agents: [], retired: [], policies: [], approvals: [], locks: [], pause: { paused: null, resumedAt: null }, guard: null, spent: 0, intake: { covered: false } });
});

test('the database brings the same fleet as the file that it was filled from', async () => {
  await seedFleetFile(database.pool, small);
  const fromFile = parseFleetFile(small, settings).fleet;
  expect((await observer.observe()).fleet).toEqual(fromFile);
});

test('the example fleet has no problem in a real database, and none of its credentials is in the snapshot', async () => {
  await seedExampleFleet(database.pool);
  const snapshot = await observer.observe();
  expect(snapshot.fleet.quarantined).toEqual([]);
  expect(snapshot.fleet.processors).toHaveLength(26);
  expect(JSON.stringify(snapshot)).not.toMatch(/not-(?:a-)?real/);
});

describe('a second look', () => {
  beforeEach(() => seedFleetFile(database.pool, small));

  test.each([
    ['nothing happened', 'select 1'],
    ["columns that are Dory's own were written", "update processors set status = 'failover', health_status = '{\"a\":1}', last_health_check_at = now(), consecutive_failures = 3, k8s_pod_name = 'x', node_ip = '10.0.0.1', updated_at = now()"],
    ['a node fell silent', "update edge_nodes set status = 'offline', last_heartbeat_at = now() - interval '1 hour'"],
    ['an app failed over', "update edge_node_apps set status = 'failover', current_processor_id = (select id from processors limit 1)"],
    ['an unused version was added', "insert into processor_template_versions (processor_template_id, image_uri, version) select id, 'x', '2' from processor_templates"],
    ['a password was rotated', `update sensors set connection_config = connection_config || '{"password":"another"}'`],
  ])('finds the very same fleet when %s', async (_, change) => {
    const { fleet } = await observer.observe();
    await sql(change);
    expect((await observer.observe()).fleet).toBe(fleet);
  });

  test.each([
    ['a processor ends', "update processors set status = 'terminated' where node_type = 'edge'"],
    ['a processor fails', "update processors set status = 'failed' where node_type = 'edge'"],
    ['a processor is deleted', "delete from processors where node_type = 'edge'"],
    ['a processor moves home', "update processors set node_type = 'managed'"],
    ['a template is renamed', "update processor_templates set name = 'Other'"],
    ['a version changes', "update processor_template_versions set version = '2'"],
    ['a version is no longer active', 'update processor_template_versions set is_active = false'],
    ['a sensor changes', `update sensors set connection_config = '{"fps":6}'`],
    ['a node is decommissioned', "update edge_nodes set status = 'decommissioned'"],
    ['failover is switched off for a node', 'update edge_nodes set failover_enabled = false'],
    ['failover is switched on for an app', 'update edge_node_apps set failover_enabled = null'],
  ])('finds another fleet when %s', async (_, change) => {
    const { fleet } = await observer.observe();
    await sql(change);
    const next = (await observer.observe()).fleet;
    expect(next.digest).not.toBe(fleet.digest);
    expect((await createObserver(database.pool, settings).observe()).fleet).toEqual(next);
  });

  test('reads of placements what decisions changed, and all of them where something else did', async () => {
    await seedSyntheticFleet(database.pool, { processors: 50 });
    const first = await placeAtHome();
    const [moved, removed, kept] = first.placements.map(({ processorId }) => processorId) as string[] as [string, string, string];
    await revision(2);
    await sql("update dory.placements set epoch = 2, target_kind = 'managed', target_node_id = null, target_node_name = null, revision = 2 where processor_id = $1", moved);
    await sql('delete from dory.placements where processor_id = $1', removed);
    await sql(
      `insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, placement) select id, 2, 'move', 'node-dead', '{}', '[]', null from unnest($1::uuid[]) as id`,
      [moved, removed],
    );
    // Told of by nothing: only who reads all of them can see it.
    await sql("update dory.placements set reason = 'home-changed' where processor_id = $1", kept);
    await sql('update dory.state set version = version + 1, revision = 2');

    const second = (await observer.observe()).placements;
    expect(second.map(({ processorId }) => processorId)).toEqual(first.placements.map(({ processorId }) => processorId).filter((id) => id !== removed));
    expect(second.filter((placement) => !first.placements.includes(placement))).toMatchObject([{ processorId: moved, epoch: 2, target: { kind: 'managed' }, revision: 2 }]);

    await sql('update dory.state set version = version + 1');
    expect((await observer.observe()).placements).toEqual((await createObserver(database.pool, settings).observe()).placements);
    expect((await observer.observe()).placements.find(({ processorId }) => processorId === kept)).toMatchObject({ reason: 'home-changed' });
  });

  test('finds the very same placements until something was decided', async () => {
    const first = await placeAtHome();
    expect(first.placements).toHaveLength(2);
    expect((await observer.observe()).placements).toBe(first.placements);
    await sql('update dory.placements set epoch = 2 where processor_id = $1', p2);
    await sql('update dory.state set version = version + 1');
    const second = await observer.observe();
    expect(second.fleet).toBe(first.fleet);
    expect(second.placements.map(({ processorId, epoch }) => [processorId, epoch])).toEqual([[p1, 1], [p2, 2]].sort());
  });
});

test('placements are read with targets, moments and reasons', async () => {
  await seedFleetFile(database.pool, small);
  const { placements, fleet } = await placeAtHome();
  const { rows } = await sql('select (extract(epoch from since) * 1000)::float8 as since from dory.placements limit 1');
  const common = { epoch: 1, phase: 'active', reason: 'first-placement', since: rows[0]?.['since'], revision: 1 };
  const digest = (id: string) => fleet.processors.find((spec) => spec.id === id)?.digest;
  expect(placements.find(({ processorId }) => processorId === p1)).toEqual({ ...common, processorId: p1, target: { kind: 'edge', nodeId: edge1, nodeName: 'edge-1' }, specDigest: digest(p1) });
  expect(placements.find(({ processorId }) => processorId === p2)).toEqual({ ...common, processorId: p2, target: { kind: 'managed' }, specDigest: digest(p2) });
});

describe('signs of life', () => {
  beforeEach(() => seedFleetFile(database.pool, small));
  const beatOf = (snapshot: Snapshot, node: string) => snapshot.nodes.find(({ nodeId }) => nodeId === node)?.heartbeat;

  test('are the newest heartbeat, by the database clock, and never from the future', async () => {
    await sql("update edge_nodes set last_heartbeat_at = timestamptz '2026-01-01 00:00:00.250Z' where id = $1", edge1);
    const first = await observer.observe();
    expect(beatOf(first, edge1)).toEqual({ known: true, value: null, at: Date.UTC(2026, 0, 1, 0, 0, 0, 250) });
    expect(beatOf(first, edge2)).toEqual({ known: false, because: 'never-reported' });
    for (const moment of ["now() + interval '1 hour'", "timestamptz 'infinity'"]) {
      await sql(`update edge_nodes set last_heartbeat_at = ${moment} where id = $1`, edge1);
      const later = await observer.observe();
      expect(beatOf(later, edge1)).toEqual({ known: true, value: null, at: later.at });
    }
  });

  test('come with the recorded verdict', async () => {
    await sql("insert into dory.node_verdicts values ($1, 'lost', timestamptz '2026-01-01Z', 'heartbeat-stale', '{}')", edge2);
    expect((await observer.observe()).nodes.find(({ nodeId }) => nodeId === edge2)?.recorded).toEqual({ verdict: 'lost', since: Date.UTC(2026, 0, 1), flaps: 0 });
  });

  test('count while a receiver reports', async () => {
    await sql("insert into dory.intake (covered_since, covered_until) values (timestamptz '2026-01-01Z', now())");
    expect((await observer.observe()).intake).toMatchObject({ covered: true, since: Date.UTC(2026, 0, 1) });
    await sql("update dory.intake set covered_until = now() - interval '1 minute'");
    expect((await observer.observe()).intake.covered).toBe(false);
    expect((await createObserver(database.pool, { ...settings, receiver: 'external' }).observe()).intake.covered).toBe(true);
  });

  test('without a receiver of ours, beats themselves are the proof', async () => {
    expect((await observer.observe()).intake.covered).toBe(false);
    await sql('update edge_nodes set last_heartbeat_at = now() where id = $1', edge1);
    expect((await observer.observe()).intake).toMatchObject({ covered: true, since: 0 });
  });
});

test('a stop has the signals of its own epoch only', async () => {
  await seedFleetFile(database.pool, small);
  await placeAtHome();
  await sql("update dory.placements set phase = 'stopping', epoch = 2");
  await sql('update dory.state set version = version + 1');
  await sql("update dory.revisions set committed_at = timestamptz '2026-01-01Z'");
  await sql("insert into dory.beats (processor_id, epoch, last_beat_at, stop_acknowledged_at) values ($1, 2, '2026-01-02Z', '2026-01-03Z'), ($2, 1, '2026-01-02Z', '2026-01-03Z')", p1, p2);
  await sql("insert into dory.stop_confirmations (processor_id, epoch, confirmed_by, confirmed_at) values ($1, 2, 'ann', '2026-01-04Z'), ($2, 1, 'ann', '2026-01-04Z')", p1, p2);
  // Signals arrive without a decision.
  await observer.observe();
  const { agents } = await observer.observe();
  const day = (n: number): number => instant(Date.UTC(2026, 0, n));
  expect(agents.find(({ processorId }) => processorId === p1)).toEqual({ processorId: p1, epoch: 2, lastBeatAt: day(2), leaseUntil: null, publishedAt: day(1), acknowledgedAt: day(3), confirmed: { at: day(4), by: 'ann' }, pods: { known: false, because: 'not-configured' } });
  expect(agents.find(({ processorId }) => processorId === p2)).toEqual({ processorId: p2, epoch: 2, lastBeatAt: null, leaseUntil: null, publishedAt: day(1), acknowledgedAt: null, confirmed: null, pods: { known: false, because: 'not-configured' } });
});

test('the word that a node has no power proves the end of what is there, until it beats', async () => {
  await seedFleetFile(database.pool, small);
  await placeAtHome();
  await sql("update dory.placements set phase = 'stopping'");
  await sql('update dory.state set version = version + 1');
  await sql("insert into dory.power_offs (node_id, node_name, confirmed_by, reason, confirmed_at) values ($1, 'edge-1', 'ann', 'the fuse', '2026-01-04Z')", edge1);
  const confirmed = async (): Promise<unknown> => {
    const { agents, at } = await observer.observe();
    return agents.map(({ processorId, confirmed: said }) => [processorId === p1 ? 'p1' : 'p2', said === null ? null : [said.by, said.at === at]]).sort();
  };
  expect(await confirmed()).toEqual([['p1', ['ann', true]], ['p2', null]]);
  await sql("update edge_nodes set last_heartbeat_at = '2026-01-03Z' where id = $1", edge1);
  expect(await confirmed()).toEqual([['p1', ['ann', true]], ['p2', null]]);
  await sql("insert into dory.stop_confirmations (processor_id, epoch, confirmed_by, confirmed_at) values ($1, 1, 'bob', '2026-01-04Z')", p1);
  expect(await confirmed()).toEqual([['p1', ['bob', false]], ['p2', null]]);
  await sql('delete from dory.stop_confirmations');
  await sql("update edge_nodes set last_heartbeat_at = '2026-01-05Z' where id = $1", edge1);
  expect(await confirmed()).toEqual([['p1', null], ['p2', null]]);
  await sql('delete from dory.power_offs');
});

test('what was removed is known by its last placement once it is desired again', async () => {
  await seedFleetFile(database.pool, small);
  await sql(
    `insert into dory.retired_epochs values ($1, 5, null, null, null), ($2, 7, 'edge', $3, 'edge-9'), (gen_random_uuid(), 9, 'managed', null, null)`,
    p1, p2, edge1,
  );
  expect((await observer.observe()).retired).toEqual([
    { processorId: p1, epoch: 5, target: null },
    { processorId: p2, epoch: 7, target: { kind: 'edge', nodeId: edge1, nodeName: 'edge-9' } },
  ].sort((a, b) => (a.processorId < b.processorId ? -1 : 1)));
  await placeAtHome();
  expect((await observer.observe()).retired).toEqual([]);
});

test('approvals hold until they expire', async () => {
  await sql("insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'ann', 'x', now() + interval '1 hour'), ('old', 'ann', 'x', now())");
  expect((await observer.observe()).approvals).toEqual([{ subject: 'empty-result', by: 'ann', at: expect.any(Number) as number, covers: null }]);
});

test('a processor that turns bad keeps what it was last rendered from', async () => {
  await seedFleetFile(database.pool, small);
  const { fleet } = await observer.observe();
  const spec = fleet.processors.find(({ id }) => id === p1)!;
  const [workload] = fleet.workloads;
  await revision(1);
  await revision(2);
  await revision(3);
  await sql('insert into dory.workloads values ($1, $2)', workload?.digest, JSON.stringify(workload));
  const change = (id: number, kind: string, namespace: string | null) =>
    sql("insert into dory.changes (processor_id, revision, kind, reason, evidence, rejected, spec, workload) values ($1, $2, $3, 'first-placement', '{}', '[]', $4, $5)", p1, id, kind, namespace === null ? null : JSON.stringify({ ...spec, namespace }), namespace === null ? null : workload?.digest);
  await change(1, 'place', 'old');
  await change(2, 'update', 'new');
  await change(3, 'remove', null);
  await sql(`update processor_template_versions set runtime_config_template = '{"resources":{"cpu_request":"5OOm"}}'`);
  const next = await observer.observe();
  expect(next.fleet.processors).toEqual([]);
  const quarantined = next.fleet.quarantined.find(({ id }) => id === p1);
  expect(quarantined?.problems).toEqual([expect.objectContaining({ code: 'invalid-quantity', value: '5OOm' })]);
  expect(quarantined?.lastGood).toEqual({ ...spec, namespace: 'new' });
  expect(next.fleet.quarantined.find(({ id }) => id === p2)?.lastGood).toBeNull();
  expect(next.fleet.workloads).toEqual([workload]);
});

test('all facts are of one moment', async () => {
  await seedFleetFile(database.pool, small);
  const client = await database.pool.connect();
  await client.query('begin; lock table dory.retired_epochs in access exclusive mode');
  const looking = observer.observe();
  // The look has taken its snapshot, and waits at the last table but one, while a node is decommissioned.
  await expect.poll(async () => (await sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()")).rows.length).toBe(1);
  await client.query("update edge_nodes set status = 'decommissioned', last_heartbeat_at = now() + interval '1 day'; commit");
  client.release();
  const snapshot = await looking;
  expect(snapshot.fleet.nodes.some(({ decommissioned }) => decommissioned)).toBe(false);
  expect(snapshot.nodes.every(({ heartbeat }) => !heartbeat.known)).toBe(true);
  expect((await observer.observe()).fleet.nodes.every(({ decommissioned }) => decommissioned)).toBe(true);
});

test('a look leaves no transaction open', async () => {
  await seedFleetFile(database.pool, small);
  await observer.observe();
  expect((await sql("select 1 from pg_stat_activity where state like 'idle in%' and datname = current_database()")).rows).toEqual([]);
});

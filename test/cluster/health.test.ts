import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createFeedback, type Feedback } from '../../src/apply/feedback.ts';
import { seconds } from '../../src/model/time.ts';
import type { Cluster } from '../../src/observe/cluster.ts';
import { systemClock } from '../../src/platform/clock.ts';
import type { Lease } from '../../src/platform/leadership.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { smallNodes, startOwnControlPlane, syncProcessors, watchedCluster, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { seedSmallFleet, testFleet, type TestFleet } from '../support/fleet.ts';
import { testDatabase } from '../support/postgres.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const c1 = '00000000-0000-4000-8000-0000000000c1';

describe.skipIf(typeof programs === 'string')('what the cluster shows of roll-outs, with the rights of our own ServiceAccount', () => {
  let server: OwnControlPlane;
  let cluster: Cluster;
  let fleet: TestFleet;
  let feedback: Feedback;
  let lease: Lease | null = null;
  const metrics = createMetrics();
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({
      programs, with: ['controllers', 'scheduler', 'nodes'],
      nodes: smallNodes,
    });
    closes.push(() => server.stop());
    const database = await testDatabase();
    closes.push(() => database.close());
    const folder = await temporaryFolder();
    closes.push(() => folder.remove());
    cluster = watchedCluster(server.own, { member: (id) => { feedback.touch(id); }, fresh: seconds(6) });
    closes.push(() => cluster.close());
    await seedSmallFleet(database.pool);
    fleet = await testFleet({ pool: database.pool, url: database.url, folder: folder.path, cluster });
    closes.push(() => fleet.close());
    feedback = createFeedback({ pool: database.pool, clock: systemClock, log: silentLog, metrics, lease: () => lease, policy: { progressDeadline: seconds(600), startGrace: seconds(2), steadyAfterCrash: seconds(1) }, live: (id) => cluster.live(id) });
    const stop = new AbortController();
    cluster.start();
    expect(await cluster.synced(seconds(60))).toBe(true);
    await until(() => ['edge-1', 'edge-2'].every((name) => cluster.freshest(name as never)?.ready === 'true'), 'both nodes are ready');
    const ended = feedback.run(stop.signal);
    closes.push(async () => {
      stop.abort();
      await ended;
    });
    await lead();
    await until(async () => (await database.pool.query('select from dory.state where rollouts_since is not null')).rowCount === 1, 'roll-outs are looked at');
    await release();
  });
  afterAll(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const lead = async (): Promise<void> => {
    const { rows } = await fleet.pool.query<{ epoch: string }>(`update dory.leader set epoch = epoch + 1, holder = 'test', expires_at = now() + interval '1 hour' returning epoch`);
    lease = { holder: 'test', epoch: Number(rows[0]?.epoch) };
  };
  const release = async (): Promise<void> => {
    lease = null;
    await fleet.pool.query('update dory.leader set holder = null, expires_at = null');
  };
  /** A cycle, its commit on the cluster, and what comes of it looked at. */
  const rollOut = async (): Promise<void> => {
    await release();
    await fleet.beat('edge-1', 'edge-2');
    await fleet.once();
    await lead();
    await syncProcessors(server, (...args) => fleet.git(...args));
  };
  const rollouts = async (): Promise<string> =>
    (await fleet.pool.query<{ line: string }>(
      `select concat_ws(' ', right(pl.processor_id::text, 2), ro.state, ro.reason) as line from dory.placements pl left join dory.rollouts ro on ro.processor_id = pl.processor_id and ro.revision = pl.revision order by 1`)).rows.map(({ line }) => line).join(', ');
  const rolloutsAre = (expected: string): Promise<void> => until(async () => (await rollouts()) === expected, `roll-outs are: ${expected}`);
  const podOf = async (): Promise<string> => (await server.kubectl('get', 'pods', '-l', `processor-id=${c1}`, '-o', 'jsonpath={.items[0].metadata.name}')).trim();
  const setStatus = async (ready: boolean, container: object): Promise<void> => {
    const conditions = [{ type: 'Ready', status: ready ? 'True' : 'False' }, { type: 'PodScheduled', status: 'True' }];
    await server.send('PATCH', `/api/v1/namespaces/default/pods/${await podOf()}/status`, { status: { phase: 'Running', conditions, containerStatuses: [{ name: 'processor', image: 'x', imageID: '', ready, restartCount: 0, ...container }] } });
  };
  const row = async () => (await fleet.pool.query<{ status: string; pod: string; health: Record<string, unknown> }>(`select status, k8s_pod_name as pod, health_status as health from processors where id = $1`, [c1])).rows[0];
  const revisions = async (): Promise<unknown> => (await fleet.pool.query(`select id::int, settled, live_at > committed_at as live from dory.revisions order by id`)).rows;

  test('all of the first commit runs, and it is known how long that took', async () => {
    await rollOut();
    await rolloutsAre('c1 live, c2 live, c3 live');
    expect(await row()).toMatchObject({ status: 'running', pod: await podOf(), health: { status: 'healthy', source: 'kubernetes' } });
    await until(async () => JSON.stringify(await revisions()) === JSON.stringify([{ id: 1, settled: true, live: true }]), 'the revision is live');
    expect((await metrics.liveSeconds.get()).values.find(({ metricName }) => metricName?.endsWith('_count'))?.value).toBe(1);
    expect(cluster.utilization().get('edge-1')).toBeGreaterThan(0);
  });

  test.each([
    ['image-pull', { state: { waiting: { reason: 'ImagePullBackOff', message: 'Back-off pulling image "camera:2"' } } }],
    ['container-error', { state: { waiting: { reason: 'CreateContainerConfigError', message: 'secret "dory-env-1" not found' } } }],
    ['crash-loop', { restartCount: 3, state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s restarting failed container' } }, lastState: { terminated: { exitCode: 1, reason: 'Error', message: 'of its log' } } }],
    ['out-of-memory', { restartCount: 2, state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s restarting failed container' } }, lastState: { terminated: { exitCode: 137, reason: 'OOMKilled' } } }],
  ])('%s: told in the words of the cluster, deletes nothing, and is over when it is', async (reason, container) => {
    await setStatus(false, container);
    await rolloutsAre(`c1 failed ${reason}, c2 live, c3 live`);
    expect(await row()).toMatchObject({ status: 'running', health: { status: reason, healthy: false, message: expect.stringContaining(container.state.waiting.message) as string } });
    const pod = await podOf();
    await rollOut();
    expect(await podOf()).toBe(pod);
    expect(await revisions()).toHaveLength(1);
    await setStatus(true, { state: { running: { startedAt: '2026-01-01T00:00:00Z' } } });
    await rolloutsAre('c1 live, c2 live, c3 live');
    expect(await row()).toMatchObject({ health: { status: 'healthy' } });
  });

  test('a volume that is not there is told in the words of the event that says so', async () => {
    await setStatus(false, { state: { waiting: { reason: 'ContainerCreating' } } });
    const { metadata } = (await server.send('GET', `/api/v1/namespaces/default/pods/${await podOf()}`)) as unknown as { metadata: { name: string; uid: string } };
    await server.send('POST', '/api/v1/namespaces/default/events', {
      metadata: { name: `${metadata.name}.1` }, involvedObject: { apiVersion: 'v1', kind: 'Pod', namespace: 'default', ...metadata }, type: 'Warning', reason: 'FailedMount', message: 'no such host',
      lastTimestamp: new Date().toISOString().replace(/\.\d+/, ''),
    });
    await rolloutsAre('c1 failed pod-not-started, c2 live, c3 live');
    expect(await row()).toMatchObject({ health: { status: 'pod-not-started', message: expect.stringContaining('no such host') as string } });
    await setStatus(true, { state: { running: { startedAt: '2026-01-01T00:00:00Z' } } });
    await rolloutsAre('c1 live, c2 live, c3 live');
  });

  test('a quota: no pod, and the words of the API server', async () => {
    await server.send('POST', '/api/v1/namespaces/default/resourcequotas', { metadata: { name: 'small' }, spec: { hard: { pods: '0' } } });
    await until(async () => JSON.stringify(await server.send('GET', '/api/v1/namespaces/default/resourcequotas/small')).includes('"used"'), 'the quota is counted');
    await fleet.pool.query(`update processor_template_versions set version = '1.1.0', image_uri = 'registry.example.com/camera:1.1.0'`);
    await rollOut();
    await rolloutsAre('c1 failed quota-exceeded, c2 failed quota-exceeded, c3 failed quota-exceeded');
    expect(await row()).toMatchObject({ health: { status: 'quota-exceeded', message: expect.stringContaining('exceeded quota: small') as string } });
    await server.send('DELETE', '/api/v1/namespaces/default/resourcequotas/small');
    await rolloutsAre('c1 live, c2 live, c3 live');
    await until(async () => JSON.stringify(await revisions()).includes('{"id":2,"settled":true,"live":true}'), 'the release is live');
  });

  test('what can not be scheduled is told with the words of the scheduler', async () => {
    await server.kubectl('cordon', 'pool-1');
    const [, ...others] = (await server.kubectl('get', 'pods', '-l', 'workload-location=managed', '-o', 'name')).trim().split('\n');
    expect(others).toEqual([]);
    await server.kubectl('delete', 'pod', '-l', 'workload-location=managed', '--wait=false');
    const shown = () => cluster.live('00000000-0000-4000-8000-0000000000c3')?.pods[0]?.trouble ?? null;
    await until(() => shown()?.kind === 'unscheduled', 'the scheduler has given up');
    expect(shown()?.words).toContain('nodes are available');
    await rolloutsAre('c1 live, c2 live, c3 failed unschedulable');
    await server.kubectl('uncordon', 'pool-1');
    await rolloutsAre('c1 live, c2 live, c3 live');
  });

  test('nothing is known of a cluster that is away', async () => {
    await server.stopServer();
    await until(() => cluster.live(c1) === null, 'its silence is noticed');
    await server.startServer();
    await until(() => cluster.live(c1) !== null, 'it is back');
  });
});

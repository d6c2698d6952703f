import type { Pool } from 'pg';
import { createFeedback } from '../../src/apply/feedback.ts';
import { createMarkBook } from '../../src/apply/secrets-marks.ts';
import { markerOf } from '../../src/apply/secrets-live.ts';
import type { LiveProcessor } from '../../src/model/rollout.ts';
import { seconds } from '../../src/model/time.ts';
import { readCredentialRows, readCredentials } from '../../src/observe/credentials.ts';
import { createObserver } from '../../src/observe/database.ts';
import { createMembers, readPod, readStatefulSet } from '../../src/observe/cluster-pods.ts';
import { objectSchema } from '../../src/platform/kube/object.ts';
import { acquire } from '../../src/platform/leadership.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { manualClock } from '../support/clock.ts';
import { testPolicy } from '../support/policy.ts';
import { seedPlacementsAtHome, seedSyntheticFleet } from '../support/seed-database.ts';
import { atMost, check, count, median, plain, timed, type BenchRow, type BenchSize } from './measure.ts';

/** What the cluster shows of a whole fleet, told to the database; and what becomes of its credentials when rows change. */
export async function benchHealth({ pool }: { readonly pool: Pool }, { fleet, rounds }: BenchSize): Promise<readonly BenchRow[]> {
  await seedSyntheticFleet(pool, { processors: fleet });
  const observer = createObserver(pool, { policy: testPolicy, policies: [], defaultNamespace: 'default', receiver: 'dory', siteColumn: null });
  const { fleet: { processors } } = await observer.observe();
  await seedPlacementsAtHome(pool, new Map(processors.map(({ id, digest }) => [id, digest])));
  await pool.query(`update processors set status = 'pending'`);
  await pool.query('analyze');
  return [...(await benchPods(pool, rounds)), ...(await benchFeedback(pool, fleet, rounds)), ...(await benchCredentials(pool, rounds))];
}

interface Placed {
  readonly id: string;
  readonly epoch: string;
  readonly revision: string;
}

const placedOf = async (pool: Pool): Promise<readonly Placed[]> => (await pool.query<Placed>('select processor_id as id, epoch, revision from dory.placements order by 1')).rows;

const shared = { namespace: 'default', resourceVersion: '12345' };

/** As an API server sends it of one that runs: some 4 kB. */
function podOf({ id, epoch }: Placed): object {
  const env = Array.from({ length: 24 }, (_, i) => ({ name: `SETTING_${String(i)}`, value: `value ${String(i)}` }));
  const conditions = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'].map((type) => ({ type, status: 'True', lastProbeTime: null, lastTransitionTime: '2026-01-01T00:00:00Z' }));
  const fields = { 'f:metadata': { 'f:labels': { '.': {}, 'f:processor-id': {} } }, 'f:spec': { 'f:containers': Object.fromEntries(env.map(({ name }) => [`k:{"name":"${name}"}`, { '.': {}, 'f:name': {}, 'f:value': {} }])) } };
  return {
    metadata: { ...shared, name: `app-${id}-e${epoch}-0`, uid: `p-${id}`, labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id, 'dory.io/epoch': epoch, 'controller-revision-hash': `app-${id}-6b9f7c8d5` }, managedFields: [{ manager: 'kube-controller-manager', operation: 'Update', fieldsV1: fields }] },
    spec: { nodeName: 'edge-1', containers: [{ name: 'processor', image: 'registry.example.com/app:1', env, resources: { requests: { cpu: '250m', memory: '256Mi' }, limits: { cpu: '1', memory: '1Gi' } } }] },
    status: { phase: 'Running', hostIP: '10.0.0.1', conditions, containerStatuses: [{ name: 'processor', ready: true, restartCount: 0, image: 'x', imageID: 'y', state: { running: { startedAt: '2026-01-01T00:00:00Z' } } }] },
  };
}

function setOf({ id, epoch, revision }: Placed): object {
  const name = `app-${id}-e${epoch}`;
  return {
    metadata: { ...shared, name, uid: `s-${id}`, generation: 1, labels: { 'managed-by': 'dory-orchestrator', 'processor-id': id }, annotations: { 'dory.io/epoch': epoch, 'dory.io/revision': revision } },
    spec: { replicas: 1 }, status: { observedGeneration: 1, replicas: 1, updateRevision: `${name}-6b9f7c8d5` },
  };
}

/** The list of all pods, from its text to what is kept of them. */
async function benchPods(pool: Pool, rounds: number): Promise<readonly BenchRow[]> {
  const placed = await placedOf(pool);
  const texts = placed.map((each) => JSON.stringify(podOf(each)));
  const spans: number[] = [];
  for (let i = 0; i < Math.ceil(rounds / 2); i += 1) {
    spans.push((await timed(() => texts.map((text) => readPod(objectSchema.parse(JSON.parse(text)), null, seconds(1))))).ms);
  }
  // Nothing of it is kept, as nothing is of what `readPod` leaves out.
  const parsing = await timed(() => texts.reduce((names, text) => names + (JSON.parse(text) as { metadata: { name: string } }).metadata.name.length, 0));
  return [
    atMost(`pods read from ${String(Math.round(texts.join('').length / 1e6))} MB of JSON, ${count(placed.length)}`, median(spans), 'ms', 4_000),
    plain('  of which JSON.parse', parsing.ms, 'ms'),
  ];
}

async function benchFeedback(pool: Pool, fleet: number, rounds: number): Promise<readonly BenchRow[]> {
  const members = createMembers();
  const placed = await placedOf(pool);
  for (const each of placed) {
    members.onStatefulSet(null, readStatefulSet(objectSchema.parse(setOf(each)), null, seconds(0)));
    members.onPod(null, readPod(objectSchema.parse(podOf(each)), null, seconds(0)), seconds(0));
  }
  const clock = manualClock();
  const lease = await acquire(pool, 'bench');
  check(lease !== null, 'somebody else leads');
  // Nobody renews it here.
  await pool.query(`update dory.leader set expires_at = now() + interval '1 hour'`);
  const live = (id: string): LiveProcessor => ({ ...members.of(id), refusal: null });
  const feedback = createFeedback({
    pool, clock, live, lease: () => lease, log: silentLog, metrics: createMetrics(),
    policy: { progressDeadline: seconds(600), startGrace: seconds(120), steadyAfterCrash: seconds(30) },
  });
  const stop = new AbortController();
  const first = await timed(() => {
    void feedback.run(stop.signal);
    return clock.asleep();
  });
  check(Number((await pool.query<{ n: string }>(`select count(*) as n from dory.rollouts where state = 'live'`)).rows[0]?.n) === placed.length, 'not all are live');
  const before = await footprint(pool);
  const pass = async (after: number): Promise<number> => {
    // What was touched is gathered for a moment first.
    await clock.asleep();
    return (await timed(() => {
      clock.advance(seconds(after));
      return clock.asleep();
    })).ms;
  };
  const [all, touched, one]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < rounds; i += 1) {
    all.push(await pass(300));
    for (const { id } of placed) feedback.touch(id);
    touched.push(await pass(1));
    feedback.touch(placed[7]?.id ?? '');
    one.push(await pass(1));
  }
  check((await footprint(pool)) === before, 'a look with nothing new wrote rows');
  stop.abort();
  return [
    atMost(`roll-outs of ${count(fleet)} processors told to the database for the first time`, first.ms, 'ms', 15_000),
    atMost('  all looked at, nothing new', median(all), 'ms', 2_500),
    atMost('  all touched, as by a list of the cluster, nothing new', median(touched), 'ms', 3_000),
    atMost('  one touched', median(one), 'ms', 50),
  ];
}

async function benchCredentials(pool: Pool, rounds: number): Promise<readonly BenchRow[]> {
  const book = createMarkBook({ credentials: (names) => readCredentials(pool, names), credentialRows: () => readCredentialRows(pool), mark: markerOf(systemRandom) });
  const first = await timed(() => book.refresh());
  const spans: number[] = [];
  for (let i = 0; i < rounds; i += 1) {
    await pool.query(`update sensors set connection_config = jsonb_set(connection_config, '{password}', to_jsonb('round-' || $1::text)) where id = (select min(id::text)::uuid from sensors)`, [String(i)]);
    const { ms, result } = await timed(() => book.refresh());
    check(result.size === 1, 'the replaced password was not seen');
    spans.push(ms);
  }
  return [
    atMost(`credentials of ${count(book.marks.size)} Secrets read for the first time`, first.ms, 'ms', 6_000),
    atMost('  one replaced', median(spans), 'ms', 500),
  ];
}

async function footprint(pool: Pool): Promise<string> {
  const tables = ['processors', 'dory.rollouts', 'dory.revisions', 'dory.events', 'dory.state', 'dory.leader'];
  const { rows } = await pool.query(`select ${tables.map((name, i) => `(select sum(xmin::text::bigint) + sum(xmax::text::bigint) from ${name}) as x${String(i)}`).join(', ')}`);
  return JSON.stringify(rows);
}

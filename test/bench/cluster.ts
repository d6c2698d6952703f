import type { Pool } from 'pg';
import { defaultSystemProps } from '../../charts-ts/system/index.ts';
import { openApplier, type OpenApplier } from '../../src/cli/applier.ts';
import { findControlPlane, type ControlPlanePrograms } from '../../src/cli/demo/control-plane-programs.ts';
import { goesOn } from '../../src/cycle.ts';
import { createAccess } from '../../src/platform/kube/access.ts';
import { createKubeClient } from '../../src/platform/kube/client.ts';
import type { KubeObject } from '../../src/platform/kube/object.ts';
import { createKubeCache } from '../../src/platform/kube/watch.ts';
import { seconds } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { systemRandom } from '../../src/platform/random.ts';
import { addNode, installAccess, ownKubeconfig, setKubelet, watchedCluster } from '../support/cluster-fleet.ts';
import { startControlPlane, type ControlPlane } from '../support/control-plane.ts';
import { testFleet, type TestFleet, type TestFleetOptions } from '../support/fleet.ts';
import { seedSyntheticFleet } from '../support/seed-database.ts';
import { temporaryFolder } from '../support/temp.ts';
import { until } from '../support/until.ts';
import { atMost, check, count, plain, timed, type BenchRow, type BenchSize } from './measure.ts';

interface Database {
  readonly pool: Pool;
  readonly url: string;
}

/** What does not end by itself on a machine that does much else. */
const long = 600_000;
const patient = (holds: () => boolean | Promise<boolean>, what: string): Promise<void> => until(holds, what, long);

/**
 * A node of a fleet dies on a real control plane, whose kubelets kwok plays, under the rights of the program's own ServiceAccount:
 * from the pushed commit to replacements that run. Without the programs of a control plane there is nothing to measure.
 */
export async function benchCluster(database: Database, { quick }: BenchSize): Promise<readonly BenchRow[]> {
  const found = await findControlPlane(process.env);
  if (!found.complete) return [plain(`skipped: no ${found.missing.join(', ')}; the cluster tests build them`, 0, '')];
  const size = quick ? { nodes: 4, onDead: 5, others: 15 } : { nodes: 20, onDead: 100, others: 900 };
  const server = await startControlPlane({ programs: found.programs, with: ['controllers', 'scheduler', 'nodes'] });
  try {
    return await failover(server, database, size);
  } finally {
    await server.stop();
  }
}

interface Size {
  readonly nodes: number;
  /** At home on the node that dies. */
  readonly onDead: number;
  readonly others: number;
}

async function failover(server: ControlPlane, database: Database, size: Size): Promise<readonly BenchRow[]> {
  await installAccess(server, { ...defaultSystemProps, apply: 'ssa' });
  await addNode(server, 'pool-1', { 'workload-type': 'application' }, room);
  for (let n = 1; n <= size.nodes; n += 1) await addNode(server, `edge-${String(n)}`, { 'node-type': 'edge' }, room);
  await seed(database.pool, size);
  const kubeconfig = await ownKubeconfig(server);
  const cluster = watchedCluster(kubeconfig);
  const [pods, sets] = [watchEpochs(server, '/api/v1/pods'), watchEpochs(server, '/apis/apps/v1/statefulsets')];
  cluster.start();
  pods.start();
  sets.start();
  try {
    check(await cluster.synced(seconds(60)), 'the cluster is known');
    return await withFleet({ ...database, cluster, kubeconfig }, async (fleet, applier) => failoverRows(await story({ server, fleet, applier, pods, sets, size, isUnknown: () => cluster.freshest('edge-1' as never)?.ready === 'unknown' }), size));
  } finally {
    await Promise.all([pods.close(), sets.close(), cluster.close()]);
  }
}

const capacity = { cpu: '1000', memory: '4Ti', pods: '2000' };
const room = { status: { capacity, allocatable: capacity } }.status;

interface World {
  readonly server: ControlPlane;
  readonly fleet: TestFleet;
  readonly applier: OpenApplier['applier'];
  readonly pods: Epochs;
  readonly sets: Epochs;
  readonly size: Size;
  readonly isUnknown: () => boolean;
}

interface Story {
  readonly firstMs: number;
  readonly allRunningMs: number;
  readonly decideMs: number;
  /** From the pushed commit on. */
  readonly createdMs: number;
  readonly passMs: number;
  readonly podsMs: number;
  readonly runningMs: number;
  readonly requests: number;
}

async function story({ server, fleet, applier, pods, sets, size, isUnknown }: World): Promise<Story> {
  const all = size.onDead + size.others;
  const names = Array.from({ length: size.nodes }, (_, n) => `edge-${String(n + 1)}`);
  await fleet.beat(...names);
  await patient(async () => !goesOn(await fleet.once()), 'all are placed');
  const start = performance.now();
  const first = await applier.pass();
  check(first.complete && first.outcomes.length === all, `${String(first.outcomes.length)} objects were applied first`);
  const firstMs = performance.now() - start;
  await patient(() => pods.running(1) === all, 'all pods run');
  const allRunningMs = performance.now() - start;
  check((await applier.pass()).requests === 0, 'nothing is to do');
  const before = await generations(server);
  await setKubelet(server, 'edge-1', false);
  await patient(isUnknown, 'Kubernetes missed its lease');
  await fleet.age(long, 'edge-1');
  let moved = 0;
  let decideMs = 0;
  // The last cycle is the one that pushed.
  await patient(async () => {
    await fleet.beat(...names.slice(1));
    const { ms, result } = await timed(() => fleet.once());
    moved = result.planned.changes.filter(({ kind }) => kind === 'move').length;
    decideMs = ms;
    check(result.planned.changes.length === moved, 'only moves were decided');
    return moved > 0;
  }, 'the moves are decided');
  check(moved === size.onDead, `${String(moved)} processors move`);
  const pushed = performance.now();
  const pass = await applier.pass();
  const passMs = performance.now() - pushed;
  await patient(() => pods.running(2) === moved, 'all replacements run');
  check(pass.complete && pass.outcomes.filter(({ kind }) => kind === 'created').length === moved && pass.outcomes.filter(({ kind }) => kind === 'pruned').length === moved && pass.outcomes.length === 2 * moved, 'each was created, and its old one pruned');
  const after = await generations(server);
  check([...before].every(([name, was]) => !after.has(name) || after.get(name) === was) && [...before.keys()].filter((name) => after.has(name)).length === size.others, 'nothing else was touched');
  return { firstMs, allRunningMs, decideMs, createdMs: sets.lastSeen(2) - pushed, passMs, podsMs: pods.lastSeen(2) - pushed, runningMs: pods.lastRunning(2) - pushed, requests: pass.requests };
}

function failoverRows({ firstMs, allRunningMs, decideMs, createdMs, passMs, podsMs, runningMs, requests }: Story, { nodes, onDead, others }: Size): readonly BenchRow[] {
  return [
    plain(`${count(onDead + others)} processors on ${String(nodes)} nodes: first commit applied`, firstMs, 'ms'),
    plain('  all of their pods run', allRunningMs, 'ms'),
    plain(`one node with ${String(onDead)} of them dies: verdict → pushed commit`, decideMs, 'ms'),
    atMost(`  commit → all ${String(onDead)} replacements created`, createdMs, 'ms', 2_000),
    plain('  commit → the old ones pruned, too', passMs, 'ms'),
    plain('  commit → the pod of each is there', podsMs, 'ms'),
    plain('  commit → each pod runs', runningMs, 'ms'),
    atMost('  requests', requests, '', 2 * onDead),
  ];
}

/** By name and UID: what a write of anybody raises. */
async function generations(server: ControlPlane): Promise<ReadonlyMap<string, number>> {
  const { items } = (await server.send('GET', '/apis/apps/v1/statefulsets')) as unknown as { items: { metadata: { name: string; uid: string; generation: number } }[] };
  return new Map(items.map(({ metadata: { name, uid, generation } }) => [`${name} ${uid}`, generation]));
}

/** Objects of ours of one kind, as somebody else sees them, by the epoch that they are of. */
interface Epochs {
  start(): void;
  close(): Promise<void>;
  running(epoch: number): number;
  /** When the last of them was seen first, as `performance.now()`. */
  lastSeen(epoch: number): number;
  lastRunning(epoch: number): number;
}

function watchEpochs(server: ControlPlane, path: string): Epochs {
  const client = createKubeClient(createAccess({ kind: 'file', path: server.kubeconfig }));
  const seen = new Map<string, { readonly epoch: number; readonly at: number; runs: number | null }>();
  const cache = createKubeCache<null>({
    client, clock: systemClock, random: systemRandom, log: silentLog, path, labelSelector: 'managed-by=dory-orchestrator', metadataOnly: false, signEvery: seconds(5),
    read: (object: KubeObject) => {
      const { metadata, status } = object as KubeObject & { readonly status?: { readonly phase?: string } };
      const pod = seen.get(metadata.uid) ?? { epoch: Number(metadata.annotations?.['dory.io/epoch']), at: performance.now(), runs: null };
      if (status?.phase === 'Running') pod.runs ??= performance.now();
      seen.set(metadata.uid, pod);
      return null;
    },
    onChange: () => undefined, onState: () => undefined,
  });
  const of = (epoch: number) => [...seen.values()].filter((pod) => pod.epoch === epoch);
  return {
    start: () => { cache.start(); },
    close: async () => {
      await cache.close();
      client.close();
    },
    running: (epoch) => of(epoch).filter(({ runs }) => runs !== null).length,
    lastSeen: (epoch) => Math.max(...of(epoch).map(({ at }) => at)),
    lastRunning: (epoch) => Math.max(...of(epoch).map(({ runs }) => runs ?? Number.NaN)),
  };
}

/** All at home on edge nodes, from which they move to the managed pool. */
async function seed(pool: Pool, { nodes, onDead, others }: Size): Promise<void> {
  await pool.query(`insert into processor_templates (id, slug, name) values (md5('t')::uuid, 'camera', 'Camera')`);
  await pool.query(`insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active) values (md5('t')::uuid, 'registry.example.com/camera:1.0.0', '1.0.0', '{}', true)`);
  await pool.query(`insert into edge_nodes (id, name, status, last_heartbeat_at) select md5('n' || n)::uuid, 'edge-' || n, 'online', now() from generate_series(1, $1::int) as n`, [nodes]);
  await pool.query(
    `insert into processors (id, processor_template_id, node_type, node_id, k8s_namespace, status)
     select md5('p' || n)::uuid, md5('t')::uuid, 'edge', md5('n' || case when n <= $2 then 1 else 2 + n % ($1 - 1) end)::uuid, 'default', 'running' from generate_series(1, $2::int + $3::int) as n`,
    [nodes, onDead, others],
  );
}

async function withFleet<T>({ kubeconfig, ...options }: Omit<TestFleetOptions, 'folder'> & { readonly kubeconfig: string }, use: (fleet: TestFleet, applier: OpenApplier['applier']) => Promise<T>): Promise<T> {
  const folder = await temporaryFolder();
  // One node of a small fleet is a large share of it, and what dies here dies once.
  const flags = { apply: 'ssa', 'guard-degraded-share': '1', 'guard-panic-share': '1', 'heartbeats-interval': '2s', 'failover-heartbeat-stale': '10s', 'failover-heartbeat-gap': '5s', 'failover-intake-fresh': '9s' };
  const fleet = await testFleet({ ...options, folder: folder.path, flags });
  const opened = openApplier({ ...fleet.runtime, log: silentLog, kubernetes: { kind: 'file', path: kubeconfig } }, { repository: fleet.engine.repository, assertLeading: () => Promise.resolve(), onChange: () => undefined });
  try {
    return await use(fleet, opened.applier);
  } finally {
    await opened.close();
    await fleet.close();
    await folder.remove();
  }
}

/** What a large fleet costs that is as committed: nothing but looks at what the watch shows. A fifth of the design size: to create it is the server's time. */
export async function benchInSync(database: Database, { fleet }: BenchSize): Promise<readonly BenchRow[]> {
  const processors = fleet / 5;
  const found = await findControlPlane(process.env);
  if (!found.complete) return [plain(`skipped: no ${found.missing.join(', ')}; the cluster tests build them`, 0, '')];
  await seedSyntheticFleet(database.pool, { processors });
  const server = await startControlPlane({ programs: found.programs satisfies ControlPlanePrograms });
  try {
    return await withFleet({ ...database, kubeconfig: server.kubeconfig }, async (fleet, applier) => {
      await patient(async () => !goesOn(await fleet.once()), 'all are placed');
      const before = heap();
      // Of the report only what is told: what it holds is not what the loop keeps.
      const first = await timed(() => applier.pass().then(({ complete, outcomes, requests }) => ({ complete, applied: outcomes.length, requests })));
      check(first.result.complete && first.result.applied === processors, `${String(first.result.applied)} objects were applied`);
      const again = await timed(() => applier.pass());
      const kept = heap() - before;
      const opened = openApplier({ ...fleet.runtime, log: silentLog, kubernetes: { kind: 'file', path: server.kubeconfig } }, { repository: fleet.engine.repository, assertLeading: () => Promise.resolve(), onChange: () => undefined });
      const restarted = await timed(() => opened.applier.pass()).finally(() => opened.close());
      check([again, restarted].every(({ result }) => result.inSync === processors && result.complete), 'all is in sync');
      return [
        plain(`${count(processors)} StatefulSets created by the loop`, first.ms, 'ms'),
        atMost('  requests for each', first.result.requests / processors, '', 1.01),
        atMost('in sync: requests', again.result.requests, '', 0),
        plain('  a pass over them', again.ms, 'ms'),
        atMost('in sync after a restart: requests', restarted.result.requests, '', 0),
        plain('  a pass over them, lists included', restarted.ms, 'ms'),
        atMost('heap that the loop keeps for each', (kept * 1024) / processors, 'KiB', 4),
      ];
    });
  } finally {
    await server.stop();
  }
}

/** MiB in use, if the process was started so that it may say what is not in use any more. */
function heap(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import type { Pool } from 'pg';
import { createHealth } from '../../src/http/health.ts';
import { parseBeat, type Beat, type HeartbeatAnswer } from '../../src/http/heartbeat.ts';
import { createIntake, defaultIntakeSettings, intakeConnection, type HeartbeatIntake } from '../../src/http/intake.ts';
import { createNodeRegistry } from '../../src/http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../../src/http/server.ts';
import { seconds } from '../../src/model/time.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { createPool } from '../../src/platform/pg.ts';
import { seedPlacementsAtHome, seedSyntheticFleet } from '../support/seed-database.ts';
import type { LoadOrder, LoadResult } from './heartbeats-load.ts';
import { atLeast, atMost, check, median, plain, type BenchRow, type BenchSize } from './measure.ts';

const connections = 512;
/** 50,000 processors that send every 5 s. */
const designRate = 10_000;

/**
 * Durable heartbeats, with and without HTTP, in groups and as a pair of UPDATEs a request, and the same server with nothing behind
 * it, in turns. `pool`: a migrated, empty database on a server that waits for its disk, with at least 10 connections. Takes 40 s.
 */
export async function benchHeartbeats({ pool, url }: { readonly pool: Pool; readonly url: string }, { fleet, quick }: BenchSize): Promise<readonly BenchRow[]> {
  const bodies = await seed(pool, Math.min(fleet, 20_000));
  const time: LoadTime = quick ? { warmUpMs: 100, measureMs: 300 } : { warmUpMs: 400, measureMs: 1_000 };
  const { intake, naive, close } = waysToStore(url);
  const slowly = waysToStore(withSlowDisk(url));
  // A processor's first beat costs more than all later ones: those are what is measured.
  await Promise.all(bodies.map((body) => intake.record(beatOf(body))));

  const turns: Turn[] = [];
  for (let turn = 0; turn < (quick ? 1 : 5); turn += 1) {
    turns.push({
      stored: await withoutHttp(intake, bodies, time),
      storedNaively: await withoutHttp(naive, bodies, time),
      storedSlowly: await withoutHttp(slowly.intake, bodies, time),
      storedSlowlyNaively: await withoutHttp(slowly.naive, bodies, time),
      served: await overHttp(pool, intake, bodies, time),
      servedNaively: await overHttp(pool, naive, bodies, time),
      idle: await overHttp(pool, nothing, bodies, time),
    });
  }
  await close();
  await slowly.close();

  const refused = turns.reduce((sum, { served, servedNaively, idle }) => sum + served.refused + servedNaively.refused + idle.refused, 0);
  check(refused === 0, `${String(refused)} heartbeats were not answered with 200`);
  return rowsOf(turns);
}

/** What is compared is measured within seconds of each other: this machine may have other things to do. */
interface Turn {
  readonly stored: number;
  readonly storedNaively: number;
  readonly storedSlowly: number;
  readonly storedSlowlyNaively: number;
  readonly served: LoadResult;
  readonly servedNaively: LoadResult;
  readonly idle: LoadResult;
}

function rowsOf(turns: readonly Turn[]): readonly BenchRow[] {
  const middle = (figure: (turn: Turn) => number): number => median(turns.map(figure));
  return [
    plain(`heartbeats stored, ${String(connections)} at once`, middle(({ stored }) => stored), '/s'),
    plain('  by two UPDATEs each', middle(({ storedNaively }) => storedNaively), '/s'),
    atLeast('  that many times faster', middle(({ stored, storedNaively }) => stored / storedNaively), '×', 6),
    plain('  with a disk that takes 1 ms', middle(({ storedSlowly }) => storedSlowly), '/s'),
    plain('    by two UPDATEs each', middle(({ storedSlowlyNaively }) => storedSlowlyNaively), '/s'),
    atLeast('    that many times faster', middle(({ storedSlowly, storedSlowlyNaively }) => storedSlowly / storedSlowlyNaively), '×', 6),
    atLeast('heartbeats over HTTP, beside their sender', middle(({ served }) => served.perSecond), '/s', designRate),
    plain('  by two UPDATEs each', middle(({ servedNaively }) => servedNaively.perSecond), '/s'),
    plain('  with no database behind the server', middle(({ idle }) => idle.perSecond), '/s'),
    atLeast('  share of what the server does without a database', middle(({ served, idle }) => (served.perSecond / idle.perSecond) * 100), '%', 75),
    atMost('  p50', middle(({ served }) => served.p50), 'ms', 50),
    atMost('  p99', middle(({ served }) => served.p99), 'ms', 150),
  ];
}

interface WaysToStore {
  readonly intake: HeartbeatIntake;
  readonly naive: HeartbeatIntake;
  readonly close: () => Promise<void>;
}

function waysToStore(url: string): WaysToStore {
  const beatsPool = createPool(url, { ...intakeConnection, applicationName: 'dory-bench' });
  const pool = createPool(url, { max: 12, statementTimeoutMs: 0, applicationName: 'dory-bench' });
  const settings = { ...defaultIntakeSettings, lease: seconds(30), writeNodesEvery: seconds(1) };
  const intake = createIntake({ pool: beatsPool, clock: systemClock, settings, metrics: createMetrics(), log: silentLog });
  const close = async (): Promise<void> => {
    await intake.stop();
    await beatsPool.end();
    await pool.end();
  };
  return { intake, naive: pairOfUpdates(pool), close };
}

/** Each flush waits for 1 ms first: a disk in the cloud takes that, where the one below may take microseconds. Who commits meanwhile shares it. */
function withSlowDisk(url: string): string {
  const slow = new URL(url);
  slow.searchParams.set('options', '-c commit_delay=1000 -c commit_siblings=0');
  return slow.href;
}

type LoadTime = Pick<LoadOrder, 'warmUpMs' | 'measureMs'>;

/** @returns a heartbeat of each processor, from where it is placed. */
async function seed(pool: Pool, processors: number): Promise<string[]> {
  await seedSyntheticFleet(pool, { processors });
  const { rows } = await pool.query<{ id: string; node: string | null }>(
    `select p.id, n.id as node from processors p left join edge_nodes n on n.id = p.node_id and p.node_type = 'edge' order by md5(p.id::text)`,
  );
  await seedPlacementsAtHome(pool, new Map(rows.map(({ id }) => [id, ''])));
  return rows.map(({ id, node }) =>
    JSON.stringify({
      processor_id: id, node_id: node ?? 'ip-10-0-0-1', role: 'primary', epoch: null, timestamp: 1_790_000_000.25, status: 'healthy',
      last_state_sync: null, state_size_bytes: null, uptime_sec: 12.5,
    }),
  );
}

const stored: HeartbeatAnswer = { standing: 'current', placementEpoch: null, leaseSec: null };

/** As one would write it: each request updates its node and its processor, and is answered when both are durable. */
function pairOfUpdates(pool: Pool): HeartbeatIntake {
  return {
    record: async ({ nodeId, subject, status }: Beat): Promise<HeartbeatAnswer> => {
      const id = subject.kind === 'processor' ? subject.id : null;
      await pool.query({ name: 'bench-node', text: 'update edge_nodes set last_heartbeat_at = now() where id = $1', values: [nodeId] });
      const health = `jsonb_build_object('status', $2::text, 'healthy', $2 = 'healthy')`;
      const text = `update processors set last_health_check_at = now(), health_status = ${health} where id = $1 and status not in ('terminated', 'failed')`;
      const { rowCount } = await pool.query({ name: 'bench-processor', text, values: [id, status] });
      return rowCount === 0 ? { ...stored, standing: 'unknown' } : stored;
    },
    lose: () => stored,
    start: () => undefined,
    stop: () => Promise.resolve(),
  };
}

const nothing: HeartbeatIntake = {
  record: () => Promise.resolve(stored),
  lose: () => stored,
  start: () => undefined,
  stop: () => Promise.resolve(),
};

/** @returns beats a second. */
async function withoutHttp(intake: HeartbeatIntake, bodies: readonly string[], { warmUpMs, measureMs }: LoadTime): Promise<number> {
  const beats = bodies.map(beatOf);
  const from = performance.now() + warmUpMs;
  const until = from + measureMs;
  let count = 0;
  const one = async (first: number): Promise<void> => {
    for (let at = first; performance.now() < until; at += 1) {
      const beat = beats[at % beats.length];
      if (beat === undefined) return;
      await intake.record(beat);
      if (performance.now() >= from) count += 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, i) => one(Math.floor((i * beats.length) / connections))));
  return (count / measureMs) * 1000;
}

function beatOf(body: string): Beat {
  const parsed = parseBeat(JSON.parse(body));
  if (parsed.ok) return parsed.value;
  throw new Error(JSON.stringify(parsed.problems));
}

async function overHttp(pool: Pool, intake: HeartbeatIntake, bodies: readonly string[], time: LoadTime): Promise<LoadResult> {
  const app = createHttpServer({
    intake, nodes: createNodeRegistry(pool), health: createHealth(),
    metrics: createMetrics(), clock: systemClock, log: silentLog, limits: defaultHttpLimits,
  });
  const address = await app.listen({ host: '127.0.0.1', port: 0 });
  const load = fork(join(import.meta.dirname, `heartbeats-load${extname(import.meta.filename)}`));
  try {
    const order: LoadOrder = { port: Number(new URL(address).port), connections, ...time, bodies };
    load.send(order);
    const [result] = (await once(load, 'message')) as [LoadResult];
    return result;
  } finally {
    load.kill();
    await app.close();
  }
}

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { createHealth, defaultHealthSettings } from '../../src/http/health.ts';
import { parseBeat, type Beat, type HeartbeatAnswer } from '../../src/http/heartbeat.ts';
import { createIntake, defaultIntakeSettings, type HeartbeatIntake } from '../../src/http/intake.ts';
import { createNodeRegistry } from '../../src/http/nodes.ts';
import { createHttpServer, defaultHttpLimits } from '../../src/http/server.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { silentLog } from '../../src/platform/log.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { seedPlacementsAtHome, seedSyntheticFleet } from '../support/seed-database.ts';
import type { LoadOrder, LoadResult } from './heartbeats-load.ts';

export interface BenchRow {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly aim: string;
  readonly ok: boolean;
}

const processors = 20_000;
const connections = 384;
const warmUpMs = 500;
const measureMs = 2_500;
/** 50,000 processors that send every 5 s. */
const designRate = 10_000;

/**
 * Durable heartbeats, with and without HTTP, in groups and as a pair of UPDATEs a request, and the same server with nothing behind
 * it. `pool`: a migrated, empty database on a server that waits for its disk, with at least 10 connections. Takes 15 to 20 s.
 */
export async function benchHeartbeats(pool: Pool): Promise<readonly BenchRow[]> {
  const bodies = await seed(pool);
  const metrics = createMetrics();
  const intake = createIntake({ pool, clock: systemClock, settings: defaultIntakeSettings, metrics, log: silentLog });
  const naive = pairOfUpdates(pool);

  const directly = await withoutHttp(intake, bodies);
  const directlyNaive = await withoutHttp(naive, bodies);
  const served = await overHttp(pool, intake, bodies);
  const servedNaive = await overHttp(pool, naive, bodies);
  const idle = await overHttp(pool, nothing, bodies);
  await intake.stop();

  const at = `${String(connections)} at once`;
  return [
    atLeast(`heartbeats stored, ${at}`, directly, '/s', 3 * designRate),
    atLeast(`heartbeats stored, against two UPDATEs each (${String(Math.round(directlyNaive))}/s)`, directly / directlyNaive, '×', 4),
    atLeast(`heartbeats stored over HTTP, ${at}`, served.perSecond, '/s', designRate),
    atLeast(`heartbeats over HTTP, against two UPDATEs each (${String(Math.round(servedNaive.perSecond))}/s)`, served.perSecond / servedNaive.perSecond, '×', 2),
    atLeast(`heartbeats over HTTP, against no database (${String(Math.round(idle.perSecond))}/s)`, served.perSecond / idle.perSecond, '×', 0.5),
    atMost('heartbeats over HTTP, p50', served.p50, 'ms', 50),
    atMost('heartbeats over HTTP, p99', served.p99, 'ms', 150),
    atMost('heartbeats over HTTP refused', served.refused + servedNaive.refused + idle.refused, '', 0),
  ];
}

function atLeast(name: string, value: number, unit: string, least: number): BenchRow {
  return { name, value: Math.round(value * 100) / 100, unit, aim: `≥ ${String(least)}`, ok: value >= least };
}

function atMost(name: string, value: number, unit: string, most: number): BenchRow {
  return { name, value: Math.round(value * 100) / 100, unit, aim: `≤ ${String(most)}`, ok: value <= most };
}

/** @returns a heartbeat of each processor, from where it is placed. */
async function seed(pool: Pool): Promise<string[]> {
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

/** As one would write it: each request updates its node and its processor, and is answered when both are durable. */
function pairOfUpdates(pool: Pool): HeartbeatIntake {
  return {
    record: async ({ nodeId, subject, status }: Beat): Promise<HeartbeatAnswer> => {
      const id = subject.kind === 'processor' ? subject.id : null;
      await pool.query({ name: 'bench-node', text: 'update edge_nodes set last_heartbeat_at = now() where id = $1', values: [nodeId] });
      const health = `jsonb_build_object('status', $2::text, 'healthy', $2 = 'healthy')`;
      const text = `update processors set last_health_check_at = now(), health_status = ${health} where id = $1 and status not in ('terminated', 'failed')`;
      const { rowCount } = await pool.query({ name: 'bench-processor', text, values: [id, status] });
      return { standing: rowCount === 0 ? 'unknown' : 'current', placementEpoch: null };
    },
    start: () => undefined,
    stop: () => Promise.resolve(),
  };
}

const nothing: HeartbeatIntake = {
  record: () => Promise.resolve({ standing: 'current', placementEpoch: null }),
  start: () => undefined,
  stop: () => Promise.resolve(),
};

/** @returns beats a second. */
async function withoutHttp(intake: HeartbeatIntake, bodies: readonly string[]): Promise<number> {
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
  await Promise.all(Array.from({ length: connections }, (_, i) => one(i * 97)));
  return (count / measureMs) * 1000;
}

function beatOf(body: string): Beat {
  const parsed = parseBeat(JSON.parse(body));
  if (parsed.ok) return parsed.value;
  throw new Error(JSON.stringify(parsed.problems));
}

async function overHttp(pool: Pool, intake: HeartbeatIntake, bodies: readonly string[]): Promise<LoadResult> {
  const app = createHttpServer({
    intake, nodes: createNodeRegistry(pool), health: createHealth({ pool, clock: systemClock, settings: defaultHealthSettings }),
    metrics: createMetrics(), clock: systemClock, log: silentLog, limits: defaultHttpLimits,
  });
  const address = await app.listen({ host: '127.0.0.1', port: 0 });
  const load = fork(join(import.meta.dirname, 'heartbeats-load.js'), { execArgv: [] });
  try {
    const order: LoadOrder = { port: Number(new URL(address).port), connections, warmUpMs, measureMs, bodies };
    load.send(order);
    const [result] = (await once(load, 'message')) as [LoadResult];
    return result;
  } finally {
    load.kill();
    await app.close();
  }
}

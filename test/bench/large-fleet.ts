import { rename } from 'node:fs/promises';
import type { Pool } from 'pg';
import { renderSettings } from '../../src/cli/render-settings.ts';
import { readState } from '../../src/commit/revisions.ts';
import { cycle, goesOn, type CycleReport, type Stages, type Step } from '../../src/cycle.ts';
import type { RevisionId } from '../../src/model/ids.ts';
import { instant } from '../../src/model/time.ts';
import { readManifestInputs } from '../../src/observe/manifest-inputs.ts';
import { summarize } from '../../src/render/change.ts';
import { emptyRenderState, render } from '../../src/render/render.ts';
import { testFleet, type TestFleet } from '../support/fleet.ts';
import { seedSyntheticFleet } from '../support/seed-database.ts';
import { temporaryFolder } from '../support/temp.ts';
import { check } from './measure.ts';

/** A synthetic fleet on a real database and a real bare repository, and the engine between them, which leads. */
export interface LargeFleet {
  /** Nodes that are home to ten processors each, whose failover goes to the managed pool. */
  readonly nodes: readonly string[];
  readonly stages: Stages;
  /** One cycle, just after every node that was not lost has sent a heartbeat. */
  cycle(): Promise<TimedCycle>;
  /** The cycles in which a new fleet gets its first placements. */
  placeAll(): Promise<readonly TimedCycle[]>;
  /** From now on these nodes have been silent for longer than the threshold. */
  lose(nodes: readonly string[]): Promise<void>;
  /** @throws Error if `use` changes a row, or asks the remote for anything. */
  withoutTrace<T>(use: () => Promise<T>): Promise<T>;
  /** @throws Error unless the remote shows exactly what a full render of the rows gives. */
  checkRemote(): Promise<void>;
}

export interface TimedCycle {
  readonly report: CycleReport;
  /** Milliseconds of each step. */
  readonly steps: Readonly<Record<Step, number>>;
  readonly total: number;
}

export interface LargeFleetOptions {
  /** A migrated, empty database. */
  readonly pool: Pool;
  readonly url: string;
  readonly processors: number;
}

export async function withLargeFleet<T>({ pool, url, processors }: LargeFleetOptions, use: (large: LargeFleet) => Promise<T>): Promise<T> {
  await seedSyntheticFleet(pool, { processors });
  const nodes = await homesOfTen(pool);
  const folder = await temporaryFolder();
  const marks: [Step, number][] = [];
  // Rounds lose other nodes within minutes, for good: the fleet guard would rightly slow that down.
  const flags = { 'guard-degraded-share': '1', 'guard-panic-share': '1' };
  const fleet = await testFleet({ pool, url, folder: folder.path, flags, onStep: (step) => { marks.push([step, performance.now()]); } });
  try {
    return await fleet.lead((stages) => use(largeFleet(fleet, stages, nodes, marks)));
  } finally {
    await fleet.close();
    await folder.remove();
  }
}

function largeFleet(fleet: TestFleet, stages: Stages, nodes: readonly string[], marks: [Step, number][]): LargeFleet {
  const { pool } = fleet;
  const lost = new Set<string>();
  const once = async (): Promise<TimedCycle> => {
    await pool.query('update edge_nodes set last_heartbeat_at = clock_timestamp() where name <> all($1)', [[...lost]]);
    marks.length = 0;
    const start = performance.now();
    const report = await cycle(stages);
    return { report, steps: spans(start, marks), total: performance.now() - start };
  };
  return {
    nodes,
    stages,
    cycle: once,
    placeAll: async () => {
      const cycles = [await once()];
      for (let last = cycles[0]; last !== undefined && goesOn(last.report); last = cycles.at(-1)) cycles.push(await once());
      // They have run for a while: a beat of each is expected, and that it is missed is no matter of its start.
      await pool.query("update dory.placements set since = since - interval '1 hour'");
      await pool.query('update dory.state set version = version + 1');
      return cycles;
    },
    lose: async (names) => {
      for (const name of names) lost.add(name);
      // As a loss is: nothing but beats that are missing, so that the next cycle has nothing to read anew.
      await pool.query(`update edge_nodes set last_heartbeat_at = last_heartbeat_at - interval '61 s' where name = any($1)`, [names]);
    },
    withoutTrace: (use) => withoutTrace(fleet, use),
    checkRemote: () => checkRemote(fleet),
  };
}

async function homesOfTen(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `select n.name from edge_nodes n join processors p on p.node_id = n.id
      where n.failover_target_node_id is null group by n.name having count(*) = 10 order by n.name`,
  );
  return rows.map(({ name }) => name);
}

function spans(start: number, marks: readonly [Step, number][]): TimedCycle['steps'] {
  const ends = marks.map(([, at]) => at);
  return Object.fromEntries(marks.map(([step, at], i) => [step, at - (ends[i - 1] ?? start)])) as Record<Step, number>;
}

async function withoutTrace<T>({ pool, remote }: TestFleet, use: () => Promise<T>): Promise<T> {
  const before = await footprint(pool);
  await rename(remote, `${remote}.gone`);
  const result = await use();
  await rename(`${remote}.gone`, remote);
  check((await footprint(pool)) === before, 'an idle cycle wrote rows');
  return result;
}

/** Any write of a cycle raises one of these. */
async function footprint(pool: Pool): Promise<string> {
  const tables = ['processors', 'edge_nodes', 'edge_node_apps', 'edge_node_events', 'dory.state', 'dory.placements', 'dory.revisions', 'dory.changes', 'dory.events', 'dory.node_verdicts'];
  const { rows } = await pool.query(`select version, ${tables.map((name, i) => `(select sum(xmin::text::bigint) from ${name}) as x${String(i)}`).join(', ')} from dory.state`);
  return JSON.stringify(rows);
}

/** Not what the engine remembers of it, but both ends anew. */
async function checkRemote(fleet: TestFleet): Promise<void> {
  const { pool, runtime } = fleet;
  const { owner, layout, revision } = await readState(pool);
  const settings = { ...renderSettings(runtime.settings), owner, layout: layout ?? 'flat' };
  const head = { revision: revision as RevisionId, trigger: '', decidedAt: instant(0) };
  const { tree } = render(emptyRenderState(settings), { ...(await readManifestInputs(pool, 0)), revision: head.revision, change: summarize(head, []) });
  const shown = new Map((await fleet.git('ls-tree', '-r', 'main')).trim().split('\n').map((line) => {
    const [entry = '', path = ''] = line.split('\t');
    return [path, entry.split(' ')[2]];
  }));
  // Which change was the last one is told by the file that differs.
  const differs = [...tree.files].filter(([path, blob]) => shown.get(path) !== blob).map(([path]) => path);
  check(shown.size === tree.files.size && differs.length <= 1, `${String(differs.length)} files on the remote are not those of a full render`);
}

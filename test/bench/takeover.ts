import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pool } from 'pg';
import { localRepository } from '../../src/cli/git-settings.ts';
import { packageRoot } from '../../src/platform/package-root.ts';
import { seedSyntheticFleet } from '../support/seed-database.ts';
import { temporaryFolder } from '../support/temp.ts';
import { atMost, check, count, median, plain, type BenchRow, type BenchSize } from './measure.ts';

/** Two instances as they are started: from the end of the one that leads to what the other one decides and commits. */
export async function benchTakeover({ pool, url }: { readonly pool: Pool; readonly url: string }, { rounds, quick }: BenchSize): Promise<readonly BenchRow[]> {
  const processors = quick ? 200 : 5_000;
  // So many templates that a release of one stays within the change budget.
  await seedSyntheticFleet(pool, { processors, templates: 100 });
  const folder = await temporaryFolder();
  const remote = await localRepository(folder.path, 'main', process.env['PATH'] ?? '');
  const instances: ChildProcess[] = [];
  const add = (): void => { instances.push(start({ url, remote, folder: folder.path, number: started++ })); };
  let started = 0;
  try {
    add();
    await until(async () => (await committed(pool)) > 0);
    add();
    const clean = await inRounds(rounds, () => takeover(pool, instances, add, 'SIGTERM'));
    const killed = await inRounds(quick ? 1 : 3, () => takeover(pool, instances, add, 'SIGKILL'));
    return [
      atMost(`clean shutdown → first decision of the next leader, ${count(processors)} processors`, median(clean.map(({ decided }) => decided)), 'ms', 2_000),
      plain('  its commit on the remote', median(clean.map(({ pushed }) => pushed)), 'ms'),
      atMost('kill -9 → first decision of the next leader, the longest', Math.max(...killed.map(({ decided }) => decided)), 'ms', 12_000),
      plain('  its commit on the remote', Math.max(...killed.map(({ pushed }) => pushed)), 'ms'),
    ];
  } finally {
    for (const instance of instances) await end(instance, 'SIGKILL');
    await folder.remove();
  }
}

async function inRounds<T>(rounds: number, work: () => Promise<T>): Promise<readonly T[]> {
  const results: T[] = [];
  for (let i = 0; i < rounds; i += 1) results.push(await work());
  return results;
}

interface Place {
  readonly url: string;
  readonly remote: string;
  readonly folder: string;
  readonly number: number;
}

function start({ url, remote, folder, number }: Place): ChildProcess {
  const env = {
    PATH: process.env['PATH'], DORY_DATABASE_URL: url, DORY_DATA_DIR: join(folder, `instance-${String(number)}`), DORY_GIT_URL: remote,
    DORY_GIT_COALESCE: '0s', DORY_HTTP_HOST: '127.0.0.1', DORY_HTTP_PORT: '0', DORY_POLL_INTERVAL: '1h', DORY_LOG_LEVEL: 'error',
  };
  return spawn(process.execPath, [join(packageRoot(), 'dist/src/main.js'), 'run'], { env, cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
}

async function end(instance: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (instance.exitCode !== null || instance.signalCode !== null) return;
  instance.kill(signal);
  await once(instance, 'exit');
}

interface Takeover {
  /** Milliseconds from the signal. */
  readonly decided: number;
  readonly pushed: number;
}

async function takeover(pool: Pool, instances: ChildProcess[], add: () => void, signal: NodeJS.Signals): Promise<Takeover> {
  const before = await leaderOf(pool);
  check(before !== null, 'nobody leads');
  const [leader] = instances.splice(0, 1);
  check(leader !== undefined, 'no instance leads');
  const revision = await newest(pool);
  const start = performance.now();
  leader.kill(signal);
  // What the next leader finds to decide.
  await pool.query(`update processor_template_versions set version = version || '.1' where processor_template_id = (select processor_template_id from processors order by id limit 1)`);
  await until(async () => (await newest(pool)) > revision);
  const decided = performance.now() - start;
  await until(async () => (await committed(pool)) > revision);
  const pushed = performance.now() - start;
  check((await leaderOf(pool)) !== before, 'the lease did not change hands');
  await end(leader, 'SIGKILL');
  add();
  // Long enough for the new one to stand by.
  await until(async () => (await standby(pool)) >= 2);
  return { decided, pushed };
}

const leaderOf = async (pool: Pool): Promise<string | null> =>
  (await pool.query<{ holder: string }>('select holder from dory.leader where expires_at > clock_timestamp()')).rows[0]?.holder ?? null;
const newest = async (pool: Pool): Promise<number> => Number((await pool.query<{ revision: string }>('select revision from dory.state')).rows[0]?.revision);
const committed = async (pool: Pool): Promise<number> => Number((await pool.query<{ id: string | null }>('select max(id) as id from dory.revisions where committed_at is not null')).rows[0]?.id ?? 0);
const standby = async (pool: Pool): Promise<number> => (await pool.query(`select from pg_stat_activity where application_name = 'dory-listen' and datname = current_database()`)).rowCount ?? 0;

async function until(holds: () => Promise<boolean>): Promise<void> {
  const start = performance.now();
  while (!(await holds())) {
    check(performance.now() - start < 120_000, 'waited two minutes in vain');
    await sleep(2);
  }
}

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually } from '../cli/program.ts';
import { startWorld, type World } from './instances.ts';

const nodes = 40;
/** For what has no bound of its own, on a machine that does much else. */
const patienceMs = 120_000;

let world: World;
beforeAll(async () => {
  world = await startWorld({ instances: 2, nodes });
  await eventually(async () => {
    const { rows } = await world.pool.query('select verdict, count(*)::int from dory.node_verdicts group by verdict');
    expect(rows).toEqual([{ verdict: 'healthy', count: nodes }]);
    expect((await world.pool.query('select from dory.revisions where committed_at is not null')).rowCount).toBe(1);
  }, patienceMs);
  await world.pool.query(`
    create table linger (seconds int not null);
    create function linger() returns trigger language plpgsql as $$ begin
      perform pg_sleep(seconds) from linger; return new; end $$;
    create trigger linger after insert on dory.revisions for each row execute function linger()`);
});
afterAll(async () => {
  await world.close();
});

const revisions = async (): Promise<readonly { readonly id: number; readonly committed: boolean }[]> =>
  (await world.pool.query<{ id: string; committed: boolean }>('select id, committed_at is not null as committed from dory.revisions order by id')).rows.map(({ id, committed }) => ({ id: Number(id), committed }));

const order = (version: string): Promise<unknown> =>
  world.pool.query(`update processor_template_versions set version = $1 where processor_template_id = (select id from processor_templates where slug = 'app-5')`, [version]);
const wake = (): Promise<unknown> => world.pool.query(`select pg_notify('dory', 'test')`);

/** Orders `version`, and returns while the decision on it is under way: its transaction lasts for `seconds` at least. */
async function beginDecision(version: string, { seconds }: { readonly seconds: number }): Promise<void> {
  await world.pool.query('insert into linger values ($1)', [seconds]);
  await order(version);
  await wake();
  await eventually(async () => { expect((await world.pool.query(`select from pg_stat_activity where wait_event = 'PgSleep'`)).rowCount).toBe(1); }, patienceMs);
}

/** One revision more than `count`, all of them published, and commits for them on the remote. */
async function oneMore(count: number): Promise<void> {
  await eventually(async () => {
    expect(await revisions()).toEqual(Array.from({ length: count + 1 }, (_, i) => ({ id: i + 1, committed: true })));
    expect((await world.git('rev-list', 'main')).trim().split('\n')).toHaveLength(count + 1);
  }, patienceMs);
}

async function nothingElseHappened(): Promise<void> {
  expect((await world.pool.query(`select node_id from dory.events where kind in ('verdict-lost', 'verdict-silent', 'verdict-detached')`)).rows).toEqual([]);
  expect(world.agents.failures).toEqual([]);
}

describe('a PostgreSQL', { concurrent: false, timeout: 400_000 }, () => {
  it('that dies in the middle of a decision costs nothing but the decision, which is made again', async () => {
    const before = await revisions();
    await beginDecision('3.0.1', { seconds: 60 });
    await world.crashPostgres();
    expect(await revisions()).toEqual(before);
    await world.pool.query('delete from linger');
    await oneMore(before.length);
    await nothingElseHappened();
  });

  it('that is gone without a word is given up, and found again', async () => {
    const before = await revisions();
    world.proxy.freeze();
    await order('3.0.2');
    await oneMore(before.length);
    await nothingElseHappened();
  });

  it('that holds the locks of a decision whose maker is gone without a word lets go of them', async () => {
    const before = await revisions();
    await beginDecision('3.0.3', { seconds: 1 });
    world.proxy.freeze();
    await world.pool.query('delete from linger');
    await oneMore(before.length);
    await nothingElseHappened();
  });

  it('whose place a standby takes is worked with again as soon as it is promoted', async () => {
    const before = await revisions();
    const answered = world.agents.answered;
    // As a standby answers whatever would write.
    const readOnly = async (value: 'on' | 'off'): Promise<void> => {
      await world.pool.query(`alter system set default_transaction_read_only = ${value}`);
      await world.pool.query('select pg_reload_conf()');
    };
    await readOnly('on');
    // Who led can't renew its lease, and says so; heartbeats are answered all the same.
    await Promise.all(world.instances.map(async ({ url }) => {
      await eventually(async () => { expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/\ndory_circuit_breaker_state\{component="database"\} 1\n[^]*\ndory_leader 0\n/); }, patienceMs);
    }));
    expect(world.agents.answered).toBeGreaterThan(answered);
    await readOnly('off');
    // Connections learn it a moment after.
    await eventually(async () => { await order('3.0.4'); }, patienceMs);
    await oneMore(before.length);
    await nothingElseHappened();
  });
});

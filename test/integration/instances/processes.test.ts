import { rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { leaseTiming } from '../../../src/platform/leadership.ts';
import { eventually } from '../cli/program.ts';
import { startWorld, type World } from './instances.ts';

const nodes = 500;
/** For what has no bound of its own, on a machine that does much else. */
const patienceMs = 120_000;

let world: World;
beforeAll(async () => {
  world = await startWorld({ instances: 3, nodes });
  await eventually(published, patienceMs);
  await eventually(async () => {
    const { rows } = await world.pool.query('select verdict, count(*)::int from dory.node_verdicts group by verdict');
    expect(rows).toEqual([{ verdict: 'healthy', count: nodes }]);
  }, patienceMs);
});
afterAll(async () => {
  await world.close();
});

/** Everything that was decided is on the remote. */
async function published(): Promise<void> {
  const { rows } = await world.pool.query<{ decided: string; pending: string }>('select count(*) as decided, count(*) filter (where committed_at is null) as pending from dory.revisions');
  expect(rows).toMatchObject([{ pending: '0' }]);
  expect(Number(rows[0]?.decided)).toBeGreaterThan(0);
}

const decided = async (): Promise<number> => Number((await world.pool.query<{ revision: string }>('select revision from dory.state')).rows[0]?.revision);
const decidedUnder = async (epoch: number): Promise<number> => Number((await world.pool.query<{ count: string }>('select count(*) from dory.revisions where leader_epoch = $1', [epoch])).rows[0]?.count);
const commits = async (): Promise<readonly string[]> => (await world.git('rev-list', 'main')).trim().split('\n');

/** A new version of one template, few enough for the change budget: a cycle has something to decide, and to push. */
async function release(version: string): Promise<void> {
  const before = await decided();
  await world.pool.query(`update processor_template_versions set version = $1 where processor_template_id = (select id from processor_templates where slug = 'app-5')`, [version]);
  await world.pool.query(`select pg_notify('dory', 'test')`);
  await eventually(async () => {
    expect(await decided()).toBeGreaterThan(before);
    await published();
  }, patienceMs);
}

/** Waits until somebody leads under another epoch. @returns what became of the lease of this one, and how long nobody had it, by the database's clock */
async function takeover(epoch: number): Promise<{ readonly ended: string; readonly freeMs: number }> {
  await eventually(async () => { expect((await world.leader()).epoch).toBeGreaterThan(epoch); }, patienceMs);
  const { rows } = await world.pool.query<{ ended: string; free: string }>(
    `select o.kind as ended, extract(epoch from n.at - coalesce((o.evidence ->> 'ran_out_at')::timestamptz, o.at)) * 1000 as free
       from dory.events o join dory.events n on n.kind = 'leader-elected' and (n.evidence ->> 'epoch')::int = $1 + 1
      where o.kind in ('leader-resigned', 'leader-lost') and (o.evidence ->> 'epoch')::int = $1`,
    [epoch],
  );
  expect(rows).toHaveLength(1);
  return { ended: rows[0]?.ended ?? '', freeMs: Number(rows[0]?.free) };
}

/** Nodes that run something, and that nothing was done to yet. */
async function someNodes(count: number): Promise<readonly string[]> {
  const { rows } = await world.pool.query<{ id: string }>(
    `select p.target_node_id as id from dory.placements p join dory.node_verdicts v on v.node_id = p.target_node_id and v.verdict = 'healthy'
      where p.phase = 'active' and p.target_node_id in (select node_id from dory.beats) group by p.target_node_id having count(*) = 1 order by id limit $1`,
    [count],
  );
  expect(rows).toHaveLength(count);
  return rows.map(({ id }) => id);
}

const killed = new Set<string>();
/** Nodes die, and what ran on them is placed elsewhere. */
async function failover(victims: readonly string[]): Promise<void> {
  for (const id of victims) killed.add(id);
  world.agents.kill(victims);
  await eventually(async () => { expect(await placedOn(victims)).toBe(0); }, patienceMs);
}
const placedOn = async (ids: readonly string[]): Promise<number> => (await world.pool.query('select from dory.placements where target_node_id = any($1)', [ids])).rowCount ?? 0;

describe('three instances under load', { concurrent: false, timeout: 400_000 }, () => {
  it('hand leadership over at once when the leader is shut down', async () => {
    const { instance, epoch } = await world.leader();
    world.agents.pointTo(world.instances.filter((other) => other !== instance).map(({ url }) => url));
    instance.signal('SIGTERM');
    const [{ ended, freeMs }, end] = await Promise.all([takeover(epoch), instance.ended]);
    expect(end).toEqual({ code: 0, signal: null });
    expect(ended).toBe('leader-resigned');
    expect(freeMs).toBeLessThan(leaseTiming.lease);
    world.instances.splice(world.instances.indexOf(instance), 1);
    await world.add();
    world.agents.pointTo(world.instances.map(({ url }) => url));
    await release('2.0.1');
  });

  it('outlive a leader that is killed', async () => {
    const { instance, epoch } = await world.leader();
    instance.signal('SIGKILL');
    const { ended, freeMs } = await takeover(epoch);
    expect(ended).toBe('leader-lost');
    // Who waits looks when the lease runs out, if the machine lets it.
    expect(freeMs).toBeLessThan(leaseTiming.lease);
    world.instances.splice(world.instances.indexOf(instance), 1);
    await world.add();
    world.agents.pointTo(world.instances.map(({ url }) => url));
    await release('2.0.2');
  });

  it('let a leader that stood still for half a minute write nothing when it goes on', async () => {
    const { instance: asleep, epoch } = await world.leader();
    const stopped = performance.now();
    asleep.signal('SIGSTOP');
    onTestFinished(() => { asleep.signal('SIGCONT'); });
    expect((await takeover(epoch)).ended).toBe('leader-lost');
    const under = await decidedUnder(epoch);
    await failover(await someNodes(3));
    await eventually(published, patienceMs);
    const [before, revision] = [await commits(), await decided()];
    await sleep(Math.max(0, stopped + 30_000 - performance.now()));
    asleep.signal('SIGCONT');
    await asleep.logged(({ msg }) => msg === 'leadership lost');
    // It answers again, and leads no more; two of its looks later it has written nothing.
    await eventually(async () => { expect(await (await fetch(`${asleep.url}/metrics`)).text()).toContain('\ndory_leader 0\n'); }, patienceMs);
    const looks = (await world.leader()).epoch;
    await release('2.0.3');
    expect(await decidedUnder(epoch)).toBe(under);
    expect((await world.leader()).epoch).toBe(looks);
    expect(await decided()).toBe(revision + 1);
    expect((await commits()).slice(1)).toEqual(before);
  });

  it('keep what was decided while the Git host is away, and publish all of it in order', async () => {
    const before = await commits();
    const victims = await someNodes(2);
    await rename(world.remote, `${world.remote}.away`);
    await failover(victims).finally(() => rename(`${world.remote}.away`, world.remote));
    await eventually(published, patienceMs);
    expect((await commits()).length).toBeGreaterThan(before.length);
    expect(await commits()).toEqual(expect.arrayContaining([...before]));
  });

  it('leave one line of leaders, one chain of commits, no beat unanswered, and no node lost but the dead', async () => {
    const elected = await world.pool.query<{ epoch: number }>(`select (evidence ->> 'epoch')::int as epoch from dory.events where kind = 'leader-elected' order by id`);
    expect(elected.rows.map(({ epoch }) => epoch)).toEqual(elected.rows.map((_, i) => i + 1));
    const epochs = (await world.pool.query<{ epoch: string }>('select leader_epoch as epoch from dory.revisions order by id')).rows.map(({ epoch }) => Number(epoch));
    expect(epochs).toEqual(epochs.toSorted((a, b) => a - b));
    const chain = (await world.git('log', '--first-parent', '--reverse', '--format=%P %(trailers:key=Dory-Revision,valueonly,separator=)', 'main')).trim().split('\n').map((line) => line.trim().split(' '));
    expect(chain.slice(1).every((line) => line.length === 2), 'each commit has one parent').toBe(true);
    const revisions = chain.map((line) => Number(line.at(-1)));
    expect(revisions).toEqual([...new Set(revisions)].toSorted((a, b) => a - b));
    const lost = await world.pool.query<{ node_id: string }>(`select distinct node_id from dory.events where kind in ('verdict-lost', 'verdict-silent', 'verdict-detached')`);
    expect(lost.rows.map((row) => row.node_id).filter((id) => !killed.has(id))).toEqual([]);
    expect(world.agents.failures).toEqual([]);
    expect(world.agents.answered).toBeGreaterThan(nodes * 5);
  });
});

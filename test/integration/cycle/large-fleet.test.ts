import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { testFleet } from '../../support/fleet.ts';
import { testDatabase } from '../../support/postgres.ts';
import { seedSyntheticFleet } from '../../support/seed-database.ts';
import { temporaryFolder } from '../../support/temp.ts';

const run = promisify(execFile);
const size = 5_000;

/** What a person who clones the repository sees of each processor: `target epoch phase`, by the name of its file. */
async function cloned(remote: string, folder: string): Promise<ReadonlyMap<string, string>> {
  await run('git', ['clone', '--quiet', '--depth=1', '--no-checkout', `file://${remote}`, folder]);
  const { stdout } = await run('git', ['-C', folder, 'grep', '-h', '-e', '', 'HEAD', '--', 'clusters/test/processors/**/placements.tsv', 'clusters/test/processors/placements.tsv'], { maxBuffer: 1e8 });
  const lines = stdout.trimEnd().split('\n').filter((line) => !line.startsWith('name\t'));
  return new Map(lines.map((line) => {
    const [name = '', target, epoch, phase] = line.split('\t');
    return [name, `${target ?? ''} ${epoch ?? ''} ${phase ?? ''}`];
  }));
}

it(`tells the whole story of ${String(size)} processors to whoever clones the repository`, async () => {
  const [database, folder] = [await testDatabase(), await temporaryFolder()];
  const fleet = await testFleet({ ...database, folder: folder.path, flags: { 'failover-stability-window': '0s' } });
  try {
    await seedSyntheticFleet(database.pool, { processors: size, nodes: 250 });
    // Nobody's refuge: what it loses goes to the managed pool.
    const victim = 'edge-250';
    const all = `update edge_nodes set last_heartbeat_at = clock_timestamp() + interval '1 hour'`;
    expect((await fleet.once()).planned.changes).toHaveLength(size);
    const first = await cloned(fleet.remote, join(folder.path, 'first'));
    expect(first.size).toBe(size);
    const atVictim = [...first].filter(([, place]) => place === `${victim} 1 active`).map(([name]) => name);
    expect(atVictim.length).toBeGreaterThan(10);

    await database.pool.query(all);
    await fleet.age(61_000, victim);
    const failover = await fleet.once();
    expect(failover.planned.changes.map(({ kind }) => kind)).toEqual(atVictim.map(() => 'move'));
    const moved = await cloned(fleet.remote, join(folder.path, 'moved'));
    for (const [name, place] of moved) expect(place).toBe(atVictim.includes(name) ? 'managed 2 active' : first.get(name));

    await database.pool.query(all);
    const stop = await fleet.once();
    expect(stop.planned.changes.map(({ kind }) => kind)).toEqual(atVictim.map(() => 'stop'));
    await database.pool.query(
      `insert into dory.beats (processor_id, epoch, last_beat_at, stop_acknowledged_at) select processor_id, epoch, clock_timestamp(), clock_timestamp()
         from dory.placements where phase = 'stopping'`,
    );
    expect((await fleet.once()).planned.changes.map(({ kind, reason }) => [kind, reason])).toEqual(atVictim.map(() => ['move', 'node-recovered']));
    const home = await cloned(fleet.remote, join(folder.path, 'home'));
    for (const [name, place] of home) expect(place).toBe(atVictim.includes(name) ? `${victim} 3 active` : first.get(name));
    expect((await fleet.git('log', '--format=%s', 'main')).trim().split('\n')).toHaveLength(4);
  } finally {
    await fleet.close();
    await database.close();
    await folder.remove();
  }
});

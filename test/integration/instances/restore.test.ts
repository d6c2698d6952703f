import { afterEach, beforeEach, expect, test } from 'vitest';
import { operatorContext } from '../../../src/cli/operator-context.ts';
import { runOperation } from '../../../src/operator/operation.ts';
import { repairEpochs } from '../../../src/operator/repair.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';
import { onServer } from '../../support/postgres.ts';

const [cam1, cam2, cam4] = ['00000000-0000-4000-8000-0000000000c1', '00000000-0000-4000-8000-0000000000c2', '00000000-0000-4000-8000-0000000000c4'];

let fleet: SmallFleet;
let backup: string;
beforeEach(async () => {
  fleet = await openSmallFleet();
  backup = `${new URL(fleet.runtime.databaseUrl).pathname.slice(1)}_backup`;
});
afterEach(async () => {
  await fleet.close();
  await onServer(`drop database if exists ${backup} with (force)`);
});

const name = (): string => new URL(fleet.runtime.databaseUrl).pathname.slice(1);
/** Copies need a database that nobody is connected to. */
const leave = (): Promise<void> => onServer(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name()}'`);

async function takeBackup(): Promise<void> {
  await leave();
  await onServer(`create database ${backup} template ${name()}`);
}

async function restore(): Promise<void> {
  await onServer(`drop database ${name()} with (force)`);
  await onServer(`alter database ${backup} rename to ${name()}`);
}

const release = (version: string): Promise<unknown> => fleet.pool.query('update processor_template_versions set version = $1', [version]);
const repair = (input: object): Promise<unknown> => runOperation(operatorContext(fleet.runtime), repairEpochs, { reason: 'restored', ...input }, { name: 'ada' });

/** What Git shows: name of the StatefulSet by processor. */
async function running(): Promise<Readonly<Record<string, string>>> {
  const paths = (await fleet.git('ls-tree', '-r', '--name-only', 'main')).split('\n').filter((path) => /\/processors\/.*\.yaml$/.test(path));
  const texts = await Promise.all(paths.map((path) => fleet.git('show', `main:${path}`)));
  return Object.fromEntries(texts.map((text) => [/processor-id: (\S+)/.exec(text)?.[1] ?? '', `${/-e\d+$/m.exec(text)?.[0] ?? ''} on ${/kubernetes.io\/hostname: (\S+)/.exec(text)?.[1] ?? 'managed'}`]));
}

/** Yesterday; and what was decided since, which the backup does not know: a failover, a release, an end, a new processor. */
async function aDay(): Promise<void> {
  await fleet.once();
  await takeBackup();
  await fleet.age(61_000, 'edge-1');
  expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['move', 'move']);
  await release('1.0.1');
  await fleet.once();
  await fleet.pool.query(`update processors set status = 'terminated' where id = $1`, [cam2]);
  await fleet.once();
  await fleet.pool.query(
    `insert into processors (id, processor_template_id, node_type, node_id) values ($1, '00000000-0000-4000-8000-00000000000a', 'edge', '00000000-0000-4000-8000-0000000000e2')`,
    [cam4],
  );
  expect((await fleet.once()).decision.revision).toBe(5);
}

test('a database restored from yesterday decides nothing, is repaired from Git, and goes on without touching what runs', async () => {
  await aDay();
  await restore();
  await fleet.age(61_000, 'edge-1');
  await release('1.0.2');
  await expect(fleet.once()).rejects.toMatchObject({ code: 'database-behind', retry: 'never' });
  await expect(fleet.engine.publisher.checkRemote()).rejects.toMatchObject({ code: 'database-behind' });
  const told = await fleet.pool.query(`select evidence from dory.events where kind = 'database-behind'`);
  expect(told.rows).toEqual([{ evidence: { git: 5, database: 1 } }]);
  const version = async (): Promise<unknown> => (await fleet.pool.query('select version, revision from dory.state')).rows;
  const before = await version();
  expect(before).toMatchObject([{ revision: '1' }]);

  // What only Git knows is nobody's to drop without a word.
  await expect(repair({})).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('camera-') as unknown });
  const shown = { git: 5, database: 1, unexplained: [], floors: [{ processor: cam2, epoch: 5 }, { processor: cam4, epoch: 1 }] };
  const changes = [
    { processor: cam1, before: { target: 'edge-1', epoch: 1, phase: 'active' }, after: { target: 'managed', epoch: 2, phase: 'active' } },
    { processor: cam2, before: { target: 'edge-1', epoch: 1, phase: 'active' }, after: null },
  ];
  expect(await repair({ dropUnknown: true, dryRun: true })).toEqual({ applied: false, revision: null, changes, ...shown });
  expect(await version()).toEqual(before);
  expect(await repair({ dropUnknown: true })).toEqual({ applied: true, revision: 6, changes, ...shown });
  expect(await repair({ dropUnknown: true })).toMatchObject({ applied: false, revision: null, changes: [] });

  const report = await fleet.once();
  expect(report.publication?.kind).toBe('pushed');
  // The first stays where it is, under the epoch that it has; the second starts above all it ever had.
  expect(report.planned.changes.map(({ kind, processorId, after }) => [kind, processorId, after?.epoch])).toEqual([['place', cam2, 6], ['update', '00000000-0000-4000-8000-0000000000c3', 1]]);
  expect(await running()).toEqual({ [cam1]: '-e2 on managed', [cam2]: '-e6 on edge-1', '00000000-0000-4000-8000-0000000000c3': '-e1 on managed' });
  expect((await fleet.pool.query('select from dory.revisions where committed_at is null')).rowCount).toBe(0);
  expect((await fleet.once()).decision.wrote).toBe(false);
});

test('an epoch that only an agent has seen counts as well', async () => {
  await fleet.once();
  await fleet.pool.query(`delete from dory.placements where processor_id = $1`, [cam2]);
  await fleet.pool.query(
    `insert into dory.events (kind, processor_id, evidence) select 'epoch-ahead', id, '{"echoed": 9, "known": 1}' from processors where id = any($1)`,
    [[cam1, cam2]],
  );
  const expected = { applied: true, changes: [{ processor: cam2, before: null, after: { target: 'edge-1', epoch: 1, phase: 'active' } }], unexplained: [{ processor: cam1, echoed: 9, shown: 1 }, { processor: cam2, echoed: 9, shown: 1 }] };
  expect(await repair({})).toMatchObject(expected);
  await fleet.once();
  expect(await running()).toMatchObject({ [cam1]: '-e1 on edge-1', [cam2]: '-e1 on edge-1' });
  expect(await repair({})).toMatchObject({ applied: false });
});

test('a database that is not behind is left alone', async () => {
  await fleet.once();
  const before = await fleet.pool.query('select version from dory.state');
  expect(await repair({})).toEqual({ applied: false, git: 1, database: 1, revision: null, changes: [], floors: [], unexplained: [] });
  expect((await fleet.pool.query('select version from dory.state')).rows).toEqual(before.rows);
});

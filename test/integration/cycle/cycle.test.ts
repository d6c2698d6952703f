import { readdir, rename, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Failure } from '../../../src/model/failure.ts';
import { plan } from '../../../src/plan/plan.ts';
import { openSmallFleet, type SmallFleet } from '../../support/fleet.ts';

let fleet: SmallFleet;

beforeEach(async () => {
  fleet = await openSmallFleet();
});

afterEach(() => fleet.close());

/** Row counts of our own tables: what a cycle that writes nothing leaves as it is. */
async function footprint(): Promise<unknown> {
  const { rows } = await fleet.pool.query(`
    select (select version from dory.state) as version, (select count(*) from dory.events) as events, (select count(*) from dory.changes) as changes,
           (select count(*) from dory.revisions) as revisions, (select sum(xmin::text::bigint) from dory.placements) as placements,
           (select sum(xmin::text::bigint) from processors) as processors, (select sum(xmin::text::bigint) from edge_nodes) as nodes`);
  return rows[0];
}

const kinds = (report: Awaited<ReturnType<SmallFleet['once']>>): string[] => report.planned.changes.map(({ kind }) => kind);

describe('a cycle', () => {
  it('places the fleet in one commit, and then writes nothing, and starts no git process', async () => {
    const first = await fleet.once();
    expect(kinds(first)).toEqual(['place', 'place', 'place']);
    expect(first.publication?.kind).toBe('pushed');
    expect((await fleet.git('rev-list', 'main')).trim().split('\n')).toHaveLength(1);
    await fleet.beat('edge-1', 'edge-2');
    const before = await footprint();
    // A repository that is gone: any git process would fail.
    await rename(fleet.remote, `${fleet.remote}.gone`);
    const idle = await fleet.once();
    expect(idle).toMatchObject({ decision: { wrote: false, revision: null }, publication: null });
    expect(await footprint()).toEqual(before);
  });

  it('moves the processors of a lost node and tells the running system\'s tables', async () => {
    await fleet.once();
    await fleet.age(61_000, 'edge-1');
    const report = await fleet.once();
    expect(kinds(report)).toEqual(['move', 'move']);
    expect(report.publication).toMatchObject({ kind: 'pushed', files: 4 });
    const { rows } = await fleet.pool.query(`select status from processors order by id`);
    expect(rows.map((row: { status: string }) => row.status)).toEqual(['failover', 'failover', 'pending']);
    const nodes = await fleet.pool.query(`select name, status from edge_nodes order by name`);
    expect(nodes.rows).toEqual([{ name: 'edge-1', status: 'offline' }, { name: 'edge-2', status: 'online' }]);
    const events = await fleet.pool.query(`select event_type from edge_node_events order by event_type`);
    expect(events.rows.map((row: { event_type: string }) => row.event_type)).toEqual(['failover', 'failover', 'node_healthy', 'node_healthy', 'node_lost']);
    const message = await fleet.git('log', '-1', '--format=%B', 'main');
    expect(message).toMatch(/^failover\(edge-1\): move 2 processors \(heartbeat stale \d+ s\)\n/);
    expect(message).toContain('Dory-Revision: 2\n');
    expect(message).toMatch(/\nDory-Events: \d+-\d+\n/);
    expect((await fleet.git('show', '--name-only', '--format=', 'main')).trim().split('\n').filter((name) => name.endsWith('.yaml'))).toHaveLength(2);
  });

  it('keeps the decision when the remote is down, and publishes it in one commit when it is back', async () => {
    await fleet.once();
    await rename(fleet.remote, `${fleet.remote}.down`);
    await fleet.age(61_000, 'edge-1');
    await expect(fleet.once()).rejects.toMatchObject({ code: 'git-unreachable', retry: 'backoff' });
    const pending = await fleet.pool.query('select id from dory.revisions where committed_at is null');
    expect(pending.rowCount).toBe(1);
    await fleet.pool.query(`update processor_template_versions set version = '1.0.1'`);
    await expect(fleet.once()).rejects.toBeInstanceOf(Failure);
    await rename(`${fleet.remote}.down`, fleet.remote);
    const report = await fleet.once();
    expect(report.planned.changes).toEqual([]);
    expect(report.publication).toMatchObject({ kind: 'pushed', revision: 3 });
    expect((await fleet.git('rev-list', 'main')).trim().split('\n')).toHaveLength(2);
    expect(await fleet.git('log', '-1', '--format=%B', 'main')).toMatch(/Dory-Revisions: 2-3/);
  });

  it('does not decide on what another decision changed meanwhile', async () => {
    await fleet.once();
    await fleet.age(61_000, 'edge-1');
    const snapshot = await fleet.engine.stages.observe();
    await fleet.once();
    const late = plan(snapshot);
    expect(late.changes).toHaveLength(2);
    await expect(fleet.lead((stages) => stages.decide(snapshot, late))).rejects.toMatchObject({ code: 'database-conflict', retry: 'now' });
    await expect(fleet.engine.stages.decide(snapshot, late), 'the lease is gone').rejects.toMatchObject({ code: 'not-leader' });
  });

  it('does not leave a node that speaks up in the last moment', async () => {
    await fleet.once();
    await fleet.age(61_000, 'edge-1');
    const snapshot = await fleet.engine.stages.observe();
    await fleet.beat('edge-1');
    await expect(fleet.lead((stages) => stages.decide(snapshot, plan(snapshot)))).rejects.toMatchObject({ code: 'database-conflict', retry: 'now' });
    expect((await fleet.pool.query('select from dory.placements where epoch > 1')).rowCount).toBe(0);
    expect(kinds(await fleet.once())).toEqual([]);
  });

  it('keeps a person\'s commit beside our folder, and restores what a person changed inside of it', async () => {
    await fleet.once();
    const clone = `${fleet.folder}/person`;
    await fleet.git('clone', '--quiet', fleet.remote, clone);
    const person = (...args: string[]): Promise<string> => fleet.git('-C', clone, '-c', 'user.name=Ada', '-c', 'user.email=ada@example.com', ...args);
    await writeFile(`${clone}/NOTES.md`, 'mine\n');
    await person('add', '-A');
    await person('commit', '-qm', 'Add notes');
    await person('push', '-q');
    await fleet.age(61_000, 'edge-1');
    expect((await fleet.once()).publication?.kind).toBe('pushed');
    expect(await fleet.git('show', 'main:NOTES.md')).toBe('mine\n');

    await person('pull', '-q');
    const manifests = (await readdir(`${clone}/clusters/test/processors`)).filter((name) => name.endsWith('.yaml'));
    await writeFile(`${clone}/clusters/test/processors/${manifests[0] ?? ''}`, 'broken: true\n');
    await person('commit', '-qam', 'Tinker');
    await person('push', '-q');
    const edit = await fleet.engine.publisher.checkRemote();
    expect(edit?.paths).toEqual([`clusters/test/processors/${manifests[0] ?? ''}`]);
    expect((await fleet.once()).publication?.kind).toBe('pushed');
    expect(await fleet.git('show', `main:clusters/test/processors/${manifests[0] ?? ''}`)).toContain('kind: StatefulSet');
    expect(await fleet.engine.publisher.checkRemote()).toBeNull();
    expect((await fleet.git('log', '-1', '--format=%s', 'main')).trim()).toMatch(/^restore/);
    const events = await fleet.pool.query(`select kind from dory.events where kind = 'foreign-edit'`);
    expect(events.rowCount).toBe(1);
  });

  it('leaves a person\'s edit alone where the settings say so, until it is approved or taken back', async () => {
    const holding = await fleet.another({ 'git-foreign-edits': 'hold' });
    await holding.once();
    const path = 'clusters/test/processors/placements.tsv';
    const clone = `${fleet.folder}/person`;
    await holding.git('clone', '--quiet', holding.remote, clone);
    const person = (...args: string[]): Promise<string> => holding.git('-C', clone, '-c', 'user.name=Ada', '-c', 'user.email=ada@example.com', ...args);
    const edit = async (text: string): Promise<void> => {
      await writeFile(`${clone}/${path}`, text);
      await person('commit', '-qam', 'Edit');
      await person('push', '-q');
    };
    const original = await holding.git('show', `main:${path}`);
    await edit('mine\n');
    expect((await holding.engine.publisher.checkRemote())?.paths).toEqual([path]);
    await expect(holding.once()).rejects.toMatchObject({ code: 'git-held' });
    await expect(holding.once()).rejects.toMatchObject({ code: 'git-held' });
    await edit(original);
    expect((await holding.once()).publication).toBeNull();

    await edit('mine again\n');
    await holding.engine.publisher.checkRemote();
    await expect(holding.once()).rejects.toMatchObject({ code: 'git-held' });
    await fleet.pool.query(`insert into dory.approvals (subject, approved_by, reason, expires_at) values ('foreign-edit', 'ada', 'mistake', now() + interval '1 hour')`);
    expect((await holding.once()).publication?.kind).toBe('pushed');
    expect(await holding.git('show', `main:${path}`)).toBe(original);
    expect((await fleet.pool.query(`select from dory.events where kind = 'foreign-edit'`)).rowCount).toBe(2);
    await holding.close();
  });

  it('restores a branch that was set back while nobody ran, also to before our first commit', async () => {
    await fleet.once();
    const first = (await fleet.git('rev-parse', 'main')).trim();
    await fleet.age(61_000, 'edge-1');
    await fleet.once();
    const tree = (await fleet.git('rev-parse', 'main:clusters')).trim();
    const empty = (await fleet.git('hash-object', '-w', '-t', 'tree', '/dev/null')).trim();
    const begun = (await fleet.git('-c', 'user.name=Ada', '-c', 'user.email=ada@example.com', 'commit-tree', '-m', 'begin anew', empty)).trim();
    for (const target of [first, begun]) {
      await fleet.git('update-ref', 'refs/heads/main', target);
      const restarted = await fleet.another();
      await fleet.beat('edge-2');
      expect((await restarted.once()).publication).toBeNull();
      expect(await restarted.engine.publisher.checkRemote()).toMatchObject({ commit: target });
      expect((await restarted.once()).publication?.kind).toBe('pushed');
      expect((await fleet.git('rev-parse', 'main:clusters')).trim()).toBe(tree);
      expect(await restarted.engine.publisher.checkRemote()).toBeNull();
      await restarted.close();
    }
  });

  it('stops when the database is older than Git', async () => {
    await fleet.once();
    await fleet.age(61_000, 'edge-1');
    await fleet.once();
    // As a restored backup would be: it knows nothing of the second revision.
    await fleet.pool.query(`delete from dory.changes where revision = 2; delete from dory.events where revision = 2; update dory.placements set revision = 1, epoch = 1;
      delete from dory.revisions where id = 2; update dory.state set revision = 1; update dory.revisions set committed_at = null`);
    const restored = await fleet.another();
    await fleet.beat('edge-1');
    await expect(restored.once()).rejects.toMatchObject({ code: 'database-behind', retry: 'never' });
    await restored.close();
  });

  it('quarantines a broken row, says how to mend it, and goes on with all others', async () => {
    await fleet.once();
    await fleet.pool.query(`
      insert into processor_templates (id, slug, name) values ('00000000-0000-4000-8000-00000000000b', 'broken', 'Broken');
      insert into processor_template_versions (processor_template_id, image_uri, version, runtime_config_template, is_active)
        values ('00000000-0000-4000-8000-00000000000b', 'registry.example.com/b:1', '1', '{"resources": {"cpu_request": "5OOm"}}', true);
      update processors set processor_template_id = '00000000-0000-4000-8000-00000000000b' where id = '00000000-0000-4000-8000-0000000000c1';
      update processor_template_versions set version = '1.0.1' where version = '1.0.0'`);
    const report = await fleet.once();
    expect(report.planned.quarantined).toMatchObject([{ id: '00000000-0000-4000-8000-0000000000c1', problems: [{ field: 'runtime_config_template.resources.cpu_request', value: '5OOm' }] }]);
    expect(kinds(report)).toEqual(['update', 'update']);
    expect((await fleet.once()).decision.wrote).toBe(false);
    await fleet.age(61_000, 'edge-1');
    const moved = await fleet.once();
    expect(moved.planned.changes.map(({ kind, processorId }) => [kind, processorId])).toEqual([
      ['move', '00000000-0000-4000-8000-0000000000c1'],
      ['move', '00000000-0000-4000-8000-0000000000c2'],
    ]);
    await fleet.pool.query(`update processor_template_versions set runtime_config_template = '{}' where version = '1'`);
    await fleet.once();
    const events = await fleet.pool.query(`select kind from dory.events where kind in ('quarantined', 'released') order by id`);
    expect(events.rows).toEqual([{ kind: 'quarantined' }, { kind: 'released' }]);
  });

  it('refuses an empty fleet until a person approves it', async () => {
    await fleet.once();
    await fleet.pool.query(`update processors set status = 'terminated'`);
    const refused = await fleet.once();
    expect(refused.planned.refusals.map(({ subject }) => subject)).toEqual(['empty-result']);
    expect(refused.decision.revision).toBeNull();
    expect((await fleet.once()).decision.wrote).toBe(false);
    await fleet.pool.query(`insert into dory.approvals (subject, approved_by, reason, expires_at) values ('empty-result', 'ada', 'closing', now() + interval '1 hour')`);
    expect(kinds(await fleet.once())).toEqual(['remove', 'remove', 'remove']);
    await fleet.pool.query(`update processors set status = 'pending'`);
    const back = await fleet.once();
    expect(back.planned.changes.map(({ after }) => after?.epoch)).toEqual([1, 1, 1]);
  });

  it('stops what is renamed, and starts it under the new name in the same place when it has stopped', async () => {
    await fleet.once();
    const { rows: [placed] } = await fleet.pool.query<{ id: string }>(`select processor_id as id from dory.placements where target_kind = 'edge' order by 1 limit 1`);
    await fleet.pool.query(`update processors set k8s_namespace = 'eu' where id = $1`, [placed!.id]);
    expect((await fleet.once()).planned.changes).toMatchObject([{ kind: 'stop', processorId: placed!.id, reason: 'renamed' }]);
    expect((await fleet.once()).planned).toMatchObject({ changes: [], holds: [{ processorId: placed!.id }] });
    await fleet.pool.query(`insert into dory.stop_confirmations (processor_id, epoch, confirmed_by) values ($1, 1, 'ann')`, [placed!.id]);
    expect((await fleet.once()).planned.changes).toMatchObject([{ kind: 'resume', reason: 'renamed', after: { epoch: 2, phase: 'active' }, evidence: { fence: 'fence-confirmed' } }]);
    expect((await fleet.once()).decision.wrote).toBe(false);
    // What changed in anything else is edited where it is.
    await fleet.pool.query(`update processor_template_versions set version = '1.0.1'`);
    expect((await fleet.once()).planned.changes.map(({ kind }) => kind)).toEqual(['update', 'update', 'update']);
  });

  it('takes up as stopping what is added again for another place than the one where its pod may still run', async () => {
    await fleet.once();
    const placed = await fleet.pool.query<{ processor_id: string; target_node_id: string; epoch: string }>(
      `select processor_id, target_node_id, epoch from dory.placements where target_kind = 'edge' order by processor_id limit 1`,
    );
    const { processor_id: id, target_node_id: left, epoch } = placed.rows[0]!;
    await fleet.pool.query(`update processors set status = 'terminated' where id = $1`, [id]);
    await fleet.once();
    await fleet.pool.query(`update processors set status = 'pending', node_type = 'managed', node_id = null where id = $1`, [id]);
    expect(kinds(await fleet.once())).toEqual(['place']);
    const { rows } = await fleet.pool.query(
      `select l.phase, l.target_node_id, l.epoch, l.reason, p.status::text from dory.placements l join processors p on p.id = l.processor_id where p.id = $1`, [id],
    );
    expect(rows).toEqual([{ phase: 'stopping', target_node_id: left, epoch, reason: 'added-again', status: 'pending' }]);
  });
});

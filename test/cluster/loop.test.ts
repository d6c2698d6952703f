import { describe, expect, inject, test } from 'vitest';
import { giveBack } from '../../src/apply/hand-over.ts';
import { readApplied } from '../../src/operator/applied-view.ts';
import { removeProcessors } from '../support/cluster-fleet.ts';
import { useLoop, type Started } from '../support/loop.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

describe.skipIf(typeof programs === 'string')('the loop that keeps the cluster at the newest commit', () => {
  const world = useLoop(programs);
  const { sets, names, path, nameOf, start, settled, remove, release, events, problems, manifest, deafKubeconfig, committed, committedWith } = world;

  test('creates what is committed, and sends nothing while that is so, not even after a restart', async () => {
    const first = start();
    const report = await first.applier.pass();
    expect(report.outcomes.map(({ kind }) => kind)).toEqual(['created', 'created', 'created']);
    expect(report.complete).toBe(true);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    expect(await first.applier.pass()).toMatchObject({ requests: 0, inSync: 3, complete: true });
    const before = (await sets()).map(({ metadata }) => metadata.resourceVersion);
    const second = start();
    expect(await second.applier.pass()).toMatchObject({ requests: 0, inSync: 3, complete: true, outcomes: [] });
    expect((await sets()).map(({ metadata }) => metadata.resourceVersion)).toEqual(before);
    expect((await world.fleet.pool.query('select shard, revision from dory.applied')).rows).toEqual([{ shard: 'clusters/test/processors', revision: '1' }]);
  });

  test('brings a new commit, and prunes what it has no more', async () => {
    const { applier } = start();
    await applier.pass();
    await release('1.0.1');
    await remove('c2');
    await world.fleet.once();
    const report = await applier.pass();
    expect(report.outcomes.map(({ kind }) => kind).sort()).toEqual(['configured', 'configured', 'pruned']);
    await until(async () => (await names()).join() === 'c1 1,c3 1', 'c2 is gone');
    await settled({ applier } as Started);
  });

  test('puts back what somebody changed, and says who, what and when', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    const woken = opened.changes();
    await world.server.kubectl('scale', 'statefulset', name, '--replicas=5');
    await until(() => opened.changes() > woken, 'the change is seen');
    const report = await opened.applier.pass();
    expect(report.outcomes.map(({ kind }) => kind)).toEqual(['configured']);
    expect((await sets()).map(({ spec }) => spec.replicas)).toEqual([1, 1, 1]);
    const [event] = await events();
    expect(event?.evidence).toMatchObject({ action: 'corrected', deleted: false, fields: ['spec.replicas'], who: [{ manager: 'kubectl', operation: 'Update' }] });
    await settled(opened);
  });

  test('tells of a field that was removed, and of one that was set in an editor, and when', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c1'), opened.changes()];
    await world.server.kubectl('set', 'env', 'statefulset', name, 'PROCESSOR_ID=another', 'DORY_APP_NAME-');
    await until(() => opened.changes() > woken, 'the change is seen');
    await opened.applier.pass();
    const [event] = await events();
    expect(event?.evidence).toMatchObject({ who: [{ manager: 'kubectl-set', operation: 'Update' }] });
    expect(event?.evidence['fields']).toEqual(['spec.template.spec.containers[processor].env[PROCESSOR_ID].value', 'spec.template.spec.containers[processor].env[DORY_APP_NAME]']);
    expect(JSON.stringify(event?.evidence)).toMatch(/"when":"20\d\d-/);
    await settled(opened);
  });

  test('leaves the fields of others alone', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const name = await nameOf('c1');
    await world.server.kubectl('annotate', 'statefulset', name, 'example.com/note=theirs');
    await world.server.kubectl('rollout', 'restart', 'statefulset', name);
    const { applier } = start();
    for (const one of [opened.applier, applier]) expect((await one.pass()).requests).toBe(0);
    expect((await sets()).find(({ metadata }) => metadata.name === name)?.metadata.annotations['example.com/note']).toBe('theirs');
  });

  test('only tells of drift where that is asked for, once', async () => {
    const opened = start({ settings: { drift: 'report' } });
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c1'), opened.changes()];
    await world.server.kubectl('scale', 'statefulset', name, '--replicas=5');
    await until(() => opened.changes() > woken, 'the change is seen');
    for (let n = 0; n < 3; n += 1) expect((await opened.applier.pass()).complete).toBe(false);
    expect((await sets()).find(({ metadata }) => metadata.name === name)?.spec.replicas).toBe(5);
    expect((await events()).map(({ evidence }) => evidence['action'])).toEqual(['reported']);
    expect(await problems()).toEqual(['drift-reported']);
  });

  test('creates anew what somebody deleted', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    const [name, woken] = [await nameOf('c3'), opened.changes()];
    await world.server.kubectl('delete', 'statefulset', name);
    await until(() => opened.changes() > woken, 'the deletion is seen');
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['created']);
    expect((await events()).map(({ evidence }) => [evidence['deleted'], evidence['object']])).toEqual([[true, `apps/v1/StatefulSet/default/${name}`]]);
  });

  test('never applies a placement of which the cluster shows a later one, and never prunes what a later revision put there', async () => {
    const { applier } = start();
    await applier.pass();
    const name = await nameOf('c1');
    const one = (await sets()).find(({ metadata }) => metadata.name === name);
    const later = { ...one, apiVersion: 'apps/v1', kind: 'StatefulSet', metadata: { name: name.replace('-e1', '-e2'), namespace: 'default', labels: one?.metadata.labels, annotations: { 'dory.io/epoch': '2', 'dory.io/revision': '2' } } };
    await world.server.send('DELETE', `${path(name)}?propagationPolicy=Background`);
    // As we would, so that it is ours to delete.
    await world.server.kubectl('apply', '--server-side', '--field-manager=dory-orchestrator', '-f', await manifest(later));
    const restarted = start();
    const report = await restarted.applier.pass();
    // Of what is not applied, and of what is not deleted.
    expect(report.problems.map(({ reason }) => reason)).toEqual(['higher-epoch', 'higher-epoch']);
    expect(report.outcomes.filter(({ kind }) => kind !== 'skipped')).toEqual([]);
    expect(await names()).toEqual(['c1 2', 'c2 1', 'c3 1']);
  });

  test('prunes by budget, keeps the rest for later, and never what another database put there', async () => {
    const opened = start({ settings: { deleteFloor: 1 } });
    await opened.applier.pass();
    const [one] = await sets();
    const labels = { ...one?.metadata.labels, 'processor-id': '00000000-0000-4000-8000-0000000000ff' };
    await world.server.kubectl('apply', '--server-side', '--field-manager=dory-orchestrator', '-f', await manifest({ ...one, metadata: { name: 'another-e1', namespace: 'default', labels, annotations: { 'dory.io/epoch': '1', 'dory.io/revision': '1' } }, apiVersion: 'apps/v1', kind: 'StatefulSet' }));
    await remove('c1');
    await remove('c2');
    await world.fleet.once();
    const report = await opened.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(1);
    expect(report.problems.map(({ reason }) => reason).sort()).toEqual(['delete-budget', 'not-ours']);
    expect((await opened.applier.pass()).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(0);
    const later = start({ settings: { deleteFloor: 10 } });
    expect((await later.applier.pass()).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(1);
    await until(async () => (await names()).join() === 'c3 1,ff 1', 'what is not ours is left');
  });

  test('a commit without any object empties the cluster only where a person says so', async () => {
    await start().applier.pass();
    const tree = (await world.fleet.engine.repository.ownTree())!;
    const empty = start({ tree: { ...tree, files: new Map() } });
    const report = await empty.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind === 'pruned')).toEqual([]);
    expect(report.problems.map(({ reason }) => reason)).toEqual(['delete-budget', 'delete-budget', 'delete-budget']);
    expect((await empty.applier.pass({ allowEmpty: true })).outcomes.filter(({ kind }) => kind === 'pruned')).toHaveLength(3);
  });

  test('nothing is pruned, and nothing sent, while the cluster gives no news', async () => {
    const opened = start();
    await opened.applier.pass();
    await remove('c1');
    await world.fleet.once();
    const unknown = start({ kubeconfig: await deafKubeconfig() });
    const report = await unknown.applier.pass();
    expect(report.outcomes.filter(({ kind }) => kind !== 'skipped')).toEqual([]);
    expect(report.complete).toBe(false);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['pruned']);
  });

  test('two instances at once come to the same, and one that leads no more sends nothing', async () => {
    const [one, two] = [start(), start()];
    await Promise.all([one.applier.pass(), two.applier.pass()]);
    await settled(one);
    await settled(two);
    expect(await names()).toEqual(['c1 1', 'c2 1', 'c3 1']);
    await release('1.0.2');
    await world.fleet.once();
    const deposed = start({ assertLeading: () => Promise.reject(new Error('deposed')) });
    await expect(deposed.applier.pass()).rejects.toThrow('deposed');
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.0']));
    await one.applier.pass();
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.2']));
  });

  test('takes over from kubectl as it is, and from Argo CD only when told to; and there is a way back', async () => {
    const yaml = await committed();
    await world.server.kubectl('apply', '-f', yaml);
    const opened = start();
    expect((await opened.applier.pass()).outcomes.map(({ kind }) => kind)).toEqual(['configured', 'configured', 'configured']);
    const managers = async (): Promise<readonly string[]> => [...new Set((await sets()).flatMap(({ metadata }) => metadata.managedFields.map(({ manager }) => manager)))].sort();
    expect(await managers()).toEqual(['dory-orchestrator']);
    expect((await sets()).flatMap(({ metadata }) => Object.keys(metadata.annotations).filter((key) => key.startsWith('kubectl')))).toEqual([]);
    await settled(opened);

    await removeProcessors(world.server);
    await world.server.kubectl('apply', '--server-side', '--field-manager=argocd-controller', '-f', yaml);
    await world.server.kubectl('annotate', '--field-manager=argocd-controller', 'statefulset', '--all', 'argocd.argoproj.io/tracking-id=fleet:apps/StatefulSet:default/x');
    const careful = start();
    expect((await careful.applier.pass()).problems.map(({ reason }) => reason)).toEqual(['tracked-by-argocd', 'tracked-by-argocd', 'tracked-by-argocd']);
    const dry = await careful.applier.pass({ adopt: true, dryRun: true });
    expect(dry.outcomes.map(({ kind }) => kind)).toEqual(['configured', 'configured', 'configured']);
    expect(await managers()).toEqual(['argocd-controller']);
    expect((await careful.applier.pass({ adopt: true })).complete).toBe(true);
    expect(await managers()).toEqual(['dory-orchestrator']);
    expect((await sets()).flatMap(({ metadata }) => Object.keys(metadata.annotations).filter((key) => key.startsWith('argocd')))).toEqual([]);
    await settled(careful);

    for (const ref of (await careful.committed()).refs) {
      const patch = giveBack((await careful.objects.read(ref))!, { manager: 'argocd-controller', apiVersion: ref.apiVersion });
      expect(await careful.objects.patch(ref, patch!)).toBe(true);
    }
    expect(await managers()).toEqual(['argocd-controller']);
    await world.server.kubectl('apply', '--server-side', '--field-manager=argocd-controller', '-f', yaml);
  });

  test('a storm of changes is put back, each of them', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    for (let n = 2; n < 7; n += 1) {
      await world.server.kubectl('scale', 'statefulset', '--all', `--replicas=${String(n)}`);
      await opened.applier.pass();
    }
    await until(async () => {
      await opened.applier.pass();
      return (await sets()).every(({ spec }) => spec.replicas === 1);
    }, 'all is as committed');
    await settled(opened);
  });

  test('a newer commit overtakes one that is being applied', async () => {
    let applying: Started | null = null;
    let asked = 0;
    // The newer commit comes when the first batch is about to go out.
    applying = start({ assertLeading: async () => {
      asked += 1;
      if (asked > 1) return;
      await release('1.0.3');
      await world.fleet.once();
      applying?.applier.overtake();
    } });
    const overtaken = await applying.applier.pass();
    expect(overtaken.complete).toBe(false);
    const { complete, revision } = await applying.applier.pass();
    expect([complete, revision]).toEqual([true, 2]);
    expect(new Set((await sets()).map(({ metadata }) => metadata.annotations['dory.io/version']))).toEqual(new Set(['1.0.3']));
  });

  test('a commit that is older than what was committed is not applied', async () => {
    const tree = (await world.fleet.engine.repository.ownTree())!;
    const { applier } = start({ tree: { ...tree, revision: 0 as never } });
    expect(await applier.pass()).toMatchObject({ requests: 0, outcomes: [] });
    expect(await names()).toEqual([]);
  });

  test('a commit that is older than what the cluster shows changes nothing of it; one that takes that back does, and so does a person', async () => {
    const replicas = async (): Promise<readonly number[]> => (await sets()).map(({ spec }) => spec.replicas).sort();
    const ahead = await committedWith(2, (_path, text) => text.replace('dory.io/revision: "1"', 'dory.io/revision: "2"').replace('replicas: 1', 'replicas: 0'));
    expect((await start({ trees: ahead }).applier.pass()).complete).toBe(true);
    // The database knows nothing of it: it was restored, and the branch set back.
    const opened = start();
    const report = await opened.applier.pass();
    expect(report.problems.map(({ reason }) => reason)).toEqual(['newer-revision', 'newer-revision', 'newer-revision']);
    expect([report.requests, await replicas()]).toEqual([0, [0, 0, 0]]);
    const { problems: told } = await readApplied(world.fleet.pool, 9);
    expect(told.map(({ reason, mend }) => [reason, mend !== null])).toEqual([['newer-revision', true], ['newer-revision', true], ['newer-revision', true]]);
    await world.server.kubectl('annotate', 'statefulset', await nameOf('c1'), 'dory.io/revision-');
    await until(async () => {
      await opened.applier.pass();
      return (await replicas()).join() === '0,0,1';
    }, 'a person lets one be applied');
    const back = await committedWith(3, (_path, text) => text);
    expect((await start({ trees: back }).applier.pass()).complete).toBe(true);
    expect(await replicas()).toEqual([1, 1, 1]);
  });

  test('a revision that somebody else wrote on an object holds nothing up', async () => {
    const opened = start();
    await opened.applier.pass();
    await settled(opened);
    await world.server.kubectl('annotate', '--overwrite', 'statefulset', '--all', 'dory.io/revision=99');
    await until(async () => {
      await opened.applier.pass();
      return (await sets()).every(({ metadata }) => metadata.annotations['dory.io/revision'] === '1');
    }, 'all are put back');
    await world.server.kubectl('annotate', '--overwrite', 'statefulset', '--all', 'dory.io/revision=99');
    expect((await start().applier.pass()).complete).toBe(true);
  });
});

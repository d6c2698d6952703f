import { beforeAll, describe, expect, inject, test } from 'vitest';
import { grantAlso } from '../support/cluster-fleet.ts';
import { useLoop } from '../support/loop.ts';

const programs = inject('controlPlane');

describe.skipIf(typeof programs === 'string')('a pass of the loop', () => {
  const world = useLoop(programs);
  const { closes, start, committedWith, sets } = world;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    await grantAlso(world.server, [{ group: '', resources: ['configmaps'] }, { group: 'admissionregistration.k8s.io', resources: ['validatingwebhookconfigurations'] }]);
  });

  /** Refuses what it is asked about, since nobody is there. */
  const webhook = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: no-more, labels: {managed-by: dory-orchestrator}}
webhooks:
  - name: no-more.dory.example
    admissionReviewVersions: [v1]
    sideEffects: None
    timeoutSeconds: 1
    clientConfig: {url: 'https://127.0.0.1:1/'}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
`;
  const map = (n: number): string => `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  labels:\n    managed-by: dory-orchestrator\n  name: many-${String(n)}\n  namespace: default\n`;
  const many = 1_050;

  test('brings what has a say in every later request last, and takes it away first, also where there is more than is held at once', async () => {
    closes.push(async () => {
      await world.server.kubectl('delete', 'validatingwebhookconfigurations', '-l', 'managed-by=dory-orchestrator');
      await world.server.send('DELETE', '/api/v1/namespaces/default/configmaps?labelSelector=managed-by%3Ddory-orchestrator');
    });
    // The first of the tree.
    const files = { 'clusters/test/processors/a.yaml': webhook, 'clusters/test/processors/b.yaml': Array.from({ length: many }, (_, n) => map(n)).join('---\n') };
    const opened = start({ trees: await committedWith(2, (_path, text) => text, files) });
    const { outcomes, complete } = await opened.applier.pass();
    expect(outcomes.filter(({ kind }) => kind !== 'created')).toEqual([]);
    expect([outcomes.length, outcomes.at(-1)?.ref.kind, complete]).toEqual([many + 1 + 3, 'ValidatingWebhookConfiguration', true]);
    const without = start({ trees: await committedWith(3, (_path, text) => text), settings: { deleteFloor: 2 * many } });
    const pruned = await without.applier.pass();
    expect([pruned.outcomes.length, pruned.outcomes[0]?.ref.kind, pruned.complete]).toEqual([many + 1, 'ValidatingWebhookConfiguration', true]);
  });

  test('that a stop came before sends nothing and writes nothing; the next one does all of it', async () => {
    const opened = start();
    const stopped = await opened.applier.pass({ signal: AbortSignal.abort() });
    expect(stopped).toMatchObject({ requests: 0, complete: false, drifts: [] });
    expect(stopped.outcomes.filter(({ kind }) => kind !== 'skipped')).toEqual([]);
    expect([await sets(), (await world.fleet.pool.query('select from dory.applied union all select from dory.apply_problems')).rowCount]).toEqual([[], 0]);
    expect((await opened.applier.pass()).complete).toBe(true);
    await world.server.kubectl('scale', 'statefulset', '--all', '--replicas=2');
    // Also of what it would put back, or prune.
    const fewer = start({ trees: await committedWith(2, (path, text) => (path.includes('0000000000c1') ? null : text)) });
    expect(await fewer.applier.pass({ signal: AbortSignal.abort() })).toMatchObject({ requests: 0, complete: false });
    expect((await sets()).map(({ spec }) => spec.replicas)).toEqual([2, 2, 2]);
  });

  test('that is stopped in the middle ends what is under way, and begins nothing more', async () => {
    const stop = new AbortController();
    let asked = 0;
    const opened = start({ assertLeading: () => {
      asked += 1;
      stop.abort();
      return Promise.resolve();
    } });
    const stopped = await opened.applier.pass({ signal: stop.signal });
    const created = stopped.outcomes.filter(({ kind }) => kind === 'created').length;
    expect([asked, stopped.complete, stopped.problems.every(({ reason }) => reason === 'overtaken')]).toEqual([1, false, true]);
    expect(await sets()).toHaveLength(created);
    expect((await opened.applier.pass()).complete).toBe(true);
  });
});

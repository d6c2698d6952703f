import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { small, type Ended, type Workshop } from '../integration/cli/program.ts';
import { apiProxy, type ApiProxy, type Fate } from '../support/api-proxy.ts';
import { removeProcessors, smallNodes, startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');

interface Report {
  readonly complete: boolean;
  readonly inSync: number;
  readonly requests: number;
  readonly outcomes: readonly { readonly outcome: string; readonly why: string | null; readonly takesOver: readonly string[]; readonly reason: string | null; readonly detail: string | null; readonly object: { readonly kind: string; readonly name: string } }[];
}

describe.skipIf(typeof programs === 'string')('the commands that bring commits onto a cluster', () => {
  let server: OwnControlPlane;
  let shop: Workshop;
  const closes: (() => Promise<unknown>)[] = [];

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    server = await startOwnControlPlane({
      programs, apply: 'ssa', with: ['controllers', 'scheduler', 'nodes'],
      nodes: smallNodes,
    });
  });
  afterAll(() => server.stop());
  beforeEach(async () => {
    shop = await small((close) => { closes.push(close); });
    closes.push(() => removeProcessors(server));
  });
  afterEach(async () => {
    for (const close of closes.splice(0).reverse()) await close();
  });

  const sets = async () => ((await server.send('GET', '/apis/apps/v1/namespaces/default/statefulsets')) as unknown as { items: { metadata: { name: string; generation: number; annotations?: Record<string, string>; labels: Record<string, string>; managedFields: { manager: string; subresource?: string }[] }; spec: { replicas: number } }[] }).items;
  const managers = async (): Promise<readonly string[]> => [...new Set((await sets()).flatMap(({ metadata }) => metadata.managedFields.filter(({ subresource = '' }) => subresource === '').map(({ manager }) => manager)))].sort();
  /** What controllers change of the status counts not. */
  const versions = async (): Promise<readonly string[]> => (await sets()).map(({ metadata: { name, generation } }) => `${name} ${String(generation)}`);
  const ssa = (...args: readonly string[]): Promise<Ended> => shop.hereWith({ KUBECONFIG: server.own, DORY_APPLY: 'ssa' }, ...args);
  /** Without any tool that applies: people, or another one, do. */
  const commit = async (): Promise<void> => { expect((await shop.here('reconcile', '--once')).code).toBe(0); };
  const json = ({ out }: Ended): Report => JSON.parse(out) as Report;
  const told = ({ outcomes }: Report): readonly string[] => outcomes.map(({ outcome, why, takesOver, reason }) => [outcome, reason ?? why, ...takesOver].join(' ')).sort();

  /** What a person or a GitOps tool applies: the files of the branch, changed as they like. */
  const committed = async (change: (text: string) => string = (text) => text): Promise<string> => {
    const paths = (await shop.git('ls-tree', '-r', '--name-only', 'main', 'clusters/test/processors')).split('\n').filter((file) => file.endsWith('.yaml'));
    const file = join(shop.folder, 'committed.yaml');
    await writeFile(file, (await Promise.all(paths.map(async (each) => change(await shop.git('show', `main:${each}`))))).join('\n---\n'));
    return file;
  };

  test('one reconcile brings a decision to the cluster; the next finds nothing to do, and writes what the cluster shows', async () => {
    const first = await ssa('reconcile', '--once', '-o', 'json');
    expect(first.code).toBe(0);
    const { applied } = JSON.parse(first.out) as { applied: Report };
    expect([told(applied), applied.complete]).toEqual([['created missing', 'created missing', 'created missing'], true]);
    await until(async () => (await server.kubectl('get', 'pods', '-o', 'jsonpath={.items[*].status.phase}')) === 'Running Running Running', 'all pods run');
    const before = await versions();
    const second = await ssa('reconcile', '--once');
    expect(second).toMatchObject({ code: 0, out: 'nothing to commit\napplied: 3 in sync; 0 requests.\n' });
    expect(await versions()).toEqual(before);
    const health = await shop.pool.query<{ state: string; status: string; pod: string }>(`select ro.state, p.status::text, p.k8s_pod_name as pod from dory.rollouts ro join processors p on p.id = ro.processor_id order by p.id`);
    expect(health.rows.map(({ state, status }) => `${state} ${status}`)).toEqual(['live running', 'live running', 'live running']);
    expect((await ssa('status')).out).toMatch(/^Applied +revision 1, [0-9a-f]{12} at .*\n(?:.*\n)*Rolled out +3 of 3\nLive +revision 1 after /m);
  });

  test('a reconcile says what did not get there, in the server\'s words and in its exit code; and the next one goes on', async () => {
    await server.send('POST', '/api/v1/namespaces/default/resourcequotas', { metadata: { name: 'none' }, spec: { hard: { 'count/statefulsets.apps': '0' } } });
    closes.push(() => server.send('DELETE', '/api/v1/namespaces/default/resourcequotas/none').catch(() => undefined));
    await until(async () => (await server.kubectl('get', 'resourcequota', 'none', '-o', 'jsonpath={.status.hard}')) !== '', 'the quota is looked after');
    const refused = await ssa('reconcile', '--once');
    expect(refused.code).toBe(4);
    expect(refused.out).toMatch(/^ {2}failed: StatefulSet default\/camera-\S+: quota: .*exceeded quota: none/m);
    expect((await ssa('status')).code).toBe(4);
    expect((await ssa('explain', '00000000-0000-4000-8000-0000000000c1')).out).toMatch(/^Cluster: +apps\/v1\/StatefulSet\/default\/camera-\S+: quota for /m);
    await server.send('DELETE', '/api/v1/namespaces/default/resourcequotas/none');
    expect((await ssa('reconcile', '--once')).code).toBe(0);
    expect(await sets()).toHaveLength(3);
    expect((await ssa('status')).code).toBe(0);
  });

  test('a migration from kubectl: the report says what would be taken over, and from whom; then it is, and what only kubectl had goes', async () => {
    await commit();
    await server.kubectl('apply', '-f', await committed((text) => text.replace('  labels:\n', '  labels:\n    left-over: "1"\n')));
    const before = await versions();
    const report = await ssa('apply', '--dry-run', '-o', 'json');
    expect([report.code, told(json(report))]).toEqual([0, Array.from({ length: 3 }, () => 'configured adopted kubectl-client-side-apply')]);
    expect([await versions(), await managers()]).toEqual([before, ['kubectl-client-side-apply']]);
    expect((await ssa('apply', '--dry-run')).out).toMatch(/^OUTCOME +OBJECT +WHY +DETAIL\nconfigured +apps\/v1\/StatefulSet\/default\/\S+ +adopted from kubectl-client-side-apply/);
    expect((await ssa('apply')).code).toBe(0);
    expect(await managers()).toEqual(['dory-orchestrator']);
    expect((await sets()).flatMap(({ metadata: { labels, annotations = {} } }) => [...Object.keys(labels), ...Object.keys(annotations)].filter((key) => key === 'left-over' || key.startsWith('kubectl')))).toEqual([]);
    expect(json(await ssa('apply', '-o', 'json'))).toMatchObject({ requests: 0, inSync: 3, complete: true });
  });

  test('a migration from Argo CD and back: refused until told to, reported, done; and handed over so that Argo CD removes what it has no more', async () => {
    await commit();
    const yaml = await committed();
    const asArgocd = ['apply', '--server-side', '--field-manager=argocd-controller', '-f'] as const;
    await server.kubectl(...asArgocd, yaml);
    await server.kubectl('annotate', '--field-manager=argocd-controller', 'statefulset', '--all', 'argocd.argoproj.io/tracking-id=fleet:apps/StatefulSet:default/x');
    const refused = await ssa('apply', '-o', 'json');
    expect([refused.code, told(json(refused))]).toEqual([4, Array.from({ length: 3 }, () => 'skipped tracked-by-argocd')]);
    const before = await versions();
    const report = await ssa('apply', '--dry-run', '--adopt', '-o', 'json');
    expect([report.code, told(json(report))]).toEqual([0, Array.from({ length: 3 }, () => 'configured adopted argocd-controller')]);
    expect([await versions(), await managers()]).toEqual([before, ['argocd-controller']]);
    expect((await ssa('apply', '--adopt')).code).toBe(0);
    expect(await managers()).toEqual(['dory-orchestrator']);

    const taken = await versions();
    const back = await ssa('apply', '--hand-over', 'argocd-controller', '--dry-run', '-o', 'json');
    expect([back.code, told(json(back)), await versions(), await managers()]).toEqual([0, Array.from({ length: 3 }, () => 'configured '), taken, ['dory-orchestrator']]);
    const done = await ssa('apply', '--hand-over', 'argocd-controller');
    expect([done.code, await managers()]).toEqual([0, ['argocd-controller']]);
    expect(done.err).toContain('The setting apply is ssa');
    // Nobody else holds on to what its next apply lacks.
    await server.kubectl(...asArgocd, await committed((text) => text.replace(/^ {4}app: .*\n/m, '')));
    expect((await sets()).flatMap(({ metadata: { labels } }) => Object.keys(labels).filter((key) => key === 'app'))).toEqual([]);
    // What is somebody else's now is left alone.
    expect(told(json(await ssa('apply', '-o', 'json')))).toEqual(Array.from({ length: 3 }, () => 'skipped not-ours'));
  });

  test('the way back to kubectl: it goes on as if it had always applied here', async () => {
    await commit();
    expect((await ssa('apply')).code).toBe(0);
    expect((await shop.hereWith({ KUBECONFIG: server.own }, 'apply', '--hand-over', 'kubectl')).err).not.toContain('The setting apply is ssa');
    expect(await managers()).toEqual(['kubectl']);
    await server.kubectl('apply', '--server-side', '-f', await committed((text) => text.replace(/^ {4}app: .*\n/m, '')));
    expect((await sets()).flatMap(({ metadata: { labels } }) => Object.keys(labels).filter((key) => key === 'app'))).toEqual([]);
  });

  test('a branch that was set back, be it to before our first commit, is not applied: it says so, and exits as what is held', async () => {
    await commit();
    const first = (await shop.git('rev-parse', 'main')).trim();
    await shop.pool.query(`update processor_template_versions set version = '1.0.1', image_uri = 'registry.example.com/camera:1.0.1'`);
    await commit();
    const second = (await shop.git('rev-parse', 'main')).trim();
    expect(second).not.toBe(first);
    expect((await ssa('apply')).code).toBe(0);
    const before = await versions();
    const empty = (await shop.git('commit-tree', '-m', 'begin anew', (await shop.git('hash-object', '-w', '-t', 'tree', '/dev/null')).trim())).trim();
    for (const target of [first, empty]) {
      await shop.git('update-ref', 'refs/heads/main', target);
      const refused = await ssa('apply', '-o', 'json');
      expect([refused.code, JSON.parse(refused.out), await versions()]).toMatchObject([4, { withheld: 'older-commit', complete: false, requests: 0, outcomes: [] }, before]);
      expect((await ssa('apply', '--dry-run')).code).toBe(4);
    }
    await shop.git('update-ref', 'refs/heads/main', second);
    expect((await ssa('apply')).code).toBe(0);
    expect(await versions()).toEqual(before);
  });

  const proxied = async (fate: (line: string) => Fate): Promise<{ readonly proxy: ApiProxy; readonly kubeconfig: string }> => {
    const proxy = await apiProxy(server, fate);
    closes.push(() => proxy.close());
    const token = /token: (\S+)/.exec(await readFile(server.own, 'utf8'))?.[1] ?? '';
    const kubeconfig = join(shop.folder, `proxied-${proxy.url.split(':').at(-1) ?? ''}.kubeconfig`);
    await server.writeKubeconfig(kubeconfig, { token, server: proxy.url });
    return { proxy, kubeconfig };
  };
  const isApply = (line: string): boolean => line.startsWith('PATCH ') && line.includes('fieldManager=dory-orchestrator');

  test('killed in the middle of an apply, the next process finishes it, and sends nothing for what is there', async () => {
    await commit();
    let applies = 0;
    // Of three, one is done, and the others never get there: the process dies on them.
    const first = await proxied((line) => (isApply(line) && (applies += 1) > 1 ? { kind: 'swallow' } : { kind: 'pass' }));
    const start = (kubeconfig: string) => shop.start(['run', '--apply', 'ssa', '--kubeconfig', kubeconfig, '--config-db', shop.url, '--http-port', '0', '--http-host', '127.0.0.1', '--log-level', 'info']);
    const killed = start(first.kubeconfig);
    await until(async () => applies === 3 && (await sets()).length === 1, 'one is there, and the others are under way');
    killed.signal('SIGKILL');
    await killed.ended;
    await first.proxy.close();
    expect(await sets()).toHaveLength(1);
    const [done] = await sets();

    const second = await proxied(() => ({ kind: 'pass' }));
    const finishing = start(second.kubeconfig);
    await finishing.logged(({ msg }) => msg === 'applied');
    expect((await sets()).map(({ metadata }) => metadata.name)).toHaveLength(3);
    const sent = second.proxy.seen.filter(isApply);
    expect(sent).toHaveLength(2);
    expect(sent.filter((line) => line.includes(done?.metadata.name ?? '?'))).toEqual([]);
    await until(async () => (await shop.pool.query('select from dory.applied_commit')).rowCount === 1, 'the commit is seen through');
    finishing.signal('SIGTERM');
    expect((await finishing.ended).code).toBe(0);

    // And one more, with nothing left to do.
    const third = await proxied(() => ({ kind: 'pass' }));
    const idle = start(third.kubeconfig);
    await until(() => third.proxy.seen.some((line) => line.includes('/statefulsets?') && line.includes('watch=true')), 'it watches');
    await idle.logged(({ msg }) => msg === 'watching the cluster');
    await until(async () => (await ssaStatus()) === 0, 'all is well');
    expect(third.proxy.seen.filter((line) => !line.startsWith('GET '))).toEqual([]);
    idle.signal('SIGTERM');
    expect((await idle.ended).code).toBe(0);
    // A lease outlives a process that was killed.
  });
  const ssaStatus = async (): Promise<number> => (await shop.hereWith({ DORY_APPLY: 'ssa' }, 'status')).code ?? -1;

  test('a standby applies as soon as it leads, not when it looks next', async () => {
    await commit();
    await shop.pool.query(`update dory.leader set epoch = epoch + 1, holder = 'another', expires_at = now() + interval '1 hour'`);
    const standby = shop.start(['run', '--apply', 'ssa', '--kubeconfig', server.own, '--config-db', shop.url, '--http-port', '0', '--http-host', '127.0.0.1', '--log-level', 'info']);
    await standby.logged(({ msg }) => msg.includes('listening'));
    expect(await sets()).toEqual([]);
    await shop.pool.query(`update dory.leader set holder = null, expires_at = null; select pg_notify('dory', 'leader')`);
    await until(async () => (await sets()).length === 3, 'it applies', 25_000);
    const applied = await standby.logged(({ msg }) => msg === 'applied');
    expect(applied['cycle']).toMatch(/^[0-9a-f]{12}$/);
    // It would put back what is cleaned up.
    standby.signal('SIGTERM');
    expect((await standby.ended).code).toBe(0);
  });

  test('a leader that is deposed in the middle of an apply stops within a batch', async () => {
    await shop.pool.query(`insert into processors (id, processor_template_id, node_type, node_id)
      select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '00000000-0000-4000-8000-00000000000a', 'managed', null from generate_series(1, 150) as n`);
    await commit();
    let applies = 0;
    let deposed = 0;
    const { kubeconfig } = await proxied((line) => {
      if (!isApply(line)) return { kind: 'pass' };
      applies += 1;
      // Right after the first of them: the next question for the lease comes a second later.
      if (applies === 1) void shop.pool.query(`update dory.leader set epoch = epoch + 1, holder = 'another', expires_at = now() + interval '1 hour'`).then(() => { deposed = applies; });
      return { kind: 'slow', ms: 250 };
    });
    const ended = await shop.hereWith({ KUBECONFIG: kubeconfig, DORY_APPLY: 'ssa' }, 'apply');
    expect(ended.code).toBe(5);
    expect(deposed).toBeGreaterThan(0);
    const total = await committedCount();
    expect(total).toBeGreaterThan(120);
    expect((await sets()).length).toBeLessThan(total);
    expect(applies).toBeLessThan(total);
    expect((await shop.pool.query('select from dory.applied')).rowCount).toBe(0);
  });
  const committedCount = async (): Promise<number> => (await shop.git('ls-tree', '-r', '--name-only', 'main', 'clusters/test/processors')).split('\n').filter((file) => file.endsWith('.yaml')).length;
});

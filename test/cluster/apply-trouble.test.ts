import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Action } from '../../src/apply/actions.ts';
import { Failure } from '../../src/model/failure.ts';
import { millis } from '../../src/model/time.ts';
import { systemClock, type Clock } from '../../src/platform/clock.ts';
import { apiProxy, type ApiProxy, type Fate } from '../support/api-proxy.ts';
import { grantAlso, ownKubeconfig, startOwnControlPlane, type OwnControlPlane } from '../support/cluster-fleet.ts';
import { configMap, desired, testExecutor, toApply, told, type TestExecutor } from '../support/executor.ts';
import { until } from '../support/until.ts';

const programs = inject('controlPlane');
const maps = '/api/v1/namespaces/default/configmaps';
const pass: Fate = { kind: 'pass' };

describe.skipIf(typeof programs === 'string')('what is committed arrives although', () => {
  /** What it does itself is done as an administrator. */
  let cluster: OwnControlPlane;
  const open: { close(): unknown }[] = [];
  let names = 0;

  beforeAll(async () => {
    if (typeof programs === 'string') return;
    cluster = await startOwnControlPlane({ programs, apply: 'ssa' });
    await grantAlso(cluster, [{ group: '', resources: ['configmaps'] }]);
  });
  afterAll(() => cluster.stop());
  afterEach(async () => {
    for (const each of open.splice(0).reverse()) await each.close();
  });

  const executor = (kubeconfig = cluster.own, clock?: Clock): TestExecutor => {
    const made = testExecutor(kubeconfig, clock);
    open.push(made);
    return made;
  };
  /** Objects that no other test has. */
  const some = (count: number, value = '1'): Action[] => {
    names += 1;
    return Array.from({ length: count }, (_, n) => toApply(desired(configMap(`t${String(names)}-${String(n)}`, { value }))));
  };
  const behind = async (fate: (line: string) => Fate): Promise<{ readonly proxy: ApiProxy; readonly to: TestExecutor }> => {
    const proxy = await apiProxy(cluster, fate);
    open.push(proxy);
    return { proxy, to: executor(await ownKubeconfig(cluster, proxy.url)) };
  };
  const created = (lines: readonly string[]): number => lines.filter((line) => line.endsWith(' created')).length;

  test('the API server goes away in the middle of it, and comes back', async () => {
    const to = executor();
    const actions = some(400);
    let asked = 0;
    const run = to.run(actions, { objection: () => {
      asked += 1;
      return null;
    } });
    await until(() => asked > 60, 'some of it was sent');
    await cluster.stopServer();
    await cluster.startServer();
    const lines = told(await run);
    // An answer that was lost is asked for again: what was created then is there already.
    const refused = lines.filter((line) => line.endsWith(' failed forbidden later'));
    expect(lines.filter((line) => / (created|configured)$/.test(line))).toHaveLength(400 - refused.length);
    expect(created(lines)).toBeGreaterThan(300);
    // A server that starts anew has not read all roles yet when it answers first: only an administrator's rights are whole. The next passes bring those.
    const rest = actions.filter((action) => action.kind === 'apply' && refused.some((line) => line.includes(`/${action.desired.ref.name} `)));
    await until(async () => told(await to.run(rest)).every((line) => / (created|configured)$/.test(line)), 'what was refused meanwhile is there');
  });

  test('an API server that stays away ends the pass, and nothing is unknown that was never sent', async () => {
    const to = executor();
    await to.run(some(1));
    const nowhere = join(cluster.folder, 'nowhere.kubeconfig');
    await cluster.writeKubeconfig(nowhere, { token: 'x', server: 'https://127.0.0.1:1' });
    // Time flies: twenty seconds are two.
    const clock: Clock = { ...systemClock, monotonic: () => millis(systemClock.monotonic() * 10), sleep: (span, signal) => systemClock.sleep(millis(span / 10), signal) };
    const away = executor(nowhere, clock);
    const began = clock.monotonic();
    const result = await away.run(some(500));
    expect(told(result).filter((line) => line.endsWith('failed server soon'))).toHaveLength(500);
    // After twenty seconds of silence nothing more is tried, in whatever pass there would be time for it.
    expect(clock.monotonic() - began).toBeLessThan(45_000);
    expect(result.requests).toBeLessThan(150);
  });

  test('its credentials are replaced', async () => {
    const kubeconfig = join(cluster.folder, 'rotated.kubeconfig');
    const bound = async (secret: string): Promise<string> => {
      await cluster.send('POST', '/api/v1/namespaces/dory-system/secrets', { metadata: { name: secret } });
      return (await cluster.kubectl('create', 'token', 'dory-orchestrator', '-n', 'dory-system', '--bound-object-kind=Secret', `--bound-object-name=${secret}`)).trim();
    };
    await cluster.writeKubeconfig(kubeconfig, { token: await bound('first') });
    const to = executor(kubeconfig);
    expect(created(told(await to.run(some(5))))).toBe(5);
    // A token dies with what it is bound to; a server that starts anew remembers no token that was good.
    await cluster.send('DELETE', '/api/v1/namespaces/dory-system/secrets/first');
    await cluster.stopServer();
    await cluster.startServer();
    const refused = some(1);
    expect(told(await to.run(refused))).toEqual([expect.stringContaining('failed forbidden later')]);
    await cluster.writeKubeconfig(kubeconfig, { token: await bound('second') });
    expect(created(told(await to.run(some(20))))).toBe(20);
  });

  test('its credentials ran out: they are read again, and the request is sent again', async () => {
    let refused = 0;
    const { to } = await behind((line) => (line.startsWith('PATCH') && (refused += 1) === 1 ? { kind: 'answer', status: 401, body: '{}' } : pass));
    expect(created(told(await to.run(some(3))))).toBe(3);
    expect(refused).toBe(4);
  });

  test('the server says that it is too much, and when to come back', async () => {
    const refusedAt: number[] = [];
    let allowedAt = Number.POSITIVE_INFINITY;
    const { to, proxy } = await behind((line) => {
      if (!line.startsWith('PATCH') || performance.now() > allowedAt) return pass;
      allowedAt = Math.min(allowedAt, performance.now() + 1_000);
      refusedAt.push(performance.now());
      return { kind: 'answer', status: 429, headers: { 'retry-after': '1', 'content-type': 'application/json' }, body: tooMany };
    });
    const lines = told(await to.run(some(60)));
    expect(created(lines)).toBe(60);
    // The first rush was under way already; after that everybody waits.
    expect(refusedAt.length).toBeLessThanOrEqual(16);
    expect(proxy.seen.filter((line) => line.startsWith('PATCH'))).toHaveLength(60 + refusedAt.length);
  });

  test('one object is slow: it holds up no other', async () => {
    const actions = some(100);
    const slowName = `t${String(names)}-0?`;
    const label = `t${String(names)}-`;
    const others = async (): Promise<boolean> => (((await cluster.send('GET', maps)) as { items?: { metadata: { name: string } }[] }).items ?? []).filter(({ metadata }) => metadata.name.startsWith(label)).length === 99;
    const { to } = await behind((line) => (line.includes(slowName) ? { kind: 'held', until: until(others, 'all others are there') } : pass));
    const { outcomes } = await to.run(actions);
    expect(outcomes.every(({ kind }) => kind === 'created')).toBe(true);
    expect(outcomes.at(-1)?.ref.name).toBe(slowName.slice(0, -1));
  });

  test('answers are lost, and what they said is found out', async () => {
    const lost = new Set<string>();
    const { to } = await behind((line) => {
      if (!line.startsWith('PATCH') || lost.has(line) || lost.size >= 10) return pass;
      lost.add(line);
      return { kind: 'lose' };
    });
    const lines = told(await to.run(some(40)));
    expect(lines.filter((line) => / (created|configured)$/.test(line))).toHaveLength(40);
    expect(lost.size).toBe(10);
  });

  test('one answer never comes: it is unknown, and the rest arrives', async () => {
    const actions = some(20);
    const { to } = await behind((line) => (line.includes(`t${String(names)}-7?`) ? { kind: 'lose' } : pass));
    const lines = told(await to.run(actions));
    expect(created(lines)).toBe(19);
    expect(lines.filter((line) => line.endsWith(' unknown'))).toHaveLength(1);
  });

  test('what an API server never says, a proxy before it does: it is tried again, and told', async () => {
    const actions = some(10);
    const { to } = await behind((line) => (line.includes(`t${String(names)}-3?`) ? { kind: 'answer', status: 502, body: '<html>Bad Gateway</html>' } : pass));
    const { outcomes } = await to.run(actions);
    expect(outcomes.filter(({ kind }) => kind === 'created')).toHaveLength(9);
    expect(outcomes.at(-1)).toMatchObject({ kind: 'failed', reason: 'server', retry: 'soon', detail: expect.stringContaining('Bad Gateway') as string });
  });

  test('nothing more is sent when the lead is lost', async () => {
    const to = executor();
    const actions = some(300);
    let asked = 0;
    const losing = to.run(actions, { assertLeading: () => {
      asked += 1;
      return Promise.reject(new Failure('not-leader', 'another leads'));
    } });
    await expect(losing).rejects.toMatchObject({ code: 'not-leader' });
    expect(asked).toBe(1);
    await expect(cluster.send('GET', `${maps}/t${String(names)}-0`)).rejects.toThrow('404');
  });

  test('the lead is asked for again while requests go out', async () => {
    // At the most requests at once that there may be, all of them take longer than the lead is trusted.
    const { to } = await behind((line) => (line.startsWith('PATCH') ? { kind: 'slow', ms: 600 } : pass));
    let asked = 0;
    const run = to.run(some(200), { assertLeading: async () => {
      asked += 1;
      await sleep(0);
      if (asked > 1) throw new Failure('not-leader', 'another leads');
    } });
    await expect(run).rejects.toMatchObject({ code: 'not-leader' });
    expect(asked).toBe(2);
  });

  test('something newer overtakes it: what is under way ends, and nothing else is begun', async () => {
    const { to, proxy } = await behind((line) => (line.startsWith('PATCH') ? { kind: 'slow', ms: 200 } : pass));
    const newer = new AbortController();
    const run = to.run(some(200), { signal: newer.signal });
    await until(() => proxy.seen.length > 5, 'some of it was sent');
    newer.abort();
    const { outcomes } = await run;
    expect(outcomes).toHaveLength(200);
    const sent = outcomes.filter(({ kind }) => kind === 'created').length;
    expect(outcomes.filter((outcome) => outcome.kind === 'skipped' && outcome.reason === 'overtaken')).toHaveLength(200 - sent);
    expect(proxy.seen.filter((line) => line.startsWith('PATCH'))).toHaveLength(sent);
    expect(sent).toBeLessThan(100);
  });

  test('what an overtaken request did whose answer was lost is unknown', async () => {
    const newer = new AbortController();
    const { to } = await behind((line) => {
      if (!line.startsWith('PATCH')) return pass;
      setTimeout(() => { newer.abort(); }, 100);
      return { kind: 'lose' };
    });
    const lines = told(await to.run(some(1), { signal: newer.signal }));
    expect(lines).toEqual([expect.stringContaining(' unknown')]);
  });

  test('what is objected to at the last moment is not sent', async () => {
    const to = executor();
    const actions = some(2);
    const result = await to.run(actions, { objection: (action) => (action === actions[0] ? { reason: 'higher-epoch', detail: 'epoch 3 is there' } : null) });
    expect(told(result)).toEqual([expect.stringContaining('skipped higher-epoch'), expect.stringContaining('created')]);
  });
});

const tooMany = JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message: 'Too many requests, please try again later.', reason: 'TooManyRequests', details: { retryAfterSeconds: 1 }, code: 429 });

import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { pageOf, sendWebhook, webhookBody } from '../../../src/apply/argocd-webhook.ts';
import { createNotifier, type NotifierOptions, type Push, type Told } from '../../../src/apply/argocd.ts';
import { Failure } from '../../../src/model/failure.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, hurryingClock } from '../../support/clock.ts';
import { until } from '../../support/until.ts';

const push = (commit: string, before: string | null = null, ...paths: string[]): Push => ({ before, commit, paths });

describe('the page of a repository', () => {
  test.each([
    ['https://git.example.com/org/fleet.git', 'https://git.example.com/org/fleet'],
    ['https://git@git.example.com:8443/org/fleet.git/', 'https://git.example.com/org/fleet'],
    ['ssh://git@git.example.com:2222/org/fleet.git', 'https://git.example.com/org/fleet'],
    ['git@git.example.com:org/fleet.git', 'https://git.example.com/org/fleet'],
    ['http://git.example.com/fleet', 'https://git.example.com/fleet'],
  ])('%s is %s', (url, page) => {
    expect(pageOf(url)).toBe(page);
  });
});

describe('a webhook', () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections();
      server.close();
    }
  });

  /** What Argo CD's server does: a signature that is wrong is refused. */
  const receiver = async (secret: string, status = 200): Promise<{ readonly url: string; readonly taken: { readonly headers: IncomingHttpHeaders; readonly body: string }[] }> => {
    const taken: { headers: IncomingHttpHeaders; body: string }[] = [];
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        const good = request.headers['x-hub-signature-256'] === `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`;
        if (good) taken.push({ headers: request.headers, body });
        response.writeHead(good ? status : 400).end('Webhook processing failed');
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/api/webhook`, taken };
  };
  const settings = { repoUrl: 'ssh://git@git.example.com/fleet.git', branch: 'main', caFile: null };
  const code = (sent: Promise<void>): Promise<unknown> => sent.then(() => 'sent', (error: unknown) => (error instanceof Failure ? error.code : error));

  test('names exactly the changed paths, signed with the secret', async () => {
    const { url, taken } = await receiver('s3cret');
    await sendWebhook({ ...settings, url, secret: () => Promise.resolve('s3cret') }, push('b'.repeat(40), 'a'.repeat(40), 'clusters/n/x.yaml', 'clusters/n/y.yaml'));
    expect(taken).toHaveLength(1);
    expect(taken[0]?.headers).toMatchObject({ 'x-github-event': 'push', 'content-type': 'application/json' });
    expect(JSON.parse(taken[0]?.body ?? '')).toEqual({
      ref: 'refs/heads/main', before: 'a'.repeat(40), after: 'b'.repeat(40),
      repository: { html_url: 'https://git.example.com/fleet', default_branch: 'main' },
      commits: [{ id: 'b'.repeat(40), added: [], modified: ['clusters/n/x.yaml', 'clusters/n/y.yaml'], removed: [] }],
    });
  });

  test('with the wrong secret is refused for good; a server in trouble may take it later', async () => {
    const secret = (): Promise<string> => Promise.resolve('s3cret');
    expect(await code(sendWebhook({ ...settings, url: (await receiver('other')).url, secret }, push('b')))).toBe('argocd-refused');
    expect(await code(sendWebhook({ ...settings, url: (await receiver('s3cret', 503)).url, secret }, push('b')))).toBe('argocd-unreachable');
    const { url } = await receiver('s3cret');
    servers[2]?.close();
    expect(await code(sendWebhook({ ...settings, url, secret }, push('b')))).toBe('argocd-unreachable');
  });

  test.each([
    ['a very large commit', Array.from({ length: 5_001 }, (_, n) => `clusters/n/processors/${String(n)}.yaml`)],
    ['a commit whose changes are not known', null],
  ])('of %s names no paths: it concerns everything', (_, paths) => {
    const { commits } = JSON.parse(webhookBody(settings, { before: null, commit: 'b', paths })) as { commits: { modified: string[] }[] };
    expect(commits[0]?.modified).toEqual([]);
  });
});

describe('telling Argo CD', () => {
  const results: [string, string, string | null][] = [];
  const kinds = (): readonly string[] => results.map(([result]) => result);
  const notifier = (tell: NotifierOptions['tell']) => {
    results.length = 0;
    return createNotifier({ tell, clock: hurryingClock(), random: fixedRandom(0.5), log: silentLog, onResult: (result, commit, why) => results.push([result, commit, why?.code ?? null]) });
  };
  const unreachable = new Failure('argocd-unreachable', 'down');
  const looked: Told = { looked: true, despite: null };
  const unseen: Told = { looked: false, despite: null };

  test('is tried again a bounded number of times, and then left to its poll', async () => {
    let calls = 0;
    const { pushed, idle } = notifier(() => { calls += 1; return Promise.reject(unreachable); });
    pushed(push('a'));
    await idle();
    expect(calls).toBe(5);
    expect(results).toEqual([...Array.from({ length: 4 }, () => ['retried', 'a', 'argocd-unreachable']), ['given-up', 'a', 'argocd-unreachable']]);
  });

  test('what is refused is not tried again, and goes with the next push', async () => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each) => { told.push(each); return told.length === 1 ? Promise.reject(new Failure('argocd-refused', 'no')) : Promise.resolve(looked); });
    pushed(push('a', null, '1'));
    await idle();
    pushed(push('b', 'a', '2'));
    await idle();
    pushed(push('c', 'b', '3'));
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('b', null, '1', '2'), push('c', 'b', '3')]);
    expect(results).toEqual([['given-up', 'a', 'argocd-refused'], ['told', 'b', null], ['told', 'c', null]]);
  });

  test('in another way is told as that, with why not in the one of the settings', async () => {
    const { pushed, idle } = notifier(() => Promise.resolve({ looked: true, despite: new Failure('argocd-refused', 'no') }));
    pushed(push('a'));
    await idle();
    expect(results).toEqual([['fell-back', 'a', 'argocd-refused']]);
  });

  test('of pushes that wait, tells once, from the oldest to the newest', async () => {
    const told: Push[] = [];
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => { open = resolve; });
    const { pushed, idle } = notifier(async (each) => { told.push(each); await gate; return looked; });
    pushed(push('a', null, '1'));
    await until(() => told.length === 1, 'the first is being told');
    pushed(push('b', 'a', '2', '3'));
    pushed(push('c', 'b', '3', '4'));
    open();
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('c', 'a', '2', '3', '4')]);
  });

  test.each([
    ['somebody else pushed between', push('b', 'a-of-theirs', '2')],
    ['it is not known what changed', { before: 'a', commit: 'b', paths: null }],
    ['they changed more than is worth a list', push('b', 'a', ...Array.from({ length: 5_000 }, (_, n) => `x${String(n)}`))],
  ])('two pushes as one may have changed anything where %s', async (_, second) => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each) => { told.push(each); return told.length === 1 ? Promise.reject(new Failure('argocd-refused', 'no')) : Promise.resolve(looked); });
    pushed(push('a', null, '1'));
    await idle();
    pushed(second);
    await idle();
    expect(told[1]).toEqual({ before: null, commit: 'b', paths: null });
  });

  test('one that failed goes with what was pushed since', async () => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each) => {
      told.push(each);
      if (told.length > 1) return Promise.resolve(looked);
      pushed(push('b', 'a', '2'));
      return Promise.reject(unreachable);
    });
    pushed(push('a', null, '1'));
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('b', null, '1', '2')]);
  });

  test('one that it has not looked at is told again, and what is new does not wait for that', async () => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each, { newer }) => {
      told.push(each);
      if (told.length === 1) return new Promise((resolve) => { newer.addEventListener('abort', () => { resolve(unseen); }); });
      return Promise.resolve(told.length > 2 ? looked : unseen);
    });
    pushed(push('a', null, '1'));
    await until(() => told.length === 1, 'it waits for the first to be looked at');
    pushed(push('b', 'a', '2'));
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('b', null, '1', '2'), push('b', null, '1', '2')]);
    expect(kinds()).toEqual(['retried', 'retried', 'told']);
  });

  test('ends at once when the program ends, whatever waits', async () => {
    const told: string[] = [];
    const { pushed, close } = notifier(({ commit }, { closing }) => {
      told.push(commit);
      return new Promise((_, reject) => { closing.addEventListener('abort', () => { reject(unreachable); }); });
    });
    pushed(push('a'));
    await until(() => told.length === 1, 'the first is being told');
    pushed(push('b', 'a'));
    await close();
    pushed(push('c', 'b'));
    expect(told).toEqual(['a']);
    expect(kinds()).toEqual(['given-up']);
  });
});

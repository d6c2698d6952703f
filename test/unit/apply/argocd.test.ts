import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { concerned, createApplications, readApplication, type Applications, type ApplicationState } from '../../../src/apply/argocd-applications.ts';
import { createProgress } from '../../../src/apply/argocd-progress.ts';
import { pageOf, sendWebhook, webhookBody } from '../../../src/apply/argocd-webhook.ts';
import { createNotifier, type NotifierOptions, type Push } from '../../../src/apply/argocd.ts';
import { Failure } from '../../../src/model/failure.ts';
import { millis } from '../../../src/model/time.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import type { KubeClient } from '../../../src/platform/kube/client.ts';
import { silentLog } from '../../../src/platform/log.ts';
import { fixedRandom, hurryingClock } from '../../support/clock.ts';
import { until } from '../../support/until.ts';

const push = (commit: string, before: string | null = null, ...paths: string[]): Push => ({ before, commit, paths });
const application = (changes: Partial<ApplicationState> = {}): ApplicationState => ({
  name: 'dory-n-processors-0a', path: 'clusters/n/processors/0a', commit: null, sync: 'OutOfSync', health: 'Healthy', operation: null, problem: null, ...changes,
});

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
  const results: string[] = [];
  const notifier = (tell: NotifierOptions['tell']) => {
    results.length = 0;
    return createNotifier({ tell, clock: hurryingClock(), random: fixedRandom(0.5), log: silentLog, onResult: (result) => results.push(result) });
  };
  const unreachable = new Failure('argocd-unreachable', 'down');

  test('is tried again a bounded number of times, and then left to its poll', async () => {
    let calls = 0;
    const { pushed, idle } = notifier(() => { calls += 1; return Promise.reject(unreachable); });
    pushed(push('a'));
    await idle();
    expect(calls).toBe(5);
    expect(results).toEqual(['retried', 'retried', 'retried', 'retried', 'given-up']);
  });

  test('what is refused is not tried again, and the next push is', async () => {
    const told: string[] = [];
    const { pushed, idle } = notifier(({ commit }) => { told.push(commit); return commit === 'a' ? Promise.reject(new Failure('argocd-refused', 'no')) : Promise.resolve(true); });
    pushed(push('a'));
    await idle();
    pushed(push('b'));
    await idle();
    expect(told).toEqual(['a', 'b']);
    expect(results).toEqual(['given-up', 'told']);
  });

  test('of pushes that wait, tells once, from the oldest to the newest', async () => {
    const told: Push[] = [];
    let open: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => { open = resolve; });
    const { pushed, idle } = notifier(async (each) => { told.push(each); await gate; return true; });
    pushed(push('a', null, '1'));
    await until(() => told.length === 1, 'the first is being told');
    pushed(push('b', 'a', '2', '3'));
    pushed(push('c', 'b', '3', '4'));
    open();
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('c', 'a', '2', '3', '4')]);
  });

  test('one that failed goes with what was pushed since', async () => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each) => {
      told.push(each);
      if (told.length > 1) return Promise.resolve(true);
      pushed(push('b', 'a', '2'));
      return Promise.reject(unreachable);
    });
    pushed(push('a', null, '1'));
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('b', null, '1', '2')]);
  });

  test('one that it has not looked at is told again, and what is new does not wait for that', async () => {
    const told: Push[] = [];
    const { pushed, idle } = notifier((each, newer) => {
      told.push(each);
      if (told.length === 1) return new Promise((resolve) => { newer.addEventListener('abort', () => { resolve(false); }); });
      return Promise.resolve(told.length > 2);
    });
    pushed(push('a', null, '1'));
    await until(() => told.length === 1, 'it waits for the first to be looked at');
    pushed(push('b', 'a', '2'));
    await idle();
    expect(told).toEqual([push('a', null, '1'), push('b', null, '1', '2'), push('b', null, '1', '2')]);
    expect(results).toEqual(['retried', 'retried', 'told']);
  });
});

describe('an Application', () => {
  const object = (status: unknown) => ({ metadata: { name: 'a', uid: 'u', resourceVersion: '1' }, spec: { source: { path: 'p' } }, status });

  test('is read as its controller shows it', () => {
    expect(readApplication(object({
      sync: { status: 'Synced', revision: 'abc' }, health: { status: 'Degraded' }, conditions: [{ type: 'SyncWarning', message: 'w' }, { type: 'ComparisonError', message: 'no such path' }],
      operationState: { phase: 'Running', retryCount: 2, message: 'one or more objects failed', syncResult: { revision: 'abd' } },
    }))).toEqual({
      name: 'a', path: 'p', commit: 'abc', sync: 'Synced', health: 'Degraded', problem: 'ComparisonError: no such path',
      operation: { phase: 'Running', failing: true, commit: 'abd', message: 'one or more objects failed' },
    });
  });

  test.each([undefined, {}, { sync: { status: 'Unknown', revision: '' }, health: {}, operationState: { phase: 7 }, conditions: 'x' }])('says nothing before its controller does, nor where it says nonsense: %j', (status) => {
    expect(readApplication(object(status))).toEqual({ name: 'a', path: 'p', commit: null, sync: 'Unknown', health: 'Unknown', operation: null, problem: null });
  });

  test('is concerned by paths in its folder, and by no others', () => {
    const applications = ['0a', '0b', '0'].map((shard) => ({ name: shard, path: `clusters/n/processors/${shard}` }));
    expect(concerned(applications, ['clusters/n/processors/0a/1/x.yaml', 'clusters/n/.dory/change.json', 'clusters/n/processors/0b'])).toEqual(['0a']);
    expect(concerned(applications, null)).toEqual(['0', '0a', '0b']);
  });
});

describe('from push to cluster', () => {
  const a = application();
  const b = application({ name: 'dory-n-processors-0b', path: 'clusters/n/processors/0b' });
  const [inA, inB] = ['clusters/n/processors/0a/x.yaml', 'clusters/n/processors/0b/y.yaml'];

  test('a commit has arrived when all Applications concerned have it', () => {
    const progress = createProgress();
    progress.pushed(push('1', null, inA, inB), [a, b], millis(1_000));
    expect(progress.seen({ ...a, sync: 'Synced', commit: '0' }, millis(1_500))).toEqual([]);
    expect(progress.seen({ ...a, sync: 'Synced', commit: '1' }, millis(2_000))).toEqual([]);
    expect(progress.seen({ ...b, operation: { phase: 'Succeeded', failing: false, commit: '1', message: '' } }, millis(4_000))).toEqual([3_000]);
    expect(progress.seen({ ...b, sync: 'Synced', commit: '1' }, millis(5_000))).toEqual([]);
  });

  test('a newer commit brings the older ones', () => {
    const progress = createProgress();
    progress.pushed(push('1', null, inA), [a, b], millis(0));
    progress.pushed(push('2', '1', inA), [a, b], millis(1_000));
    expect(progress.seen({ ...a, sync: 'Synced', commit: '2' }, millis(2_000))).toEqual([2_000, 1_000]);
  });

  test('a commit that concerns none is not waited for', () => {
    const progress = createProgress();
    progress.pushed(push('1', null, 'clusters/n/.dory/change.json'), [a, b], millis(0));
    expect(progress.seen({ ...a, sync: 'Synced', commit: '1' }, millis(1))).toEqual([]);
  });
});

describe('that Argo CD looked at a commit', () => {
  const path = 'clusters/n/processors/0a';
  const client = (commit: () => string): KubeClient => ({
    get: () => Promise.resolve({ date: null, body: { metadata: { resourceVersion: '1' }, items: [
      { metadata: { name: 'a', namespace: 'argocd', uid: 'u', resourceVersion: '1' }, spec: { source: { path } }, status: { sync: { status: 'Synced', revision: commit() } } },
    ] } }),
    // Each look is a list of its own.
    lines: () => { throw new Failure('kubernetes-expired', 'no watch here'); },
    close: () => undefined,
  });
  const watched = async (commit: () => string): Promise<Applications> => {
    const applications = createApplications({
      client: client(commit), writer: { send: () => Promise.reject(new Error('nothing is written here')) }, clock: systemClock, random: fixedRandom(0), log: silentLog,
      namespace: 'argocd', label: 'a=b', onChange: () => undefined,
    });
    closes.push(() => applications.cache.close());
    applications.cache.start();
    await until(() => applications.cache.items.size === 1, 'the Application is known');
    return applications;
  };
  const closes: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closes.splice(0)) await close();
  });
  const never = new AbortController().signal;

  test.each(['two', 'of-somebody'])('is seen when it shows it, or one that we never heard of: %s', async (then) => {
    let shown = 'zero';
    const { expect: expecting } = await watched(() => shown);
    const looked = expecting(push('two', 'one', `${path}/x.yaml`))(never);
    shown = then;
    expect(await looked).toBe(true);
  });

  test('is not taken from what it showed before, nor from a commit of ours that is older', async () => {
    let shown = 'zero';
    const { expect: expecting, cache } = await watched(() => shown);
    const over = new AbortController();
    expecting(push('one', 'zero', `${path}/x.yaml`));
    const looked = expecting(push('two', 'one', `${path}/x.yaml`))(over.signal);
    shown = 'one';
    await until(() => [...cache.items.values()].every(({ commit }) => commit === 'one'), 'the older one is shown');
    over.abort();
    expect(await looked).toBe(false);
  });

  test('is not waited for where no Application is concerned', async () => {
    const { expect: expecting } = await watched(() => 'zero');
    expect(await expecting(push('one', 'zero', 'clusters/n/processors/0b/x.yaml'))(never)).toBe(true);
  });
});

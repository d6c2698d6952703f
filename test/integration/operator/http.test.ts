import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { edgePaths } from '../../../src/http/edge-openapi.ts';
import { openApiDocument } from '../../../src/operator/openapi.ts';
import { operations } from '../../../src/operator/registry.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { createToken } from '../../../src/platform/tokens.ts';
import { operatorServer, type OperatorServer } from '../../support/operator-server.ts';
import { small, workshop, type Workshop } from '../cli/program.ts';
import { seedSmallFleet } from '../../support/fleet.ts';

let shop: Workshop;
let server: OperatorServer;
let ada: string;
let bob: string;

beforeAll(async () => {
  shop = await workshop();
  await seedSmallFleet(shop.pool);
  server = await operatorServer(shop.env);
  [ada, bob] = await Promise.all([server.token('ada'), server.token('bob')]);
});
afterAll(async () => {
  await server.close();
  await shop.close();
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

interface Sent {
  readonly token?: string;
  readonly body?: unknown;
}

async function ask(method: string, path: string, { token, body }: Sent = {}, base = server.url): Promise<Answer> {
  const response = await fetch(base + path, {
    method,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text === '' ? {} : (JSON.parse(text) as Answer['body']) };
}

function expectProblem({ status, headers, body }: Answer, wanted: number, code: string): void {
  expect([status, body['code']]).toEqual([wanted, code]);
  expect(headers.get('content-type')).toBe('application/problem+json');
  expect(body).toMatchObject({ type: `urn:dory:problem:${code}`, title: expect.stringMatching(/^[A-Z]/) as unknown, status: wanted, detail: expect.stringMatching(/\S/) as unknown });
}

const changing = operations.filter(({ changesState, confidential }) => changesState || confidential === true);
const filled = (path: string): string => path.replaceAll(/:[A-Za-z]+/g, randomUUID());

describe('who may ask', () => {
  test.each(changing.map(({ name, method, path }) => [name, method, path] as const))('%s takes the token of an operator', async (_name, method, path) => {
    const none = await ask(method, filled(path), { body: method === 'GET' || method === 'DELETE' ? undefined : {} });
    expectProblem(none, 401, 'unauthorized');
    expect(none.headers.get('www-authenticate')).toBe('Bearer');
  });

  test('not one that is made up, of a node, run out or revoked; and a wrong one is refused where none is needed', async () => {
    const pause = (token: string): Promise<Answer> => ask('POST', '/api/v1/pause', { token, body: {} });
    for (const token of ['x', '', `dory_op_${'0'.repeat(64)}`, `${ada}0`]) expectProblem(await pause(token), 401, 'unauthorized');
    const issue = { random: systemRandom, by: 'test' };
    const node = await createToken(shop.pool, 'edge-1', { role: 'node', nodeId: '00000000-0000-4000-8000-0000000000e1' as never }, issue);
    expectProblem(await pause(node.token), 403, 'forbidden');
    const late = await createToken(shop.pool, 'late', { role: 'operator' }, issue);
    await shop.pool.query(`update dory.tokens set expires_at = now() - interval '1 s' where id = $1`, [late.info.id]);
    expectProblem(await pause(late.token), 401, 'unauthorized');
    expectProblem(await ask('GET', '/api/v1/leader', { token: late.token }), 401, 'unauthorized');
    expect((await ask('GET', '/api/v1/leader')).status).toBe(200);
    // Nothing was paused by any of them: a good token is asked what is missing.
    expectProblem(await pause(ada), 400, 'invalid-input');
    expect((await shop.pool.query('select paused from dory.pause')).rows).toEqual([{ paused: false }]);
  });

  test('reads and the edge API take one too where the settings say so', async () => {
    const strict = await operatorServer({ ...shop.env, DORY_HTTP_REQUIRE_TOKEN_FOR_READS: 'true', DORY_HTTP_REQUIRE_TOKEN_FOR_NODES: 'true' });
    onTestFinished(strict.close);
    expectProblem(await ask('GET', '/api/v1/leader', {}, strict.url), 401, 'unauthorized');
    expect((await ask('GET', '/api/v1/leader', { token: ada }, strict.url)).status).toBe(200);
    const register = (token?: string): Promise<Answer> => ask('POST', '/api/v1/edge/nodes', { body: { name: 'edge-7' }, ...(token === undefined ? {} : { token }) }, strict.url);
    expect(await register()).toMatchObject({ status: 401, body: { error: 'unauthorized' } });
    expect((await register(ada)).status).toBe(201);
    const { rows } = await shop.pool.query(`select evidence ->> 'by' as by from dory.events where kind = 'node-registered' and evidence ->> 'name' = 'edge-7'`);
    expect(rows).toEqual([{ by: 'ada' }]);
  });
});

describe('what is wrong with a request', () => {
  test.each<readonly [string, unknown, string]>([
    ['no body', undefined, 'reason'],
    ['a list', [], 'body'],
    ['a text', '"text"', 'body'],
    ['an empty reason', { reason: ' ' }, 'reason'],
    ['a reason that fills a row', { reason: 'x'.repeat(501) }, 'reason'],
    ['a reason that no table takes', { reason: 'a\0b' }, 'reason'],
    ['what nobody expects', { reason: 'r', force: true }, 'force'],
    ['a prototype', '{"reason":"r","__proto__":{"x":1}}', '__proto__'],
  ])('%s', async (_what, body, field) => {
    const answer = await ask('POST', '/api/v1/pause', { token: ada, body });
    expectProblem(answer, 400, 'invalid-input');
    expect(answer.body['problems']).toMatchObject([{ field, value: expect.any(String) as unknown, mend: expect.any(String) as unknown }]);
  });

  test('a body that is no JSON, or too large', async () => {
    expectProblem(await ask('POST', '/api/v1/pause', { token: ada, body: '{"reason":' }), 400, 'invalid-json');
    expectProblem(await ask('POST', '/api/v1/pause', { token: ada, body: `{"reason":"${'x'.repeat(65 * 1024)}"}` }), 413, 'body-too-large');
  });

  test.each(['limit=0', 'limit=1001', 'limit=ten', 'limit=1.5', 'limit=1&limit=2', 'continue=x', `continue=${'1'.repeat(30)}`, 'nonsense=1', 'all=perhaps'])('a query with %s', async (query) => {
    expectProblem(await ask('GET', `/api/v1/maintenance?${query}`), 400, 'invalid-input');
  });

  test('a path where nothing is, or another method', async () => {
    expectProblem(await ask('GET', '/api/v1/nothing'), 404, 'not-found');
    const wrong = await ask('PATCH', '/api/v1/nodes/edge-1/ack');
    expectProblem(wrong, 405, 'method-not-allowed');
    expect(wrong.headers.get('allow')).toBe('POST');
    expect((await ask('POST', '/api/v1/leader')).headers.get('allow')).toBe('GET, HEAD');
    expect((await ask('POST', '/api/v1/openapi.json')).headers.get('allow')).toBe('GET, HEAD');
    // The running system's routes keep their form of errors.
    expect((await ask('GET', '/api/v1/edge/nodes')).body).toMatchObject({ error: 'method-not-allowed' });
  });

  test('what is not there, or is ambiguous', async () => {
    expectProblem(await ask('POST', '/api/v1/nodes/nobody/ack', { token: ada, body: { reason: 'r' } }), 404, 'not-found');
    expectProblem(await ask('POST', '/api/v1/processors/00000000/confirm-stop', { token: ada, body: { reason: 'r' } }), 404, 'not-found');
    expectProblem(await ask('DELETE', `/api/v1/tokens/${randomUUID()}?reason=r`, { token: ada }), 404, 'not-found');
  });

  test('a database that is away: 503, and when to come again', async () => {
    const own = await small(onTestFinished);
    const lost = await operatorServer(own.env);
    onTestFinished(lost.close);
    expect((await ask('GET', '/api/v1/leader', {}, lost.url)).status).toBe(200);
    await own.pool.query('alter table dory.policies rename to hidden');
    const answer = await ask('GET', '/api/v1/policies', {}, lost.url);
    expectProblem(answer, 503, 'schema-missing');
    expect(answer.body['detail']).not.toContain('postgres:');
  });
});

describe('locks', () => {
  const begin = (token: string, subject: string): Promise<Answer> => ask('POST', '/api/v1/maintenance', { token, body: { subject, reason: 'disk', for: '2h' } });
  const end = (token: string, subject: string, force = false): Promise<Answer> => ask('DELETE', `/api/v1/maintenance?subject=${encodeURIComponent(subject)}${force ? '&force=true' : ''}`, { token });
  const cam1 = 'processor/00000000-0000-4000-8000-0000000000c1';

  test('of many that begin at once one wins, and the others are told who', async () => {
    const tokens = Array.from({ length: 8 }, (_, i) => (i % 2 === 0 ? ada : bob));
    const answers = await Promise.all(tokens.map((token) => begin(token, 'node/edge-2')));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409, 409, 409, 409, 409]);
    const [lost] = answers.filter(({ status }) => status === 409);
    if (lost === undefined) throw new Error('nobody lost');
    expectProblem(lost, 409, 'locked');
    expect(lost.body['detail']).toMatch(/^node\/edge-2 is locked by (ada|bob) until \d{4}-.*Z: disk$/);
    const [held] = (await ask('GET', '/api/v1/maintenance')).body['items'] as readonly { readonly owner: string }[];
    const [owner, other] = held?.owner === 'ada' ? [ada, bob] : [bob, ada];
    expectProblem(await end(other, 'node/edge-2'), 409, 'locked');
    expect((await end(owner, 'node/edge-2')).status).toBe(200);
    expectProblem(await end(owner, 'node/edge-2'), 404, 'not-found');
  });

  test('one that ran out is told of, although the next one takes its place before a cycle saw it', async () => {
    const expired = async () => (await shop.pool.query<{ evidence: unknown }>(`select evidence from dory.events where kind = 'lock-expired'`)).rows;
    expect((await begin(ada, cam1)).status).toBe(200);
    await shop.pool.query('update dory.locks set expires_at = now() where ended_at is null');
    expect((await begin(bob, cam1)).status).toBe(200);
    expect(await expired()).toMatchObject([{ evidence: { lock: expect.stringContaining('processor/') as unknown, owner: 'ada', reason: 'disk' } }]);
    expect((await end(bob, cam1)).status).toBe(200);
    expect(await expired()).toHaveLength(1);
  });

  test.each([['node/edge-1', cam1], [cam1, 'node/edge-1'], ['template/camera', cam1], [cam1, 'template/camera']])('a lock on %s is in the way of one on %s', async (held, wanted) => {
    expect((await begin(ada, held)).status).toBe(200);
    try {
      expectProblem(await begin(bob, wanted), 409, 'locked');
      expect((await begin(bob, 'node/edge-2')).status).toBe(200);
      expect((await end(bob, 'node/edge-2')).status).toBe(200);
      // Its own are not in the way of themselves.
      expect((await begin(ada, wanted)).status).toBe(200);
      expect((await end(ada, wanted)).status).toBe(200);
    } finally {
      expect((await end(bob, held, true)).status).toBe(200);
    }
  });

  test('what others ask for on what is locked is refused, over the edge API too', async () => {
    await ask('POST', '/api/v1/nodes', { token: ada, body: { name: 'edge-8', reason: 'new' } });
    expect((await begin(ada, 'node/edge-8')).status).toBe(200);
    expectProblem(await ask('POST', '/api/v1/nodes/edge-8/decommission', { token: bob, body: { reason: 'sold' } }), 409, 'locked');
    expect(await ask('POST', '/api/v1/edge/nodes/decommission', { body: { name: 'edge-8' } })).toMatchObject({ status: 409, body: { error: 'locked' } });
    expect((await ask('POST', '/api/v1/nodes/edge-8/decommission', { token: ada, body: { reason: 'sold' } })).body).toMatchObject({ status: 'decommissioned', changed: true });
    expect((await begin(ada, cam1)).status).toBe(200);
    expectProblem(await ask('POST', '/api/v1/approvals', { token: bob, body: { subject: 'move/00000000-0000-4000-8000-0000000000c1', reason: 'r' } }), 409, 'locked');
    expectProblem(await ask('POST', '/api/v1/processors/00000000-0000-4000-8000-0000000000c1/confirm-stop', { token: bob, body: { reason: 'r' } }), 409, 'locked');
    expect((await end(ada, cam1)).status).toBe(200);
    expect((await ask('POST', '/api/v1/approvals', { token: bob, body: { subject: 'move/00000000-0000-4000-8000-0000000000c1', reason: 'r' } })).status).toBe(200);
  });

  test('one that ran out is no lock, and makes room for another', async () => {
    expect((await begin(ada, 'template/camera')).status).toBe(200);
    await shop.pool.query(`update dory.locks set expires_at = now() - interval '1 s' where name = 'camera' and ended_at is null`);
    expect((await begin(bob, 'template/camera')).body).toMatchObject({ owner: 'bob', ended: null });
    expect((await end(bob, 'template/camera')).status).toBe(200);
  });

  test('a list comes in pages that overlap nowhere and leave nothing out', async () => {
    const read = async (path: string): Promise<{ readonly items: readonly { readonly id: number }[]; readonly continue: string | null }> => (await ask('GET', path)).body as never;
    const all = await read('/api/v1/maintenance?all=true');
    const pages = [];
    for (let from: string | null = ''; from !== null;) {
      const page = await read(`/api/v1/maintenance?all=true&limit=2${from === '' ? '' : `&continue=${from}`}`);
      pages.push(...page.items);
      from = page.continue;
    }
    expect(all.items.length).toBeGreaterThan(4);
    expect(pages).toEqual(all.items);
  });
});

test('tokens are told once, and are nowhere else: not in lists, events, tables or errors', async () => {
  const { body: made } = await ask('POST', '/api/v1/tokens', { token: ada, body: { name: 'carol', reason: 'on call' } });
  const token = String(made['token']);
  expect((await ask('POST', '/api/v1/resume', { token, body: { reason: 'r' } })).status).toBe(200);
  const said = await Promise.all(['tokens', 'node-tokens', 'events?limit=1000'].map((path) => ask('GET', `/api/v1/${path}`, { token })));
  const { rows } = await shop.pool.query<{ all: string }>(`select string_agg(t::text, '') || (select string_agg(e::text, '') from dory.events e) as all from dory.tokens t`);
  const secret = token.slice('dory_op_'.length);
  for (const text of [...said.map(({ body }) => JSON.stringify(body)), rows[0]?.all ?? '']) {
    expect(text).toContain('carol'.slice(0, text.includes('carol') ? 5 : 0));
    expect(text).not.toContain(secret);
  }
  expect((await ask('DELETE', `/api/v1/tokens/${String(made['id'])}?reason=done`, { token: ada })).body).not.toHaveProperty('token');
  // By name and whole, so that a log can be read: but a token in an error would be one in a log.
  const misspelled = await ask('POST', '/api/v1/pause', { token: `${token}x`, body: {} });
  expect(JSON.stringify(misspelled.body)).not.toContain(secret);
});

test('the description is served', async () => {
  const { status, body } = await ask('GET', '/api/v1/openapi.json');
  expect(status).toBe(200);
  expect(body).toEqual(JSON.parse(JSON.stringify(openApiDocument(operations, edgePaths))));
});

test('what can be asked of a cluster only is refused where there is none', async () => {
  expect(await ask('GET', '/api/v1/adoption', { token: ada })).toMatchObject({ status: 409, body: { code: 'conflict' } });
});

test.each(operations.filter(({ name, method }) => method === 'GET' && name !== 'adopt').map((operation) => [operation.name, operation] as const))('%s answers what its schema says', async (name, { path, output }) => {
  const asked: Readonly<Record<string, string>> = { explain: '?subject=edge-1', simulate: '?fail=edge-1', drill: '?fail=edge-1' };
  const { status, body } = await ask('GET', `${path}${asked[name] ?? ''}`, { token: ada });
  expect(status).toBe(200);
  expect(output.safeParse(body).error).toBeUndefined();
});

test('an approval of the budget or the guard covers what is withheld, and nothing else', async () => {
  expectProblem(await ask('POST', '/api/v1/approvals', { token: ada, body: { subject: 'budget', reason: 'r' } }), 409, 'conflict');
});

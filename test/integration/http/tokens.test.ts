import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NodeId } from '../../../src/model/ids.ts';
import { millis, type Millis } from '../../../src/model/time.ts';
import type { Clock } from '../../../src/platform/clock.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { createPool } from '../../../src/platform/pg.ts';
import { systemRandom } from '../../../src/platform/random.ts';
import { createAuthenticator, createToken, defaultTokenLife, listTokens, revokeToken, rotateToken, type Authenticator } from '../../../src/platform/tokens.ts';
import { testDatabase, type TestDatabase } from '../../support/postgres.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await testDatabase();
});
afterAll(() => db.close());

const issue = { random: systemRandom, by: 'ann' };
const nodeId = randomUUID() as NodeId;
const bearer = (token: string): string => `Bearer ${token}`;

/** With a clock that the test moves. */
function authenticator(): { readonly tokens: Authenticator; readonly pass: (ms: number) => void } {
  let at = 0;
  const clock: Clock = { ...systemClock, monotonic: (): Millis => millis(at) };
  return { tokens: createAuthenticator({ pool: db.pool, clock, life: defaultTokenLife }), pass: (ms) => { at += ms; } };
}

test('a token is known by its secret, and the database does not have it', async () => {
  const { tokens } = authenticator();
  const operator = await createToken(db.pool, 'ci', { role: 'operator' }, issue);
  const node = await createToken(db.pool, 'edge-1', { role: 'node', nodeId }, issue);
  expect(operator.token).toMatch(/^dory_op_[0-9a-f]{64}$/);
  expect(node.token).toMatch(/^dory_node_[0-9a-f]{64}$/);
  expect(await tokens.authenticate(bearer(operator.token))).toEqual({ tokenId: operator.info.id, role: 'operator', name: 'ci', nodeId: null, nodeName: null });
  expect(await tokens.authenticate(`bearer ${node.token}`)).toEqual({ tokenId: node.info.id, role: 'node', name: 'edge-1', nodeId, nodeName: null });
  const { rows } = await db.pool.query<{ row: string }>('select tokens::text as row from dory.tokens');
  expect(rows.filter(({ row }) => row.includes(operator.token) || row.includes(operator.token.slice('dory_op_'.length)))).toEqual([]);
  expect(JSON.stringify(await listTokens(db.pool))).not.toContain(operator.token);
});

test('a header that holds no token of ours is nobody', async () => {
  const { tokens } = authenticator();
  const { token } = await createToken(db.pool, 'n', { role: 'operator' }, issue);
  const other = `${token.slice(0, -1)}${token.endsWith('0') ? '1' : '0'}`;
  for (const header of [undefined, '', token, `Basic ${token}`, 'Bearer ', bearer(other), bearer(token.toUpperCase()), `${bearer(token)}0`, bearer('x'.repeat(10_000))]) {
    expect(await tokens.authenticate(header)).toBeNull();
  }
});

test('a token that is known is not asked for again before its time, and a revoked one is forgotten by then', async () => {
  const { tokens, pass } = authenticator();
  const { token, info } = await createToken(db.pool, 'short', { role: 'operator' }, issue);
  expect(await tokens.authenticate(bearer(token))).not.toBeNull();
  expect(await revokeToken(db.pool, info.id)).toMatchObject({ name: 'short' });
  expect(await revokeToken(db.pool, info.id)).toBeNull();
  pass(defaultTokenLife - 1);
  expect(await tokens.authenticate(bearer(token))).not.toBeNull();
  pass(1);
  expect(await tokens.authenticate(bearer(token))).toBeNull();
});

test('a rotated token is good until its grace is over, and not longer than it was', async () => {
  const { tokens, pass } = authenticator();
  const old = await createToken(db.pool, 'turn', { role: 'node', nodeId }, issue);
  const fresh = await rotateToken(db.pool, old.info.id, millis(2000), issue);
  expect(await tokens.authenticate(bearer(fresh.token))).toMatchObject({ name: 'turn', nodeId });
  expect(await tokens.authenticate(bearer(old.token))).toMatchObject({ name: 'turn', nodeId });
  await db.pool.query(`update dory.tokens set expires_at = now() where id = $1`, [old.info.id]);
  pass(2000);
  expect(await tokens.authenticate(bearer(old.token))).toBeNull();
  expect(await tokens.authenticate(bearer(fresh.token))).not.toBeNull();
  await expect(rotateToken(db.pool, old.info.id, millis(0), issue)).rejects.toMatchObject({ code: 'not-found' });
  const rotated = await rotateToken(db.pool, fresh.info.id, millis(60_000), issue);
  const list = await listTokens(db.pool);
  expect(list.find(({ id }) => id === rotated.info.id)).toMatchObject({ name: 'turn', role: 'node', createdBy: 'ann', expiresAt: null, lastUsedAt: null });
  expect(list.find(({ id }) => id === fresh.info.id)?.lastUsedAt).not.toBeNull();
});

test('many requests at once are few statements', async () => {
  const { token } = await createToken(db.pool, 'rush', { role: 'operator' }, issue);
  let statements = 0;
  const pool = createPool(db.url, { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  try {
    const counting = new Proxy(pool, {
      get: (target, name, receiver): unknown => {
        if (name === 'query') statements += 1;
        return Reflect.get(target, name, receiver);
      },
    });
    const tokens = createAuthenticator({ pool: counting, clock: systemClock, life: defaultTokenLife });
    const wrong = Array.from({ length: 500 }, () => `dory_op_${systemRandom.hex(32)}`);
    const answers = await Promise.all([...wrong, token].map((one) => tokens.authenticate(bearer(one))));
    expect(answers.filter((answer) => answer !== null)).toHaveLength(1);
    expect(statements).toBe(2);
  } finally {
    await pool.end();
  }
});

test('where the database can\'t be asked, nobody is called unknown', async () => {
  const pool = createPool('postgresql://nobody@127.0.0.1:1/nothing', { max: 1, statementTimeoutMs: 0, applicationName: 'dory-test' });
  try {
    const tokens = createAuthenticator({ pool, clock: systemClock, life: defaultTokenLife });
    await expect(tokens.authenticate(bearer(`dory_op_${systemRandom.hex(32)}`))).rejects.toMatchObject({ code: 'database-unreachable' });
    expect(await tokens.authenticate('Bearer other')).toBeNull();
  } finally {
    await pool.end();
  }
});

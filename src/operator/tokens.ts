import type { PoolClient } from 'pg';
import { z } from 'zod';
import { Failure } from '../model/failure.ts';
import { targetName } from '../model/placement.ts';
import { formatInstant, instant, seconds } from '../model/time.ts';
import { inTransaction } from '../platform/pg.ts';
import { createToken, listTokens, revokeToken, rotateToken, type NewToken, type TokenInfo } from '../platform/tokens.ts';
import { duration, moment, node, reason, text } from './fields.ts';
import { operation, pageInput, pageOf, type Caller } from './operation.ts';
import { recordAct } from './record.ts';
import { findNode } from './subjects.ts';

const shown = {
  id: z.string(),
  name: z.string(),
  nodeId: z.string().nullable().describe('The node it speaks for; null for operators and for the managed pool.'),
  by: z.string().describe('Who made it.'),
  created: moment,
  expires: moment.nullable().describe('Null: good until it is revoked.'),
  lastUsed: moment.nullable().describe('To within a minute; null: never.'),
};
const info = z.object(shown);
const created = z.object({ ...shown, token: z.string().describe('The token itself; it can not be had again.') });
export type TokenRecord = z.output<typeof info>;

const id = z.uuid({ error: 'give the id of a token' }).describe('Its id, as the list shows it.');
const name = text('a name', 100).describe('What it is called in lists and in the record of what was done with it.');

/** Long enough to bring the new token to a machine that is rarely reached. */
const grace = duration(seconds(0), seconds(31 * 24 * 3600), '24h, up to 744h').prefault('24h').describe('How long the old one stays good.');

export const tokenCreate = operation({
  name: 'token.create',
  method: 'POST',
  path: '/api/v1/tokens',
  summary: 'make a token for an operator; it is shown once',
  changesState: true,
  input: z.strictObject({ name, reason }),
  output: created,
  run: ({ pool, random }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const made = await createToken(client, input.name, { role: 'operator' }, { random, by: caller.name });
      return recorded(client, made, caller, 'token-created', input.reason);
    }),
});

const managedPool = targetName({ kind: 'managed' });

export const nodeTokenCreate = operation({
  name: 'node.token.create',
  method: 'POST',
  path: '/api/v1/node-tokens',
  summary: 'make a token with which agents speak for one node, or for the managed pool (managed); it is shown once',
  changesState: true,
  input: z.strictObject({ node, reason }),
  output: created,
  run: ({ pool, random }, input, caller) =>
    inTransaction(pool, {}, async (client) => {
      const found = input.node === managedPool ? { id: null, name: managedPool } : await findNode(client, input.node);
      const made = await createToken(client, found.name, { role: 'node', nodeId: found.id }, { random, by: caller.name });
      return recorded(client, made, caller, 'token-created', input.reason);
    }),
});

type Role = TokenInfo['role'];

const rotate = (role: Role, words: string, base: `/api/v1/${string}`) =>
  operation({
    name: `${words}.rotate`,
    method: 'POST',
    path: `${base}/:token/rotate`,
    summary: 'make a new token for the same use; the old one stays good for a while',
    changesState: true,
    input: z.strictObject({ token: id, grace, reason }),
    output: created,
    run: ({ pool, random }, input, caller) =>
      inTransaction(pool, {}, async (client) => {
        await only(client, role, input.token);
        return recorded(client, await rotateToken(client, input.token, input.grace, { random, by: caller.name }), caller, 'token-rotated', input.reason);
      }),
  });

const revoke = (role: Role, words: string, base: `/api/v1/${string}`) =>
  operation({
    name: `${words}.revoke`,
    method: 'DELETE',
    path: `${base}/:token`,
    summary: 'make a token good for nothing, within seconds',
    changesState: true,
    input: z.strictObject({ token: id, reason }),
    output: info,
    run: ({ pool }, input, caller) =>
      inTransaction(pool, {}, async (client) => {
        await only(client, role, input.token);
        const revoked = await revokeToken(client, input.token);
        if (revoked === null) throw noSuchToken(input.token);
        await record(client, revoked, caller, 'token-revoked', input.reason);
        return toRecord(revoked);
      }),
  });

const list = (role: Role, words: string, base: `/api/v1/${string}`) =>
  operation({
    name: `${words}.list`,
    method: 'GET',
    path: base,
    summary: 'the tokens that there are, without what they are',
    changesState: false,
    confidential: true,
    input: z.strictObject({ ...pageInput }),
    output: pageOf(info),
    run: async ({ pool }, { limit, continue: from }) => {
      const all = (await listTokens(pool)).filter((token) => token.role === role);
      const start = from === undefined ? 0 : all.findIndex((token) => token.id === from) + 1;
      const items = all.slice(start, start + limit).map(toRecord);
      return { items, continue: start + limit < all.length ? (items.at(-1)?.id ?? null) : null };
    },
  });

export const tokenRotate = rotate('operator', 'token', '/api/v1/tokens');
export const tokenRevoke = revoke('operator', 'token', '/api/v1/tokens');
export const tokenList = list('operator', 'token', '/api/v1/tokens');
export const nodeTokenRotate = rotate('node', 'node.token', '/api/v1/node-tokens');
export const nodeTokenRevoke = revoke('node', 'node.token', '/api/v1/node-tokens');
export const nodeTokenList = list('node', 'node.token', '/api/v1/node-tokens');

/** @throws Failure `not-found` if there is no such token in this role */
async function only(client: PoolClient, role: Role, token: string): Promise<void> {
  const { rowCount } = await client.query('select from dory.tokens where id = $1 and role = $2 for update', [token, role]);
  if (rowCount !== 1) throw noSuchToken(token);
}

function noSuchToken(token: string): Failure {
  return new Failure('not-found', `There is no such token: ${token}.`, { mend: 'The lists of tokens show their ids.' });
}

async function recorded(client: PoolClient, made: NewToken, caller: Caller, kind: string, why: string): Promise<z.output<typeof created>> {
  await record(client, made.info, caller, kind, why);
  return { ...toRecord(made.info), token: made.token };
}

async function record(client: PoolClient, token: TokenInfo, caller: Caller, kind: string, why: string): Promise<void> {
  const { id: tokenId, role, name: called, nodeId } = token;
  await recordAct(client, caller, { kind, ...(nodeId === null ? {} : { nodeId }), evidence: { tokenId, role, name: called, reason: why } });
}

function toRecord(token: TokenInfo): TokenRecord {
  const at = (date: Date): string => formatInstant(instant(date.getTime()));
  return {
    id: token.id,
    name: token.name,
    nodeId: token.nodeId,
    by: token.createdBy,
    created: at(token.createdAt),
    expires: token.expiresAt === null ? null : at(token.expiresAt),
    lastUsed: token.lastUsedAt === null ? null : at(token.lastUsedAt),
  };
}

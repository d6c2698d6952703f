import { createHash, timingSafeEqual } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import type { NodeId } from '../model/ids.ts';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from './clock.ts';
import { databaseFailure } from './pg-failure.ts';
import type { Random } from './random.ts';

/**
 * Bearer tokens. A token is 256 random bits behind a prefix that says what it is for; the database has its SHA-256 only, and it is
 * shown once. `operator` may change state; `node` speaks for one node, or for the managed pool. What a guess of a digest could tell by its timing
 * says nothing about a token, and digests are compared in constant time all the same.
 */
export type TokenSubject =
  | { readonly role: 'operator' }
  /** Null: the managed pool. */
  | { readonly role: 'node'; readonly nodeId: NodeId | null };

/** A token as it may be shown: without its secret. */
export interface TokenInfo {
  readonly id: string;
  readonly role: TokenSubject['role'];
  readonly name: string;
  /** Null for operators and for the managed pool. */
  readonly nodeId: NodeId | null;
  readonly createdBy: string;
  readonly createdAt: Date;
  /** Not good any more from then on; null: good until it is revoked. */
  readonly expiresAt: Date | null;
  /** To within a minute; null: never. */
  readonly lastUsedAt: Date | null;
}

/** `token` is the secret, and can't be had again. */
export interface NewToken {
  readonly info: TokenInfo;
  readonly token: string;
}

interface Issue {
  readonly random: Random;
  /** Who makes it. */
  readonly by: string;
}

/** A pool, or the connection of a transaction that does more. */
type Queryable = Pick<Pool | PoolClient, 'query'>;

const columns = `id, role, name, node_id as "nodeId", created_by as "createdBy", created_at as "createdAt", expires_at as "expiresAt", last_used_at as "lastUsedAt"`;

/** `name` is for people: what the token is called in lists and in the record of what was done with it. @throws what the driver throws */
export async function createToken(db: Queryable, name: string, subject: TokenSubject, { random, by }: Issue): Promise<NewToken> {
  const token = `${subject.role === 'node' ? 'dory_node_' : 'dory_op_'}${random.hex(32)}`;
  const nodeId = subject.role === 'node' ? subject.nodeId : null;
  const { rows } = await db.query<TokenInfo>(
    `insert into dory.tokens (role, name, node_id, hash, created_by) values ($1, $2, $3, $4, $5) returning ${columns}`,
    [subject.role, name, nodeId, digestOf(token), by],
  );
  const [info] = rows;
  if (info === undefined) throw new Error('an inserted token was not returned');
  return { info, token };
}

/**
 * A new token for the same use. The old one stays good for `grace`, in which whoever uses it is given the new one.
 * @throws Failure `not-found`, and what the driver throws
 */
export async function rotateToken(db: Queryable, id: string, grace: Millis, issue: Issue): Promise<NewToken> {
  const { rows } = await db.query<TokenInfo>(
    `update dory.tokens set expires_at = least(expires_at, now() + make_interval(secs => $2::float8 / 1000))
      where id = $1 and (expires_at is null or expires_at > now()) returning ${columns}`,
    [id, grace],
  );
  const [old] = rows;
  if (old === undefined) throw new Failure('not-found', `There is no token ${id} that is still good.`);
  return createToken(db, old.name, old.role === 'operator' ? { role: 'operator' } : { role: 'node', nodeId: old.nodeId }, issue);
}

/** Good for nothing from now on; instances that know it forget it within `defaultTokenLife`. @returns what was revoked; null if there is none such. */
export async function revokeToken(db: Queryable, id: string): Promise<TokenInfo | null> {
  const { rows } = await db.query<TokenInfo>(`delete from dory.tokens where id = $1 returning ${columns}`, [id]);
  return rows[0] ?? null;
}

/** By name, the newest first; those that ran out stay in the list until they are revoked. */
export async function listTokens(db: Queryable): Promise<readonly TokenInfo[]> {
  const { rows } = await db.query<TokenInfo>(`select ${columns} from dory.tokens order by role, name, created_at desc, id`);
  return rows;
}

/** Whose token a request carried. */
export interface Authenticated {
  readonly tokenId: string;
  readonly role: TokenSubject['role'];
  readonly name: string;
  /** The node it speaks for; null for operators and for the managed pool. */
  readonly nodeId: NodeId | null;
  /** That node's name, so long as there is such a node. */
  readonly nodeName: string | null;
}

export interface Authenticator {
  /**
   * Reads the header `Authorization`.
   * @returns null where there is none, or none that is good
   * @throws Failure as `databaseFailure` maps it, where nobody could be asked
   */
  authenticate(header: string | undefined): Promise<Authenticated | null>;
}

/** A token that was found good is so for this long on this instance: how late a revocation may come. */
export const defaultTokenLife = seconds(5);
const mostRemembered = 20_000;

export function createAuthenticator(options: { readonly pool: Pool; readonly clock: Clock; readonly life: Millis }): Authenticator {
  return new RememberingAuthenticator(options);
}

interface Remembered {
  readonly digest: Buffer;
  readonly authenticated: Authenticated;
  /** By the monotonic clock. */
  readonly until: Millis;
}

interface Asked {
  readonly digest: Buffer;
  readonly resolve: (found: Remembered | null) => void;
  readonly reject: (failure: unknown) => void;
}

/**
 * Remembers good tokens only. What it does not know it asks for in groups, one statement at a time: however many requests come with
 * however many wrong tokens, they take one connection.
 */
class RememberingAuthenticator implements Authenticator {
  readonly #pool: Pool;
  readonly #clock: Clock;
  readonly #life: Millis;
  readonly #known = new Map<string, Remembered>();
  #asked: Asked[] = [];
  #asking = false;

  constructor({ pool, clock, life }: { readonly pool: Pool; readonly clock: Clock; readonly life: Millis }) {
    this.#pool = pool;
    this.#clock = clock;
    this.#life = life;
  }

  async authenticate(header: string | undefined): Promise<Authenticated | null> {
    const token = /^Bearer (dory_(?:node|op)_[0-9a-f]{64})$/i.exec(header ?? '')?.[1];
    if (token === undefined) return null;
    const digest = digestOf(token);
    const known = this.#known.get(digest.toString('hex'));
    const found = known !== undefined && known.until > this.#clock.monotonic() ? known : await this.#ask(digest);
    return found !== null && timingSafeEqual(found.digest, digest) ? found.authenticated : null;
  }

  #ask(digest: Buffer): Promise<Remembered | null> {
    return new Promise((resolve, reject) => {
      this.#asked.push({ digest, resolve, reject });
      if (!this.#asking) void this.#askAll();
    });
  }

  /** Answers everybody, so that it never rejects. */
  async #askAll(): Promise<void> {
    this.#asking = true;
    while (this.#asked.length > 0) {
      const asked = this.#asked;
      this.#asked = [];
      try {
        const found = await this.#find(asked.map(({ digest }) => digest));
        for (const { digest, resolve } of asked) resolve(found.get(digest.toString('hex')) ?? null);
      } catch (error) {
        const failure = databaseFailure(error);
        for (const { reject } of asked) reject(failure);
      }
    }
    this.#asking = false;
  }

  async #find(digests: readonly Buffer[]): Promise<ReadonlyMap<string, Remembered>> {
    const asked = this.#clock.monotonic();
    const { rows } = await this.#pool.query<{ id: string; role: TokenSubject['role']; name: string; nodeId: NodeId | null; nodeName: string | null; hash: Buffer; left: number | null }>(
      `with good as (select * from dory.tokens where hash = any($1::bytea[]) and (expires_at is null or expires_at > now())),
            used as (update dory.tokens t set last_used_at = now() from good where t.id = good.id and (t.last_used_at is null or t.last_used_at < now() - interval '1 minute'))
       select good.id, role, good.name, node_id as "nodeId", e.name as "nodeName", hash, (extract(epoch from expires_at - now()) * 1000)::float8 as left
         from good left join edge_nodes e on e.id = good.node_id`,
      [digests],
    );
    const found = rows.map(({ id, role, name, nodeId, nodeName, hash, left }): readonly [string, Remembered] => [
      hash.toString('hex'),
      { digest: hash, authenticated: { tokenId: id, role, name, nodeId, nodeName }, until: (asked + Math.min(this.#life, left ?? Infinity)) as Millis },
    ]);
    for (const [key, remembered] of found) this.#remember(key, remembered);
    return new Map(found);
  }

  #remember(key: string, remembered: Remembered): void {
    if (this.#known.size >= mostRemembered) this.#known.clear();
    this.#known.set(key, remembered);
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

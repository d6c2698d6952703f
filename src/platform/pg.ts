import pg, { type Pool, type PoolClient } from 'pg';
import { Failure } from '../model/failure.ts';
import { databaseFailure, leavesConnectionUnusable } from './pg-failure.ts';

export interface PoolOptions {
  /** Most connections at once. */
  readonly max: number;
  /** A statement that runs longer is cancelled by the server; 0 for no limit. */
  readonly statementTimeoutMs: number;
  /** Shown in `pg_stat_activity`. */
  readonly applicationName: string;
  /** How long a new connection may take, and the wait for a free one; `connectTimeoutMs` if absent. */
  readonly connectTimeoutMs?: number;
  /** Statements are sent without waiting for the answers to those before; each is its own transaction. No cursors then. */
  readonly pipeline?: boolean;
}

/** How long a new connection may take, TCP and authentication included, before the database counts as unreachable. */
export const connectTimeoutMs = 10_000;

/** A server that can be reached says by itself that a statement took too long; one that says nothing is given up after this. */
const goneAfterTimeoutMs = 5_000;

/**
 * A server notices by itself only after hours that a client is gone without a word (its machine, or the network between),
 * and keeps the locks of what was open until then: the lease and the state, with which nobody can decide. As long as a
 * lease lasts: whoever takes over waits for that anyway.
 */
const idleInTransactionTimeoutMs = 10_000;

/**
 * A transaction that only reads locks nothing that others wait for, and what it read is parsed between its statements: 50,000
 * rows at once, which takes a slow machine longer than a second or two. Longer than an API server may be waited for, too.
 */
const idleInPatientTimeoutMs = 120_000;

/**
 * Neither does the limit above hold for a server that still sends, nor that of statements: what a client that is gone does not
 * take, it tries to send for a quarter of an hour, with all locks. And who is gone while idle fills the server's last connection.
 * Seconds, but for the first; a server's own are hours.
 */
const goneClient = ['tcp_user_timeout=10000', 'tcp_keepalives_idle=10', 'tcp_keepalives_interval=5', 'tcp_keepalives_count=3'];

/** The same the other way round: when a connection on which nothing comes is tried, in ms. */
export const keepAliveInitialDelayMillis = 10_000;

/** A server that is there has closed a connection by then. */
const goodbyeMs = 1_000;

export interface CuttablePool extends Pool {
  /**
   * Drops every connection, those in use as well: what waits on them fails within this turn of the event loop, and later
   * queries open new ones. For a server that is known to be away and may never say so.
   */
  cut(): void;
}

/**
 * A pool that opens connections when they are needed: a database that is down is noticed by the first query.
 * @throws Failure `settings-invalid` if `url` is no PostgreSQL URL.
 */
export function createPool(url: string, options: PoolOptions): CuttablePool {
  const pool = new pg.Pool({
    connectionString: withoutGoneClients(libpqUrl(url)),
    max: options.max,
    application_name: options.applicationName,
    statement_timeout: options.statementTimeoutMs,
    ...(options.statementTimeoutMs > 0 ? { query_timeout: options.statementTimeoutMs + goneAfterTimeoutMs } : {}),
    connectionTimeoutMillis: options.connectTimeoutMs ?? connectTimeoutMs,
    idle_in_transaction_session_timeout: idleInTransactionTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelayMillis,
    pipeline: options.pipeline,
  });
  // The pool has dropped the connection already, and the next query opens another one or says why it can't.
  pool.on('error', () => undefined);
  const clients = new Set<PoolClient>();
  pool.on('connect', (client) => {
    clients.add(client);
    client.once('end', () => { clients.delete(client); });
  });
  const cut = (): void => { for (const { connection } of clients) connection.stream.destroy(); };
  const end = pool.end.bind(pool);
  return Object.assign(pool, {
    cut,
    // A server that is gone keeps no program from its end by not saying goodbye.
    end: async (): Promise<void> => {
      await end();
      if (clients.size > 0) setTimeout(cut, goodbyeMs).unref();
    },
  });
}

/** Whatever options the URL has count more. */
function withoutGoneClients(url: string): string {
  const parsed = new URL(url);
  const ours = goneClient.map((option) => `-c ${option}`).join(' ');
  parsed.searchParams.set('options', `${ours} ${parsed.searchParams.get('options') ?? ''}`.trim());
  return parsed.href;
}

/**
 * The URL with `sslmode` read as libpq and Go's drivers read it (`require`: encrypted, no check of the certificate), so that
 * a URL that works for the running system works here.
 * @throws Failure `settings-invalid`; the message never shows the URL, which holds a password.
 */
export function libpqUrl(url: string): string {
  // An error of URL() carries its input: keep it out of the failure.
  if (!URL.canParse(url)) throw invalidUrl('it is not a URL');
  const parsed = new URL(url);
  if (!['postgres:', 'postgresql:'].includes(parsed.protocol)) throw invalidUrl(`its scheme is ${parsed.protocol}//`);
  if (parsed.searchParams.has('sslmode')) parsed.searchParams.set('uselibpqcompat', 'true');
  return parsed.href;
}

function invalidUrl(why: string): Failure {
  return new Failure('settings-invalid', `The database URL can't be used: ${why}.`, {
    mend: 'Write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded.',
  });
}

export interface TransactionOptions {
  readonly isolation?: 'read committed' | 'repeatable read' | 'serializable';
  readonly readOnly?: boolean;
  /** Its locks are few, and it waits for something other than the database while it has them. One that only reads always may. */
  readonly patient?: boolean;
}

/**
 * Runs `fn` in one transaction: commits if it resolves, rolls back if it throws.
 * @throws Failure as `databaseFailure` maps it; what `fn` throws otherwise comes through unchanged.
 */
export async function inTransaction<T>(
  pool: Pool,
  options: TransactionOptions,
  fn: (client: PoolClient) => Promise<T>,
): Promise<T> {
  const { isolation = 'read committed', readOnly = false, patient = readOnly } = options;
  const limit = patient ? `; set local idle_in_transaction_session_timeout = ${String(idleInPatientTimeoutMs)}` : '';
  return withClient(pool, async (client) => {
    await client.query(`begin isolation level ${isolation} ${readOnly ? 'read only' : 'read write'}${limit}`);
    const result = await fn(client);
    await client.query('commit');
    return result;
  });
}

/**
 * Lends one connection to `fn`. If `fn` throws, an open transaction is rolled back.
 * @throws Failure as `databaseFailure` maps it.
 */
export async function withClient<T>(pool: Pool, fn: (client: PoolClient) => Promise<T>): Promise<T> {
  try {
    const client = await pool.connect();
    // A connection that breaks while nothing runs on it says so by this event; the next query on it fails and tells us.
    const onError = (): void => undefined;
    client.on('error', onError);
    let broken: Error | boolean | undefined;
    try {
      return await fn(client);
    } catch (error) {
      broken = leavesConnectionUnusable(error) ? true : await rollBack(client);
      throw error;
    } finally {
      client.off('error', onError);
      client.release(broken);
    }
  } catch (error) {
    throw databaseFailure(error);
  }
}

/** @returns why the connection can't be used again, if so: the caller throws the error that came before. */
async function rollBack(client: PoolClient): Promise<Error | undefined> {
  try {
    await client.query('rollback');
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Cuts rows into runs of at most `size`, so that no statement grows with the fleet. */
export function* inBatches<T>(rows: readonly T[], size: number): Generator<readonly T[]> {
  for (let from = 0; from < rows.length; from += size) yield rows.slice(from, from + size);
}

/** SQL for a moment as whole milliseconds since 1970: ours were written from such. */
export const ms = (column: string): string => `round(extract(epoch from ${column}) * 1000)::bigint`;

/** The same of one that has finer digits, as now() has and what others write: never later than it is. */
export const msBefore = (column: string): string => `floor(extract(epoch from ${column}) * 1000)::bigint`;

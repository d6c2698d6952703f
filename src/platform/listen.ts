import pg from 'pg';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { millis, seconds } from '../model/time.ts';
import { databaseFailure } from './pg-failure.ts';
import { connectTimeoutMs, keepAliveInitialDelayMillis, libpqUrl } from './pg.ts';
import type { Random } from './random.ts';
import { backoff } from './retry.ts';

export interface Listener {
  /** Ends the connection. */
  close(): Promise<void>;
}

export interface ListenOptions {
  readonly url: string;
  readonly channel: string;
  /** The payload; null each time that listening begins, also after a break, in which anything may have been missed. */
  readonly onNotify: (payload: string | null) => void;
  /** Called each time that the connection breaks, or can't be made. */
  readonly onBreak?: (failure: unknown) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

const goodbye = seconds(1);
/** Who only listens never learns that the other end is gone: so it asks now and then. What it missed until then, the poll finds. */
const ping = { every: seconds(15), timeout: seconds(5) };
/** A wake-up may come late: the poll is behind it. */
const reconnect = { first: millis(500), longest: seconds(30) };

/** Listens to NOTIFY on a connection of its own, and connects again for as long as it takes. */
export function listen(options: ListenOptions): Listener {
  const closing = new AbortController();
  const done = listenUntilClosed(options, closing.signal);
  return {
    close: async () => {
      closing.abort();
      await done;
    },
  };
}

async function listenUntilClosed(options: ListenOptions, signal: AbortSignal): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
  let failures = 0;
  while (!signal.aborted) {
    try {
      await listenOnce(options, closed, () => {
        failures = 0;
      });
    } catch (error) {
      const failure = databaseFailure(error);
      options.log.warn({ err: failure, channel: options.channel }, 'not listening to the database');
      options.onBreak?.(failure);
    }
    failures++;
    await options.clock.sleep(backoff(reconnect, failures, options.random), signal).catch(() => undefined);
  }
}

/** One connection, until it breaks (rejects) or we close (resolves). */
async function listenOnce(options: ListenOptions, closed: Promise<void>, onListening: () => void): Promise<void> {
  const client = new pg.Client({
    connectionString: libpqUrl(options.url),
    application_name: 'dory-listen',
    keepAlive: true,
    keepAliveInitialDelayMillis,
    connectionTimeoutMillis: connectTimeoutMs,
  });
  const broken = new Promise<never>((_resolve, reject) => {
    client.on('error', reject);
    client.on('end', () => {
      reject(new Error('Connection terminated'));
    });
  });
  client.on('notification', ({ payload = '' }) => {
    options.onNotify(payload);
  });
  const listening = client.connect().then(async () => {
    await ask(client, `listen ${client.escapeIdentifier(options.channel)}`);
    onListening();
    options.onNotify(null);
  });
  const over = new AbortController();
  try {
    await Promise.race([listening.then(() => keepAsking(client, options.clock, over.signal)), broken, closed]);
  } finally {
    over.abort();
    await endInTime(client, options.clock);
  }
}

/** Rejects when the server does not answer any more; else ends with `signal`. */
async function keepAsking(client: pg.Client, clock: Clock, signal: AbortSignal): Promise<void> {
  // A sleep that is cut short is the end.
  while (await clock.sleep(ping.every, signal).then(() => true, () => false)) {
    await ask(client, 'select 1');
  }
}

/** Rejects when no answer comes in time. */
async function ask(client: pg.Client, text: string): Promise<void> {
  const question: pg.QueryConfig & { readonly query_timeout: number } = { text, query_timeout: ping.timeout };
  await client.query(question);
}

/** A server that can't be reached any more answers no goodbye. */
async function endInTime(client: pg.Client, clock: Clock): Promise<void> {
  const ended = new AbortController();
  await Promise.race([client.end().catch(() => undefined), clock.sleep(goodbye, ended.signal).catch(() => undefined)]);
  ended.abort();
  // Else the program would wait for it.
  client.connection.stream.destroy();
}

import type { Pool } from 'pg';
import { seconds, type Millis } from '../model/time.ts';
import type { Clock } from '../platform/clock.ts';
import { databaseFailure } from '../platform/pg-failure.ts';

/** Whether this instance can do its work. That it is alive needs no more proof than an answer. */
export interface Health {
  /** Null, or why not, in words for a person; never a secret. */
  ready(): Promise<string | null>;
  /** From now on not ready: requests go to another instance, those under way end. */
  shutDown(): void;
}

interface HealthSettings {
  /** An answer of the database is good for this long: probes of several sides do not add up. */
  readonly cacheFor: Millis;
  /** The readiness probe of the running system waits 3 s. */
  readonly timeout: Millis;
}

export const defaultHealthSettings: HealthSettings = { cacheFor: seconds(1), timeout: seconds(2) };

export function createHealth(options: { readonly pool: Pool; readonly clock: Clock; readonly settings: HealthSettings }): Health {
  const { pool, clock, settings } = options;
  let shuttingDown = false;
  let last: { readonly at: Millis; readonly answer: Promise<string | null> } | null = null;
  return {
    ready: async () => {
      if (shuttingDown) return 'shutting down';
      const now = clock.monotonic();
      if (last === null || now - last.at >= settings.cacheFor) last = { at: now, answer: reach(pool, settings.timeout) };
      return last.answer;
    },
    shutDown: () => {
      shuttingDown = true;
    },
  };
}

async function reach(pool: Pool, timeout: Millis): Promise<string | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`the database does not answer within ${String(timeout)} ms`), timeout);
  });
  try {
    return await Promise.race([late, ask(pool)]);
  } finally {
    clearTimeout(timer);
  }
}

async function ask(pool: Pool): Promise<string | null> {
  try {
    await pool.query('select revision from dory.state');
    return null;
  } catch (error) {
    const failure = databaseFailure(error);
    return failure instanceof Error ? failure.message : String(failure);
  }
}

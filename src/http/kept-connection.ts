import { DatabaseError, type Pool, type PoolClient } from 'pg';
import { leavesConnectionUnusable } from '../platform/pg-failure.ts';

/** One connection of a pool, opened and set up when it is first needed and kept: what is sent on it is done in this order. */
export interface KeptConnection {
  /** @throws what the driver throws, and what `fn` throws; a connection that is of no use any more is given up then */
  use<T>(fn: (client: PoolClient) => Promise<T>): Promise<T>;
  /** Gives it back. Nothing may be under way. */
  release(): void;
}

interface Lent {
  readonly client: PoolClient;
  /** Gives it back once, however often it is called. */
  readonly giveBack: (broken: boolean) => void;
}

/** @param setUp what is run first on each new connection */
export function keepConnection(pool: Pool, setUp: string): KeptConnection {
  let opening: Promise<Lent> | null = null;
  let kept: Lent | null = null;

  const open = async (): Promise<Lent> => {
    const client = await pool.connect();
    let given = false;
    const giveBack = (broken: boolean): void => {
      if (given) return;
      given = true;
      if (kept === lent) kept = null;
      client.off('error', onError);
      // A broken connection may still say so, once or twice.
      if (broken) client.on('error', () => undefined);
      client.release(broken);
    };
    const onError = (): void => { giveBack(true); };
    client.on('error', onError);
    const lent: Lent = { client, giveBack };
    try {
      await client.query(setUp);
    } catch (error) {
      giveBack(true);
      throw error;
    }
    kept = lent;
    return lent;
  };

  return {
    use: async (fn) => {
      const { client, giveBack } = await (kept ?? (opening ??= open().finally(() => { opening = null; })));
      try {
        return await fn(client);
      } catch (error) {
        if (!answered(error)) giveBack(true);
        throw error;
      }
    },
    release: () => { kept?.giveBack(false); },
  };
}

/** Whether the server said that this statement failed, and goes on. */
function answered(error: unknown): boolean {
  return error instanceof DatabaseError && error.severity !== 'FATAL' && !leavesConnectionUnusable(error);
}

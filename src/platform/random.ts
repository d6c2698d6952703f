import { randomBytes, randomUUID } from 'node:crypto';

/** Chance as the shell sees it: jitter and names of one run. Decisions never use it. */
export interface Random {
  /** Evenly in [0, 1). */
  fraction(): number;
  /** Random lower-case hex digits, two for each byte; fit for secrets. */
  hex(bytes: number): string;
  uuid(): string;
}

export const systemRandom: Random = {
  fraction: () => Math.random(),
  hex: (bytes) => randomBytes(bytes).toString('hex'),
  uuid: () => randomUUID(),
};

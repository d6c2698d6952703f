import type { Pool } from 'pg';
import { z } from 'zod';
import type { PredecessorPlace } from '../apply/predecessor.ts';
import type { Repository } from '../commit/repository.ts';
import type { NodeName } from '../model/ids.ts';
import type { NodeCondition, Snapshot } from '../model/snapshot.ts';
import type { Clock } from '../platform/clock.ts';
import type { KubeClient } from '../platform/kube/client.ts';
import type { Log } from '../platform/log.ts';
import { databaseFailure } from '../platform/pg-failure.ts';
import type { Random } from '../platform/random.ts';
import type { Settings } from '../platform/settings-schema.ts';
import type { ChartSettings } from '../render/props.ts';
import { parseInput } from './input.ts';

/** What operations work with, put together by the CLI for one command and by `run` for its HTTP server. */
export interface OperatorContext {
  readonly pool: Pool;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly settings: Settings;
  /** What manifests are rendered with: for diffs. */
  readonly manifests: ChartSettings;
  /** The fleet as a cycle would see it now. */
  observe(): Promise<Snapshot>;
  /** What Kubernetes says of a node, where this process watches it; else null. */
  readonly nodeCondition: (name: NodeName) => NodeCondition | null;
  /** Lends a client of the cluster; null where none is configured. */
  withKube<T>(use: (client: KubeClient | null) => Promise<T>): Promise<T>;
  /** Where the system that ran here before is looked for. */
  readonly predecessor: PredecessorPlace;
  /** Lends the repository that is written. */
  withRepository<T>(use: (repository: Repository) => Promise<T>): Promise<T>;
}

/** Who asks: the account at the command line, or the name of the token. Recorded with what was done. */
export interface Caller {
  readonly name: string;
}

/**
 * One thing that operators can do, as a command (`src/cli`) and over HTTP (`src/http/operator-api.ts`), which both read this.
 * Input and output are JSON: lengths of time end in `Ms`, moments are ISO 8601 in UTC, absent is null.
 */
export interface Operation<Input extends z.ZodObject = z.ZodObject, Output extends z.ZodType = z.ZodType> {
  /** `maintenance.begin`: the command's words. Unique. */
  readonly name: string;
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `/api/v1/maintenance/:scope/:name`: each `:part` is a member of the input; the others come as query (GET, DELETE) or body. */
  readonly path: `/api/v1/${string}`;
  /** One line for `--help` and for the API's description. */
  readonly summary: string;
  /** Then it takes a token over HTTP. */
  readonly changesState: boolean;
  /** Takes a token though it changes nothing. */
  readonly confidential?: true;
  /** Strict, bounded, each member with a description; texts that came in a query become numbers, booleans and lists by it. */
  readonly input: Input;
  readonly output: Output;
  /** @throws Failure, and nothing else that is not a bug */
  run(context: OperatorContext, input: z.output<Input>, caller: Caller): Promise<z.output<Output>>;
}

/** An operation as it is written, with the types of its schemas. */
export function operation<Input extends z.ZodObject, Output extends z.ZodType>(written: Operation<Input, Output>): Operation<Input, Output> {
  return written;
}

/** Runs an operation on what came in. @throws Failure `invalid-input`, and what the operation throws */
export async function runOperation(context: OperatorContext, operation: Operation, raw: unknown, caller: Caller): Promise<unknown> {
  const input = parseInput(operation.input, raw);
  try {
    return await operation.run(context, input, caller);
  } catch (error) {
    throw databaseFailure(error);
  }
}

const limitError = 'give a whole number from 1 to 1000';

/** Members of the input of every list. */
export const pageInput = {
  limit: z.int({ error: limitError }).min(1, { error: limitError }).max(1000, { error: limitError }).default(500).describe('At most so many.'),
  continue: z.string().max(1000).optional().describe('Where to go on: `continue` of the page before.'),
};

/** A page of a list. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    items: z.array(item),
    continue: z.string().nullable().describe('Ask with it for the next page; null: this was the last one.'),
  });
}

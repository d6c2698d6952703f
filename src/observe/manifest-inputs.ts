import type { Pool, PoolClient } from 'pg';
import type { Workload } from '../model/fleet.ts';
import type { Digest, ProcessorId, RevisionId } from '../model/ids.ts';
import type { ManifestInput } from '../model/placement.ts';
import { parseStoredPlacement, parseStoredSpec, parseStoredWorkload } from './stored.ts';

export interface ManifestInputs {
  /** The newest revision that is covered; 0 if there is none. */
  readonly revision: RevisionId | 0;
  /** Sorted by processor: those whose manifest was written after `after`. */
  readonly changed: readonly ManifestInput[];
  /** Sorted: those that were removed after `after`. */
  readonly removed: readonly ProcessorId[];
}

/**
 * What manifests are rendered from: of each processor the newest decision after revision `after`, up to `upTo` (the
 * newest, if absent). Reads the records of decisions and never the operator's tables, so that a tree can be made again.
 * @throws Failure `schema-incompatible` if a record was written by another version.
 */
export async function readManifestInputs(client: Pool | PoolClient, after: RevisionId | 0, upTo?: RevisionId): Promise<ManifestInputs> {
  const newest = await client.query<{ id: string | null }>('select max(id) as id from dory.revisions where id <= coalesce($1::bigint, id)', [upTo ?? null]);
  const revision = Number(newest.rows[0]?.id ?? 0) as RevisionId;
  const changed: ManifestInput[] = [];
  const removed: ProcessorId[] = [];
  const workloads = new Map<Digest, Workload>();
  for await (const rows of newestChanges(client, after, revision)) {
    const unread = new Set(rows.flatMap(({ workload }) => (workload === null || workloads.has(workload) ? [] : [workload])));
    for (const [digest, workload] of await readWorkloads(client, [...unread])) workloads.set(digest, workload);
    for (const { id, placement, spec, workload } of rows) {
      if (placement === null) removed.push(id);
      else changed.push({ spec: parseStoredSpec(spec), workload: (workload === null ? null : workloads.get(workload)) ?? missing(id), placement: parseStoredPlacement(placement) });
    }
  }
  return { revision, changed, removed };
}

interface ChangeRow {
  readonly id: ProcessorId;
  readonly placement: unknown;
  readonly spec: unknown;
  readonly workload: Digest | null;
}

/** Rows that are held at once beside what they are parsed to: all of a large fleet would take a hundred MB. */
const rowsAtOnce = 5_000;

/** Sorted by processor. Revisions that are decided while we read are left for the next time, so it is no matter that these are several queries. */
async function* newestChanges(client: Pool | PoolClient, after: number, upTo: number): AsyncGenerator<readonly ChangeRow[]> {
  let last: ProcessorId | null = null;
  do {
    const { rows }: { rows: ChangeRow[] } = await client.query<ChangeRow>(
      `select distinct on (processor_id) processor_id as id, placement, spec, workload
         from dory.changes
        where revision > $1 and revision <= $2 and ($3::uuid is null or processor_id > $3)
        order by processor_id, revision desc
        limit $4`,
      [after, upTo, last, rowsAtOnce],
    );
    yield rows;
    last = rows.length < rowsAtOnce ? null : (rows.at(-1)?.id ?? null);
  } while (last !== null);
}

async function readWorkloads(client: Pool | PoolClient, digests: readonly Digest[]): Promise<ReadonlyMap<Digest, Workload>> {
  const { rows } = await client.query<{ digest: Digest; body: unknown }>('select digest, body from dory.workloads where digest = any($1::text[])', [digests]);
  return new Map(rows.map(({ digest, body }) => [digest, parseStoredWorkload(body)]));
}

/** Schema and `decide` forbid it. */
function missing(id: ProcessorId): never {
  throw new Error(`observe: no workload is recorded for ${id}`);
}

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
  // Revisions that are decided while we read are left for the next time.
  const { rows } = await client.query<{ id: ProcessorId; placement: unknown; spec: unknown; workload: Digest | null }>(
    `select distinct on (processor_id) processor_id as id, placement, spec, workload
       from dory.changes
      where revision > $1 and revision <= $2
      order by processor_id, revision desc`,
    [after, revision],
  );
  const kept = rows.filter(({ placement }) => placement !== null);
  const workloads = await readWorkloads(client, [...new Set(kept.map(({ workload }) => workload))]);
  return {
    revision,
    changed: kept.map(({ id, placement, spec, workload }) => ({
      spec: parseStoredSpec(spec),
      workload: workloads.get(workload) ?? missing(id),
      placement: parseStoredPlacement(placement),
    })),
    removed: rows.filter(({ placement }) => placement === null).map(({ id }) => id),
  };
}

async function readWorkloads(client: Pool | PoolClient, digests: readonly (Digest | null)[]): Promise<ReadonlyMap<Digest | null, Workload>> {
  const { rows } = await client.query<{ digest: Digest; body: unknown }>('select digest, body from dory.workloads where digest = any($1::text[])', [digests]);
  return new Map(rows.map(({ digest, body }) => [digest, parseStoredWorkload(body)]));
}

/** Schema and `decide` forbid it. */
function missing(id: ProcessorId): never {
  throw new Error(`observe: no workload is recorded for ${id}`);
}

import type { PoolClient } from 'pg';
import type { ProcessorId } from '../model/ids.ts';
import type { LastGood } from './parse-fleet.ts';
import { parseStoredSpec, parseStoredWorkload } from './stored.ts';

/** What each of these processors was last rendered from; those that never were are left out. */
export async function readLastGood(client: PoolClient, ids: readonly ProcessorId[]): Promise<ReadonlyMap<ProcessorId, LastGood>> {
  if (ids.length === 0) return new Map();
  const { rows } = await client.query<{ id: ProcessorId; spec: unknown; workload: unknown }>(
    `select distinct on (c.processor_id) c.processor_id as id, c.spec, w.body as workload
       from dory.changes c join dory.workloads w on w.digest = c.workload
      where c.processor_id = any($1::uuid[])
      order by c.processor_id, c.revision desc`,
    [ids],
  );
  return new Map(rows.map(({ id, spec, workload }) => [id, { spec: parseStoredSpec(spec), workload: parseStoredWorkload(workload) }]));
}

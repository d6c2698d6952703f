import type { PoolClient } from 'pg';
import type { Fleet, ProcessorSpec } from '../model/fleet.ts';
import type { ProcessorId } from '../model/ids.ts';
import type { Snapshot } from '../model/snapshot.ts';

/**
 * Processors that would run under another name than the pod that was started last: the StatefulSet is named by slug and epoch, in
 * its namespace. Only of those is it asked whose specification is not the one that was decided last, which is few or none.
 */
export async function readRenamed(client: PoolClient, fleet: Fleet, { placements, retired }: Pick<Snapshot, 'placements' | 'retired'>): Promise<Snapshot['renamed']> {
  const slugs = new Map(fleet.workloads.map(({ digest, slug }) => [digest, slug]));
  const asked = changedSpecs(fleet.processors, placements, new Set(retired.map(({ processorId }) => processorId)));
  if (asked.length === 0) return [];
  const { rows } = await client.query<{ id: ProcessorId }>(
    `with slugs as materialized (select digest, body ->> 'slug' as slug from dory.workloads)
     select wanted.id
       from unnest($1::uuid[], $2::text[], $3::text[]) as wanted (id, namespace, slug)
      cross join lateral (select c.spec ->> 'namespace' as namespace, c.workload from dory.changes c
                           where c.processor_id = wanted.id and c.placement ->> 'phase' = 'active' order by c.revision desc limit 1) last
       join slugs on slugs.digest = last.workload
      where (last.namespace, slugs.slug) <> (wanted.namespace, wanted.slug)
      order by wanted.id`,
    [asked.map(({ id }) => id), asked.map(({ namespace }) => namespace), asked.map(({ workload }) => slugs.get(workload) ?? '')],
  );
  return rows.map(({ id }) => id);
}

/** Both lists are sorted, so that one walk finds them. */
function changedSpecs(specs: readonly ProcessorSpec[], placements: Snapshot['placements'], retired: ReadonlySet<ProcessorId>): readonly ProcessorSpec[] {
  let at = 0;
  return specs.filter(({ id, digest }) => {
    let placement = placements[at];
    while (placement !== undefined && placement.processorId < id) placement = placements[++at];
    if (placement?.processorId !== id) return retired.has(id);
    return placement.phase === 'stopping' || placement.specDigest !== digest;
  });
}

import type { Pool } from 'pg';

/** Something that was done to, or seen of, one pod. */
export interface PodRecord {
  /** `leftover-removed` */
  readonly kind: string;
  readonly processorId: string;
  /** Of the pod. */
  readonly uid: string;
  /** With the pod's `uid` in it. */
  readonly evidence: Readonly<Record<string, string | number | boolean | null>> & { readonly uid: string };
}

/**
 * Writes it into the events unless it is there already: written before the request, it is found again by who tries it again.
 * @returns whether it was not there
 */
export async function recordOnce(pool: Pool, { kind, processorId, uid, evidence }: PodRecord): Promise<boolean> {
  const { rowCount } = await pool.query(
    `insert into dory.events (kind, processor_id, evidence)
     select $1, $2, $3::jsonb where not exists (select from dory.events where processor_id = $2::uuid and kind = $1 and evidence ->> 'uid' = $4)`,
    [kind, processorId, JSON.stringify(evidence), uid],
  );
  return rowCount === 1;
}

import type { PoolClient } from 'pg';

/** Locks that ran out end when they said, and are told once; of one subject only, where it is given. */
export async function endExpiredLocks(client: PoolClient, only: { readonly scope: string; readonly id: string } | null = null): Promise<void> {
  await client.query(
    `with ended as (
       update dory.locks set ended_at = expires_at
        where ended_at is null and expires_at <= now() and ($1::text is null or scope = $1 and subject = $2)
       returning scope, subject, name, owner, reason, expires_at)
     insert into dory.events (at, kind, node_id, processor_id, evidence)
     select expires_at, 'lock-expired', case scope when 'node' then subject end, case scope when 'processor' then subject end,
            jsonb_build_object('lock', scope || '/' || name, 'owner', owner, 'reason', reason)
       from ended`,
    [only?.scope ?? null, only?.id ?? null],
  );
}

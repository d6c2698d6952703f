import type { Pool } from 'pg';
import { assertLeader } from '../platform/leadership.ts';
import { inTransaction } from '../platform/pg.ts';
import type { SecretGroup, SecretVersion } from './secrets.ts';

/** `dory.secret_versions`; Secrets whose values were never replaced have no row. */
export async function readVersions(pool: Pool): Promise<ReadonlyMap<string, SecretVersion>> {
  const { rows } = await pool.query<SecretVersion & { name: string }>('select name, version, begun from dory.secret_versions');
  return new Map(rows.map(({ name, version, begun }) => [name, { version, begun }]));
}

type Raised = Pick<SecretGroup, 'name' | 'version'>;

/** Before the cluster sees values under these versions. @throws Failure `not-leader`, `database-*` */
export async function beginVersions(pool: Pool, leaderEpoch: number, groups: readonly Raised[]): Promise<void> {
  await write(pool, leaderEpoch, groups, `
    insert into dory.secret_versions as v (name, begun) select * from unnest($1::text[], $2::integer[])
    on conflict (name) do update set begun = excluded.begun where v.begun < excluded.begun`);
}

/** When the cluster has the values: from now on manifests show these versions. @throws Failure `not-leader`, `database-*` */
export async function raiseVersions(pool: Pool, leaderEpoch: number, groups: readonly Raised[]): Promise<void> {
  await write(pool, leaderEpoch, groups, `
    insert into dory.secret_versions as v (name, version, begun) select name, version, version from unnest($1::text[], $2::integer[]) as r (name, version)
    on conflict (name) do update set version = excluded.version, begun = greatest(v.begun, excluded.version), changed_at = now() where v.version < excluded.version`);
}

async function write(pool: Pool, leaderEpoch: number, groups: readonly Raised[], text: string): Promise<void> {
  if (groups.length === 0) return;
  await inTransaction(pool, { isolation: 'read committed' }, async (client) => {
    await assertLeader(client, leaderEpoch);
    await client.query(text, [groups.map(({ name }) => name), groups.map(({ version }) => version)]);
  });
}

/** Of these, what a placement was last rendered with a reference to: its manifest may still be on its way. */
export async function stillRendered(pool: Pool, places: readonly { readonly namespace: string; readonly name: string; readonly key: string | null }[]): Promise<readonly boolean[]> {
  const { rows } = await pool.query<{ used: boolean }>(
    `select exists (
       select from dory.placements p join dory.changes c on c.processor_id = p.processor_id and c.revision = p.revision
         left join dory.workloads w on w.digest = c.workload
        where c.spec ->> 'namespace' = s.namespace and (c.spec -> 'sensor' -> 'env' @> s.reference or w.body -> 'env' @> s.reference)) as used
       from unnest($1::text[], $2::jsonb[]) with ordinality as s (namespace, reference, place) order by s.place`,
    [places.map(({ namespace }) => namespace), places.map(({ name, key }) => JSON.stringify([{ secret: key === null ? { name } : { name, key } }]))],
  );
  return rows.map(({ used }) => used);
}

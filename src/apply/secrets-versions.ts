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

/**
 * A person's word that these Secrets have the values of now: the version that was begun, or else the next one, is what manifests show.
 * @throws Failure `database-*`
 */
export async function confirmReplaced(pool: Pool, names: readonly string[], by: string): Promise<void> {
  await inTransaction(pool, { isolation: 'read committed' }, async (client) => {
    await client.query(
      `insert into dory.secret_versions as v (name, version, begun) select name, 2, 2 from unnest($1::text[]) as name
       on conflict (name) do update set version = greatest(v.begun, v.version + 1), begun = greatest(v.begun, v.version + 1), changed_at = now()`,
      [names],
    );
    await client.query(`insert into dory.events (kind, evidence) select 'credentials-replaced', jsonb_build_object('object', name, 'by', $2::text) from unnest($1::text[]) as name`, [names, by]);
  });
}

/** A key of a Secret that a manifest refers to. */
export interface RenderedUse {
  readonly namespace: string;
  readonly name: string;
  readonly key: string;
}

/** What of the Secrets of these names placements were last rendered with a reference to: their manifests may still be on their way. */
export async function stillRendered(pool: Pool, names: readonly string[]): Promise<readonly RenderedUse[]> {
  if (names.length === 0) return [];
  const { rows } = await pool.query<RenderedUse>(
    `select distinct c.spec ->> 'namespace' as namespace, v.variable -> 'secret' ->> 'name' as name, v.variable -> 'secret' ->> 'key' as key
       from dory.placements p
       join dory.changes c on c.processor_id = p.processor_id and c.revision = p.revision
       left join dory.workloads w on w.digest = c.workload
      cross join lateral (select jsonb_array_elements(c.spec -> 'sensor' -> 'env') union all select jsonb_array_elements(w.body -> 'env')) as v (variable)
      where v.variable -> 'secret' ->> 'name' = any($1)`,
    [names],
  );
  return rows;
}

import type { Pool } from 'pg';
import type { ApplicationState } from './argocd-applications.ts';

/** What is stored of Argo CD, for `dory status`: what changed since it was stored last. */
export interface ArgocdNews {
  readonly changed: readonly ApplicationState[];
  /** Names of Applications that are gone. */
  readonly removed: readonly string[];
  /** The newest commit that concerns an Application, by its name. */
  readonly awaited: ReadonlyMap<string, string>;
  /** How it was to tell Argo CD of the last push; undefined: nothing was told since. */
  readonly telling?: Telling | undefined;
}

export interface Telling {
  readonly commit: string;
  /** Null: it was told in the way of the settings. */
  readonly trouble: { readonly why: string; readonly mend: string; /** It was told in another way. */ readonly fellBack: boolean } | null;
}

/**
 * A sync that fails is an event, once for each commit. What is stored already is not written again, so that several instances may do
 * this, and one that starts.
 */
export async function recordArgocd(pool: Pool, { changed, removed, awaited, telling }: ArgocdNews): Promise<void> {
  if (changed.length > 0) await pool.query(upsert, [JSON.stringify(changed)]);
  if (removed.length > 0) await pool.query('delete from dory.argocd_applications where name = any ($1)', [removed]);
  if (awaited.size > 0) await pool.query(updateAwaited, [[...awaited.keys()], [...awaited.values()]]);
  await pool.query('insert into dory.argocd default values on conflict do nothing');
  if (telling !== undefined) await pool.query(updateTelling, [telling.trouble === null ? null : telling.commit, telling.trouble?.why ?? null, telling.trouble?.mend ?? null, telling.trouble?.fellBack ?? false]);
}

/** All names that are stored: those that are gone from the cluster went while nobody looked. */
export async function recordedApplications(pool: Pool): Promise<readonly string[]> {
  const { rows } = await pool.query<{ name: string }>('select name from dory.argocd_applications');
  return rows.map(({ name }) => name);
}

const upsert = `
  with seen as (
    select s ->> 'name' as name, s ->> 'path' as path, s ->> 'sync' as sync, s ->> 'health' as health, s ->> 'commit' as commit_sha, s ->> 'problem' as problem,
           s -> 'operation' ->> 'phase' as phase, s -> 'operation' ->> 'commit' as operation_commit, coalesce((s -> 'operation' ->> 'failing')::boolean, false) as failing,
           s -> 'operation' ->> 'message' as message, (s ->> 'automatic')::boolean as automatic, (s ->> 'prunes')::boolean as prunes
      from jsonb_array_elements($1::jsonb) s
  ), failed as (
    insert into dory.events (kind, evidence)
    select 'argocd-sync-failed', jsonb_build_object('application', n.name, 'phase', n.phase, 'commit', n.operation_commit, 'message', n.message)
      from seen n left join dory.argocd_applications o using (name)
     where n.failing and (o.failing is not true or o.operation_commit is distinct from n.operation_commit)
  )
  insert into dory.argocd_applications as o (name, path, sync, health, commit_sha, problem, phase, operation_commit, failing, message, automatic, prunes)
  select name, path, sync, health, commit_sha, problem, phase, operation_commit, failing, message, automatic, prunes from seen order by name
  on conflict (name) do update set (path, sync, health, commit_sha, problem, phase, operation_commit, failing, message, automatic, prunes, seen_at)
    = (excluded.path, excluded.sync, excluded.health, excluded.commit_sha, excluded.problem, excluded.phase, excluded.operation_commit, excluded.failing, excluded.message, excluded.automatic, excluded.prunes, now())
   where (o.path, o.sync, o.health, o.commit_sha, o.problem, o.phase, o.operation_commit, o.failing, o.message, o.automatic, o.prunes)
    is distinct from (excluded.path, excluded.sync, excluded.health, excluded.commit_sha, excluded.problem, excluded.phase, excluded.operation_commit, excluded.failing, excluded.message, excluded.automatic, excluded.prunes)`;

/** The commit of which everything in the folder of the Application `a` is on the cluster; null: not known. */
const liveCommit = (a: string): string => `case when ${a}.sync = 'Synced' then ${a}.commit_sha when ${a}.phase = 'Succeeded' then ${a}.operation_commit end`;

/** Whether the Application `a` lacks a commit of ours that concerns it. A commit that is not one of ours is somebody's newer one. */
export const lacksCommit = (a: string): string => `(${a}.awaited_commit is not null and ${a}.awaited_commit is distinct from ${liveCommit(a)}
  and coalesce((select max(id) from dory.revisions where commit_sha = ${liveCommit(a)}), case when ${liveCommit(a)} is null then 0 end)
    < (select max(id) from dory.revisions where commit_sha = ${a}.awaited_commit))`;

const updateAwaited = `
  update dory.argocd_applications a
     set awaited_commit = n.commit_sha, awaited_since = case when ${lacksCommit('a')} then a.awaited_since else now() end
    from unnest($1::text[], $2::text[]) as n (name, commit_sha)
   where a.name = n.name and a.awaited_commit is distinct from n.commit_sha`;

const updateTelling = `
  update dory.argocd
     set untold_commit = n.commit_sha, untold_why = n.why, untold_mend = n.mend, fell_back = n.fell_back, untold_since = case when n.commit_sha is not null then coalesce(untold_since, now()) end
    from (select $1::text as commit_sha, $2::text as why, $3::text as mend, $4::boolean as fell_back) n
   where (untold_commit, untold_why, untold_mend, argocd.fell_back) is distinct from (n.commit_sha, n.why, n.mend, n.fell_back)`;

import type { Pool } from 'pg';
import type { ApplicationState } from './argocd-applications.ts';

/**
 * Stores how Applications are, for `dory status`; a sync that fails is an event, once for each commit. What is
 * stored already is not written again, so that several instances may do this, and one that starts.
 */
export async function recordApplications(pool: Pool, changed: readonly ApplicationState[], removed: readonly string[]): Promise<void> {
  if (changed.length > 0) await pool.query(upsert, [JSON.stringify(changed)]);
  if (removed.length > 0) await pool.query('delete from dory.argocd_applications where name = any ($1)', [removed]);
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
           s -> 'operation' ->> 'message' as message
      from jsonb_array_elements($1::jsonb) s
  ), failed as (
    insert into dory.events (kind, evidence)
    select 'argocd-sync-failed', jsonb_build_object('application', n.name, 'phase', n.phase, 'commit', n.operation_commit, 'message', n.message)
      from seen n left join dory.argocd_applications o using (name)
     where n.failing and (o.failing is not true or o.operation_commit is distinct from n.operation_commit)
  )
  insert into dory.argocd_applications as o (name, path, sync, health, commit_sha, problem, phase, operation_commit, failing, message)
  select name, path, sync, health, commit_sha, problem, phase, operation_commit, failing, message from seen order by name
  on conflict (name) do update set (path, sync, health, commit_sha, problem, phase, operation_commit, failing, message, seen_at)
    = (excluded.path, excluded.sync, excluded.health, excluded.commit_sha, excluded.problem, excluded.phase, excluded.operation_commit, excluded.failing, excluded.message, now())
   where (o.path, o.sync, o.health, o.commit_sha, o.problem, o.phase, o.operation_commit, o.failing, o.message)
    is distinct from (excluded.path, excluded.sync, excluded.health, excluded.commit_sha, excluded.problem, excluded.phase, excluded.operation_commit, excluded.failing, excluded.message)`;

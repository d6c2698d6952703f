-- Whether an Application brings to the cluster what is committed, and deletes what is gone, without a person.
alter table dory.argocd_applications add column automatic boolean not null default true;
alter table dory.argocd_applications add column prunes boolean not null default true;
-- The newest commit of ours that changed its folder, and since when the Application has not had the oldest of ours that it lacks. Of what was
-- pushed before these columns were there nobody knows.
alter table dory.argocd_applications add column awaited_commit text;
alter table dory.argocd_applications add column awaited_since timestamptz;
create index revisions_by_commit on dory.revisions (commit_sha, id);

-- How it is with Argo CD beside its Applications. Without a row they were never watched. Written by the leader when it changes; wakes nobody.
create table dory.argocd (
  only_row boolean primary key default true check (only_row),
  -- A commit of which Argo CD could not be told in the way of the settings, and why; null: it was told of the last one.
  untold_commit text,
  untold_why text,
  untold_mend text,
  -- It was told in another way.
  fell_back boolean not null default false,
  untold_since timestamptz,
  check ((untold_commit is null) = (untold_why is null) and (untold_commit is null) = (untold_since is null))
);

-- What a start finds of a folder that is as it was left: then no text of it is compared, and nothing is sent for it.
-- Of what our fields of its objects amounted to, with all of them in place; null: nobody knows.
alter table dory.applied add column owned text;
-- `apps/v1/StatefulSet`: of its objects, and of what it had before and could not be deleted yet, which is found by its kind.
alter table dory.applied add column kinds text[] not null default '{}';

-- With `apply: ssa`: the newest commit that was on the cluster with all of its objects, and nothing beside them. No row: none was yet. Written
-- by the leader once for each; wakes nobody.
create table dory.applied_commit (
  only_row boolean primary key default true check (only_row),
  commit_sha text not null,
  revision bigint not null,
  applied_at timestamptz not null default now()
);
-- Drift, and what was deleted, of a short while ago.
create index events_of_apply on dory.events (kind, at) where kind in ('drift', 'prune');

-- Whether ours was seen to work after it; false where it was wanted no more. What was taken over before this column was there, the events say.
alter table dory.adoptions add column taken boolean not null default false;
update dory.adoptions a set taken = true
 where exists (select from dory.events e where e.processor_id = a.processor_id and e.kind = 'adopted' and e.evidence ->> 'uid' = a.pod_uid::text);

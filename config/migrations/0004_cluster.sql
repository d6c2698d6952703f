-- Where a processor was that was removed: its pod there may outlive its row, so it is stopped first should it start elsewhere.
alter table dory.retired_epochs add column target_kind text check (target_kind in ('edge', 'managed'));
alter table dory.retired_epochs add column target_node_id uuid;
alter table dory.retired_epochs add column target_node_name text;
alter table dory.retired_epochs add constraint retired_epochs_target
  check (target_kind is null or ((target_kind = 'edge') = (target_node_id is not null) and (target_kind = 'edge') = (target_node_name is not null)));

-- How often the credentials of a Secret (`dory-sensor-…`, `dory-env-…`) were replaced, counted from 1; no row: never. The version is in
-- the pods' template, so that a replacement restarts them. Neither values nor digests of them are kept: what was written last is
-- known from the Secret itself. Rows are never deleted, and versions never fall.
create table dory.secret_versions (
  name text primary key,
  -- What manifests show: raised when the cluster has the values.
  version integer not null default 1 check (version > 0),
  -- The highest version that the cluster may have seen: raised before the values are sent.
  begun integer not null check (begun >= version),
  changed_at timestamptz not null default now()
);
create trigger wake after insert or update of version on dory.secret_versions for each statement execute function dory.wake();

-- Which of two systems has a processor: `theirs` is the one that ran here before. Without a row for it, or for all of the fleet, a
-- processor is ours as soon as nothing that the other one started is left.
create table dory.handovers (
  -- `processor/UUID`, or `fleet`: all that have no row of their own.
  subject text primary key,
  towards text not null check (towards in ('ours', 'theirs')),
  asked_by text not null,
  reason text not null,
  asked_at timestamptz not null default now()
);
create trigger wake after insert or update or delete on dory.handovers for each statement execute function dory.wake();

-- A pod of the system that ran here before, which we deleted to take its processor over. Written before the request is sent.
create table dory.adoptions (
  pod_uid uuid primary key,
  processor_id uuid not null,
  namespace text not null,
  pod text not null,
  begun_at timestamptz not null default now(),
  -- When it was seen to be gone, and when our own was seen to work or was wanted no more: few are between the two at once.
  gone_at timestamptz,
  ended_at timestamptz
);
create index adoptions_open on dory.adoptions (begun_at) where ended_at is null;

-- A person's word that a node has no power. Until it is Ready again it is tainted out-of-service, which frees its volumes.
create table dory.power_offs (
  node_id uuid primary key,
  node_name text not null,
  confirmed_by text not null,
  reason text not null,
  confirmed_at timestamptz not null default now()
);

-- How the last roll-out of each placement ended, as the cluster showed it; none yet where no row is, or one of an earlier revision.
-- Written by the leader when it changes.
create table dory.rollouts (
  processor_id uuid primary key,
  epoch bigint not null,
  -- Of the placement, when it was written.
  revision bigint not null,
  -- `live`: its pod was ready, or, where it was to stop, gone. `progressing`: it had failed, and no longer did.
  state text not null check (state in ('progressing', 'live', 'failed')),
  since timestamptz not null default now(),
  -- Why it failed, with the cluster's words.
  reason text,
  evidence jsonb not null default '{}',
  check ((state = 'failed') = (reason is not null))
);
create index rollouts_failed on dory.rollouts (processor_id) where state = 'failed';

-- When the cluster showed all of a revision that no later one replaced; null: not yet, or nobody looked, or all of it was replaced.
alter table dory.revisions add column live_at timestamptz;
-- Nothing of it is left to roll out. Of what was decided before this column was there nobody knows.
alter table dory.revisions add column settled boolean not null default true;
alter table dory.revisions alter column settled set default false;
create index revisions_unsettled on dory.revisions (id) where not settled;
-- When roll-outs were looked at for the first time: of what was committed before, nobody knows when it was live.
alter table dory.state add column rollouts_since timestamptz;

-- Argo CD's Applications that sync our folder, as its controller shows them. Written by the leader when one changes; wakes nobody.
create table dory.argocd_applications (
  name text primary key,
  path text not null,
  sync text not null,
  health text not null,
  -- What it was compared with last.
  commit_sha text,
  -- Why it can't be compared or synced; null: it can.
  problem text,
  -- Of its last sync; null before the first.
  phase text,
  operation_commit text,
  -- An attempt failed, and none has succeeded since.
  failing boolean not null,
  message text,
  seen_at timestamptz not null default now()
);

-- With `apply: ssa`: which commit each folder of ours is on the cluster with all of its objects. Written by the leader when what the folder
-- holds has changed; wakes nobody.
create table dory.applied (
  -- `clusters/NAME/processors/1f`
  shard text primary key,
  commit_sha text not null,
  revision bigint not null,
  -- Of the documents in the folder.
  digest text not null,
  applied_at timestamptz not null default now()
);

-- With `apply: ssa`: objects that are not as committed, and why. Written by the leader when that changes; wakes nobody.
create table dory.apply_problems (
  -- `apps/v1/StatefulSet/harbor/cam-1a2b3c4d5e6f-e1`
  object text primary key,
  processor_id uuid,
  outcome text not null check (outcome in ('failed', 'skipped', 'unknown')),
  reason text not null,
  detail text not null,
  since timestamptz not null default now()
);

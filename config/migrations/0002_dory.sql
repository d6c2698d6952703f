-- Our own tables. Each says who writes it and who is woken by it.

-- One row, by which a reader sees in one comparison whether its copy of the placements is current.
create table dory.state (
  only_row boolean primary key default true check (only_row),
  -- Names this database as the owner of its folder in the repository.
  owner uuid not null default gen_random_uuid(),
  -- The newest revision that was decided; 0 before the first.
  revision bigint not null default 0,
  -- Raised by every transaction that changes `dory.placements`.
  version bigint not null default 0,
  -- Folders under `processors/`: flat, 64, 64x16. Chosen by the first decision, by the size of the fleet; never changes.
  layout text check (layout in ('flat', '64', '64x16'))
);
insert into dory.state default values;

-- Leadership: a lease by the database's clock. The epoch rises with every change of holder.
create table dory.leader (
  only_row boolean primary key default true check (only_row),
  epoch bigint not null default 0,
  holder text,
  acquired_at timestamptz,
  expires_at timestamptz
);
insert into dory.leader default values;

-- A change set: decided in one transaction, then committed to Git. Written by `decide`; `commit_*` by the commit stage.
create table dory.revisions (
  id bigint primary key,
  decided_at timestamptz not null,
  leader_epoch bigint not null,
  -- What set it off: a reason code, or the one that stands for most of its changes.
  trigger text not null,
  inputs_digest text not null,
  renderer text not null,
  -- From here on: null until the commit that carries this revision (and those before it) is on the remote.
  tree_digest text,
  commit_sha text,
  committed_at timestamptz
);
create index revisions_pending on dory.revisions (id) where committed_at is null;

-- What all processors of one template version share, as it was rendered; named by its content.
create table dory.workloads (
  digest text primary key,
  body jsonb not null
);

-- One row a processor and revision that changed it: the decision, and all that its manifest is rendered from.
-- Credentials are references here, as everywhere. The newest row of a processor is its last good input.
create table dory.changes (
  processor_id uuid not null,
  revision bigint not null references dory.revisions (id),
  kind text not null check (kind in ('place', 'move', 'stop', 'resume', 'update', 'remove')),
  reason text not null,
  evidence jsonb not null,
  rejected jsonb not null,
  -- Target and epoch before; null for the first placement.
  before jsonb,
  -- Null where the processor was removed, and then the next two as well.
  placement jsonb,
  spec jsonb,
  workload text references dory.workloads (digest),
  primary key (processor_id, revision)
);
create index changes_by_revision on dory.changes (revision);

-- Where each processor belongs now.
create table dory.placements (
  processor_id uuid primary key,
  epoch bigint not null check (epoch > 0),
  target_kind text not null check (target_kind in ('edge', 'managed')),
  target_node_id uuid,
  target_node_name text,
  phase text not null check (phase in ('active', 'stopping')),
  reason text not null,
  since timestamptz not null,
  spec_digest text not null,
  revision bigint not null references dory.revisions (id),
  check ((target_kind = 'edge') = (target_node_id is not null)),
  check ((target_kind = 'edge') = (target_node_name is not null))
);
create index placements_stopping on dory.placements (processor_id) where phase = 'stopping';

-- The last epoch of a processor that was removed: should it come back, it starts above.
create table dory.retired_epochs (
  processor_id uuid primary key,
  epoch bigint not null check (epoch > 0)
);

-- The verdict on each edge node, written when it changes.
create table dory.node_verdicts (
  node_id uuid primary key,
  verdict text not null check (verdict in ('healthy', 'returning', 'lost', 'unknown', 'decommissioned')),
  since timestamptz not null,
  reason text not null,
  evidence jsonb not null
);

-- The newest heartbeat that speaks for a placement. Written with every batch of heartbeats: no index on what changes,
-- and room on each page, so that updates stay heap-only.
create table dory.beats (
  processor_id uuid primary key,
  epoch bigint not null,
  last_beat_at timestamptz not null,
  status text,
  role text,
  -- The SDK's own fencing counter: shown, never compared with ours.
  sdk_epoch bigint,
  node_id uuid,
  last_state_sync timestamptz,
  state_size_bytes bigint,
  uptime_sec double precision,
  -- When its agent reported `stopped` for this epoch.
  stop_acknowledged_at timestamptz
) with (fillfactor = 60);

-- Since when, and until when, heartbeats could be stored. Every receiver extends it every second or two.
create table dory.intake (
  only_row boolean primary key default true check (only_row),
  covered_since timestamptz not null,
  covered_until timestamptz not null
) with (fillfactor = 10);

-- A person's word that a pod has stopped: a fence.
create table dory.stop_confirmations (
  processor_id uuid not null,
  epoch bigint not null,
  confirmed_by text not null,
  confirmed_at timestamptz not null default now(),
  primary key (processor_id, epoch)
);

-- A person's leave for something that was refused; ends by itself.
create table dory.approvals (
  subject text primary key,
  approved_by text not null,
  reason text not null,
  approved_at timestamptz not null default now(),
  expires_at timestamptz not null
);

-- Rows that can't be rendered, with what is wrong.
create table dory.quarantine (
  processor_id uuid primary key,
  since timestamptz not null,
  problems jsonb not null
);

-- Everything that was noticed or done.
create table dory.events (
  id bigint generated always as identity primary key,
  at timestamptz not null default now(),
  kind text not null,
  node_id uuid,
  processor_id uuid,
  reason text,
  evidence jsonb not null default '{}',
  -- The revision that acted on it; null if none did.
  revision bigint references dory.revisions (id)
);
create index events_by_processor on dory.events (processor_id, id) where processor_id is not null;
create index events_by_node on dory.events (node_id, id) where node_id is not null;
create index events_by_revision on dory.events (revision) where revision is not null;

-- Wakes the loop. The payload names what changed; many notifications of one transaction arrive as one.
create function dory.wake() returns trigger language plpgsql as $$
begin
  perform pg_notify('dory', tg_table_name);
  return null;
end
$$;
create trigger wake after insert or update on dory.approvals for each statement execute function dory.wake();
create trigger wake after insert or update on dory.stop_confirmations for each statement execute function dory.wake();

-- What a trustworthy failover needs to remember: flaps, leases, policies, locks, pause, the guard's state, tokens, holds.

alter table dory.node_verdicts drop constraint node_verdicts_verdict_check;
alter table dory.node_verdicts add constraint node_verdicts_verdict_check
  check (verdict in ('healthy', 'returning', 'silent', 'detached', 'lost', 'unknown', 'decommissioned'));
-- How often the node failed lately, as counted at its last failure. `dory ack` sets it to 0.
alter table dory.node_verdicts add column flaps integer not null default 0;

-- Of an agent that echoed its placement epoch: until when it may go on without an answer of ours.
alter table dory.beats add column lease_until timestamptz;

-- How many of a revision's changes count against the change budget.
alter table dory.revisions add column spent integer not null default 0;
-- Since when the commit of a revision can be asked for by time: the change budget counts over a window.
create index revisions_by_time on dory.revisions (decided_at);

-- One cycle's name, from the signal to the commit, as the log shows it: set for the transaction in which it decides.
alter table dory.revisions add column cycle text default nullif(current_setting('dory.cycle', true), '');
alter table dory.events add column cycle text default nullif(current_setting('dory.cycle', true), '');
-- Retention deletes by time.
create index events_by_time on dory.events (at);

-- What an approval was given for: the processors that were listed; null: it is not about processors.
alter table dory.approvals add column covers uuid[];

-- What operators say of single templates and processors, over the settings. A null column says nothing.
create table dory.policies (
  -- `template/SLUG` or `processor/UUID`.
  match text primary key,
  on_failure text check (on_failure in ('replace', 'hold', 'manual')),
  failback text check (failback in ('auto', 'window', 'manual')),
  -- Minutes of the day in UTC.
  failback_from integer check (failback_from between 0 and 1440),
  failback_to integer check (failback_to between 0 and 1440),
  targets text[] check (targets <@ array['failover-target', 'managed']),
  writer_alive text check (writer_alive in ('move', 'hold')),
  unfenced text check (unfenced in ('replace', 'hold')),
  state_loss text check (state_loss in ('refuse', 'accept')),
  priority integer,
  set_by text not null,
  set_at timestamptz not null default now()
);

-- Maintenance: automation leaves alone what is locked. A lock holds until it is ended or runs out.
create table dory.locks (
  id bigint generated always as identity primary key,
  scope text not null check (scope in ('node', 'processor', 'template')),
  subject uuid not null,
  -- As the person named it.
  name text not null,
  owner text not null,
  reason text not null,
  begun_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ended_at timestamptz,
  ended_by text
);
create unique index locks_held on dory.locks (scope, subject) where ended_at is null;

-- Who was made to step down, and until when it lets others go first.
alter table dory.leader add column yielded_by text;
alter table dory.leader add column yielded_until timestamptz;

-- Automation as a whole.
create table dory.pause (
  only_row boolean primary key default true check (only_row),
  paused boolean not null default false,
  changed_by text,
  reason text,
  changed_at timestamptz
);
insert into dory.pause default values;

-- The fleet guard's state, written by decisions when it changes.
create table dory.guard (
  only_row boolean primary key default true check (only_row),
  state text not null check (state in ('calm', 'site-out', 'degraded', 'panic')),
  since timestamptz not null,
  left_panic_at timestamptz,
  reason text not null,
  evidence jsonb not null
);

-- What should happen and does not, written when it begins, changes its reason, or ends.
create table dory.holds (
  processor_id uuid primary key,
  since timestamptz not null,
  reason text not null,
  evidence jsonb not null,
  needs_person boolean not null
);

-- What stops everything until a person says otherwise, written when it begins and ends.
create table dory.refusals (
  subject text primary key,
  since timestamptz not null,
  reason text not null,
  evidence jsonb not null
);

-- Bearer tokens, as SHA-256 of the token: who has the table has no token. `operator` may change state; `node` speaks for one node,
-- or, without one, for the managed pool.
create table dory.tokens (
  id uuid primary key default gen_random_uuid(),
  role text not null check (role in ('operator', 'node')),
  name text not null,
  node_id uuid,
  hash bytea not null unique check (length(hash) = 32),
  created_by text not null,
  created_at timestamptz not null default now(),
  -- An old token is good until then, so that an agent can be given the new one.
  expires_at timestamptz,
  last_used_at timestamptz,
  check (role = 'node' or node_id is null)
);
create index tokens_by_node on dory.tokens (node_id) where node_id is not null;

-- Which of these processors are no longer placed as a batch of heartbeats saw it when it began. Volatile, and so with a snapshot of its own: what was
-- decided while the batch waited for the node of a beat must be seen before a lease is promised.
create function dory.moved_on(ids uuid[], epochs bigint[]) returns uuid[] language sql volatile as $$
  select array_agg(seen.id) from unnest(ids, epochs) as seen (id, epoch)
    left join dory.placements pl on pl.processor_id = seen.id
   where pl.epoch is distinct from seen.epoch or pl.phase <> 'active'
$$;
-- An agent that knows a higher epoch than the database is told of once.
create unique index events_ahead on dory.events (processor_id, (evidence ->> 'echoed')) where kind = 'epoch-ahead';

create trigger wake after insert or update or delete on dory.policies for each statement execute function dory.wake();
create trigger wake after insert or update on dory.locks for each statement execute function dory.wake();
create trigger wake after update on dory.pause for each statement execute function dory.wake();

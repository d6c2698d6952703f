-- Where a processor was that was removed: its pod there may outlive its row, so it is stopped first should it start elsewhere.
alter table dory.retired_epochs add column target_kind text check (target_kind in ('edge', 'managed'));
alter table dory.retired_epochs add column target_node_id uuid;
alter table dory.retired_epochs add column target_node_name text;
alter table dory.retired_epochs add constraint retired_epochs_target
  check (target_kind is null or ((target_kind = 'edge') = (target_node_id is not null) and (target_kind = 'edge') = (target_node_name is not null)));

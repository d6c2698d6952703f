-- The schema of the running system, created only where it is absent. Where a table exists, nothing of it is touched:
-- no column, constraint, index or trigger. Optional columns may be missing there and unknown ones present.

create table if not exists processor_templates (
  id uuid default gen_random_uuid(),
  slug varchar(255) not null unique,
  name varchar(255) not null,
  -- The table was once called processing_applications; the constraint kept its name.
  constraint processing_applications_pkey primary key (id)
);

create table if not exists processor_template_versions (
  id uuid primary key default gen_random_uuid(),
  processor_template_id uuid not null references processor_templates (id),
  image_uri text not null,
  digest text,
  version varchar(255) not null,
  runtime_config_template json,
  build_config json,
  is_active boolean not null default false
);

create table if not exists sensors (
  id uuid primary key default gen_random_uuid(),
  sensor_type varchar(255) not null,
  connection_config jsonb,
  metadata jsonb
);

create table if not exists edge_nodes (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid,
  name varchar(255) not null,
  status varchar(50) not null default 'offline',
  failover_enabled boolean default true,
  failover_target_node_id uuid references edge_nodes (id),
  last_heartbeat_at timestamptz
);

create table if not exists processors (
  id uuid primary key default gen_random_uuid(),
  processor_template_id uuid not null references processor_templates (id),
  node_type varchar(50) not null default 'managed',
  node_id uuid references edge_nodes (id),
  k8s_namespace varchar(255),
  k8s_pod_name varchar(255),
  node_ip varchar(45),
  sensor_id uuid references sensors (id),
  status varchar(50) not null default 'pending',
  health_status jsonb,
  last_health_check_at timestamptz,
  consecutive_failures integer not null default 0,
  terminated_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table if not exists edge_node_apps (
  id uuid primary key default gen_random_uuid(),
  edge_node_id uuid not null references edge_nodes (id),
  processor_config_id uuid not null references processor_templates (id),
  failover_enabled boolean default true,
  state_storage_path text,
  status varchar(50) not null default 'active',
  current_processor_id uuid references processors (id)
);

create table if not exists edge_node_events (
  id uuid primary key default gen_random_uuid(),
  edge_node_id uuid not null references edge_nodes (id),
  processor_config_id uuid references processor_templates (id),
  event_type varchar(100) not null,
  details jsonb,
  created_at timestamptz not null default now()
);

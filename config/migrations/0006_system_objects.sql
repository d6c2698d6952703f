-- With `apply: ssa` and `ssa.system`: the system's own objects that were about to be sent to the cluster, and are not known to be gone. They don't bear the
-- label by which members are found, so that what a commit has no more is known from here. Written by the leader before one is sent for the first time;
-- wakes nobody.
create table dory.system_objects (
  -- `rbac.authorization.k8s.io/v1/Role/harbor/dory-processor`
  object text primary key,
  -- Of its file: `clusters/NAME/system/processor-access-harbor.yaml`
  path text not null,
  -- In the order in which they came; they go the other way round.
  place bigint not null generated always as identity
);

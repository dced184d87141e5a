/** Packages, the channels that point to their versions, what each runner has loaded, and the registry's log. */
export const registry = `
create table packages (
  id text primary key,
  tenant text not null,
  name text not null,
  version text not null,
  digest text not null,
  bytes bigint not null,
  manifest text not null,
  status text not null,
  health text,
  registered_at bigint not null,
  ended_at bigint
);
create unique index packages_version on packages (tenant, name, version);
create index packages_digest on packages (digest);

create table package_bytes (
  digest text primary key,
  touched_at bigint not null,
  collecting integer not null
);

create table channels (
  tenant text not null,
  package text not null,
  channel text not null,
  version text not null,
  digest text not null,
  serial integer not null,
  activated_at bigint not null,
  wanted_version text,
  wanted_digest text,
  primary key (tenant, package, channel)
);

create table channel_workflows (
  tenant text not null,
  workflow text not null,
  package text not null,
  primary key (tenant, workflow, package)
);
create index channel_workflows_package on channel_workflows (tenant, package);

create table package_conditions (
  runner text not null,
  tenant text not null,
  digest text not null,
  condition text not null,
  status integer not null,
  reason text,
  message text,
  serial integer not null,
  at bigint not null,
  primary key (runner, tenant, digest, condition)
);
create index package_conditions_digest on package_conditions (digest, tenant);

create table registry_events (
  n integer primary key,
  at bigint not null,
  tenant text not null,
  actor text not null,
  act text not null,
  package text,
  version text,
  channel text,
  before text,
  after text,
  why text,
  hash text not null
);
create index registry_events_package on registry_events (tenant, package, n);

create table registry_head (
  id integer primary key,
  n integer not null,
  hash text not null
);
insert into registry_head (id, n, hash) values (1, 0, '');
`;

/** Executions, their tasks, events and mail, and the runners that own them. */
export const executions = `
create table runners (
  id text primary key,
  name text not null,
  host text not null,
  pid integer not null,
  pid_started text,
  registered_at bigint not null,
  renewed_at bigint not null,
  lease_until bigint not null,
  dead integer not null default 0
);

create table definitions (
  workflow text primary key,
  code text not null,
  spec text not null,
  updated_at bigint not null
);

create table executions (
  id text primary key,
  tenant text not null,
  workflow text not null,
  package text,
  version text,
  digest text,
  code text not null,
  status text not null,
  reason text,
  owner text,
  epoch integer not null,
  inbox integer not null default 0,
  taken integer not null default 0,
  losses integer not null default 0,
  priority integer not null default 0,
  created_at bigint not null,
  wake_at bigint,
  started_at bigint,
  ended_at bigint,
  input text not null,
  input_parsed integer not null,
  output text,
  error text,
  error_task text,
  tags text,
  idempotency_key text,
  input_hash text,
  limit_key text,
  root_id text not null,
  parent_id text,
  parent_task text,
  parent_item integer,
  schedule_id text,
  schedule_name text,
  slot bigint,
  is_catch_up integer
) {{rows by key}};
create unique index executions_idempotency on executions (tenant, workflow, idempotency_key) where idempotency_key is not null;
create index executions_pending on executions (priority desc, created_at) where status = 'pending';
create index executions_waking on executions (wake_at) where status = 'waiting' and wake_at is not null;
create index executions_owned on executions (owner) where owner is not null;
create index executions_mail on executions (owner) where inbox > taken and owner is not null;
create index executions_pinned on executions (digest) where digest is not null and ended_at is null;
create index executions_scheduled on executions (schedule_id, slot) where schedule_id is not null;
create index executions_children on executions (parent_id) where parent_id is not null;

create table task_executions (
  execution_id text not null,
  task text not null,
  item integer not null,
  status text not null,
  attempt integer not null,
  used integer not null,
  epoch integer not null,
  started_at bigint,
  ended_at bigint,
  wake_at bigint,
  output text,
  error text,
  reason text,
  cause text,
  primary key (execution_id, task, item)
) {{rows by key}};

create table steps (
  execution_id text not null,
  task text not null,
  item integer not null,
  name text not null,
  output text not null,
  primary key (execution_id, task, item, name)
) {{rows by key}};

create table events (
  execution_id text not null,
  seq integer not null,
  type text not null,
  at bigint not null,
  task text,
  item integer,
  attempt integer,
  runner text,
  data text,
  primary key (execution_id, seq)
) {{rows by key}};

create table logs (
  execution_id text not null,
  task text not null,
  item integer not null,
  attempt integer not null,
  n integer not null,
  at bigint not null,
  level text not null,
  message text not null,
  data text,
  primary key (execution_id, task, item, attempt, n)
) {{rows by key}};

create table mail (
  execution_id text not null,
  n integer not null,
  at bigint not null,
  kind text not null,
  name text,
  payload text,
  primary key (execution_id, n)
) {{rows by key}};
`;
